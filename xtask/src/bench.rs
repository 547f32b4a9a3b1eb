//! `cargo xtask bench`: the benchmarks, by name.

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    console,
    postgres::Postgres,
    process,
    setup::{self, Need},
    suites,
    workspace::Workspace,
};

/// One benchmark: a cargo command that prints its own figures. It finds a
/// PostgreSQL in TEST_POSTGRES_URL.
struct Bench {
    name: &'static str,
    about: &'static str,
    cargo: &'static [&'static str],
}

/// All benchmarks, in the order in which they run.
const BENCHES: &[Bench] = &[Bench {
    name: "transcode",
    about: "REST to gRPC and back, in process",
    cargo: &["bench", "--locked", "--package", "transcode"],
}];

/// What to run.
#[derive(Debug, Args)]
pub struct Options {
    /// Only the benchmarks of these names.
    names: Vec<String>,
    /// Lists the benchmarks and runs none.
    #[arg(long)]
    list: bool,
}

/// Runs the benchmarks; whether all succeeded.
///
/// # Errors
/// When a name is unknown, setup fails, or the user interrupts.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    if options.list {
        for bench in BENCHES {
            println!("{:<12} {}", bench.name, bench.about);
        }
        return Ok(true);
    }
    for name in &options.names {
        ensure!(
            BENCHES.iter().any(|bench| bench.name == name),
            "no benchmark is called {name}: see `cargo xtask bench --list`"
        );
    }
    setup::run(
        workspace,
        &[
            Need::Postgres,
            Need::Curl,
            Need::LoadGenerator,
            Need::Tools,
            Need::Grpcurl,
        ],
    )?;
    let postgres = Postgres::start(workspace)?;
    let mut all_succeeded = true;
    let is_chosen =
        |bench: &&Bench| options.names.is_empty() || options.names.iter().any(|n| n == bench.name);
    for bench in BENCHES.iter().filter(is_chosen) {
        console::step(&format!("benchmark {}: {}", bench.name, bench.about));
        let mut command = workspace.cargo(bench.cargo);
        suites::offer(workspace, &postgres, &mut command)?;
        let status = process::status(&mut command)?;
        if !status.success() {
            console::error(&format!("benchmark {} failed ({status})", bench.name));
            all_succeeded = false;
        }
    }
    Ok(all_succeeded)
}
