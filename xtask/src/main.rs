//! The command line of `cargo xtask`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{bench, console, generate, lint, process, setup, suites, workspace::Workspace};

/// Sets up, generates, tests, lints and measures this repository.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what the other commands need and this machine lacks.
    ///
    /// Debian packages (as root), npm packages, a Python environment and
    /// grpcurl. Nothing outside the repository is touched but Debian's
    /// packages. Does nothing, quickly, when all is there.
    Setup,
    /// Generates the code that comes from the .proto files.
    ///
    /// Rust into proto/src/gen, Python into clients/python/src, TypeScript
    /// into clients/typescript/src/gen. The result is committed.
    Gen {
        /// Writes nothing; fails, with the files' names, where the committed
        /// code is not what the .proto files generate.
        #[arg(long)]
        check: bool,
    },
    /// Runs every test, after setup.
    ///
    /// Rust's with a PostgreSQL, the generated code, the clients against a
    /// gateway, and the demo. A failing suite does not stop the ones after
    /// it. Ends with one line, "N passed, N failed".
    Test(suites::Options),
    /// Checks formatting, clippy, the .proto files, the licences and who imports whom.
    Lint,
    /// Runs benchmarks, beside a PostgreSQL of their own.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            console::error(&format!("{error:#}"));
            ExitCode::from(if process::interrupted() { 130 } else { 1 })
        }
    }
}

/// Whether all went well; an error where it could not be tried.
fn run(command: Command) -> Result<bool> {
    let workspace = Workspace::find()?;
    process::watch_signals()?;
    match command {
        Command::Setup => {
            setup::run(&workspace, &setup::Need::ALL)?;
            console::step("ready");
            Ok(true)
        }
        Command::Gen { check: false } => generate::write(&workspace).map(|()| true),
        Command::Gen { check: true } => generate::check(&workspace),
        Command::Test(options) => suites::run(&workspace, &options),
        Command::Lint => lint::run(&workspace),
        Command::Bench(options) => bench::run(&workspace, &options),
    }
}
