//! `cargo xtask test`: starts what the tests need, runs every suite and adds
//! up what they say.

use std::{env, process::Command};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::{
    console,
    gateway::Gateway,
    generate,
    postgres::Postgres,
    process,
    redis::Redis,
    setup::{self, Need},
    tally::{Runner, Tally},
    workspace::Workspace,
};

/// What to run.
#[derive(Debug, Args)]
pub struct Options {
    /// Runs only this suite; may be given more than once.
    #[arg(long = "suite", value_name = "SUITE")]
    suites: Vec<Suite>,
    /// Arguments for `cargo test` in place of --workspace, for instance
    /// `-- -p dromos-broker a_state_works_once`.
    #[arg(last = true)]
    cargo_arguments: Vec<String>,
}

/// The suites, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// The Rust workspace, beside a PostgreSQL and a Redis.
    Rust,
    /// The clients' generated code is what the .proto files generate.
    Gen,
    /// The Python client against a gateway.
    Python,
    /// The TypeScript client against a gateway.
    Typescript,
    /// The demo runs to its end.
    Demo,
    /// A PostgreSQL with standbys loses its primary under load, and nothing
    /// that was acknowledged.
    Failover,
}

impl Suite {
    fn needs(self) -> &'static [Need] {
        match self {
            Self::Rust => &[
                Need::Postgres,
                Need::Redis,
                Need::Curl,
                Need::Tools,
                Need::Grpcurl,
                Need::Promtool,
                Need::Moto,
            ],
            Self::Gen => &[Need::Tools, Need::TypeScript, Need::Python],
            Self::Python => &[Need::Python],
            Self::Typescript => &[Need::TypeScript],
            Self::Demo => &[],
            Self::Failover => &[Need::Postgres, Need::Cluster],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Gen => "gen",
            Self::Python => "python",
            Self::Typescript => "typescript",
            Self::Demo => "demo",
            Self::Failover => "failover",
        }
    }
}

/// Runs the suites and prints the closing line; whether all went well.
///
/// # Errors
/// When setup fails or the user interrupts. A suite that can't be run counts
/// as failed, and the others still run.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let every = Suite::value_variants();
    let chosen: Vec<Suite> = every
        .iter()
        .copied()
        .filter(|suite| options.suites.is_empty() || options.suites.contains(suite))
        .collect();
    let needs: Vec<Need> = chosen
        .iter()
        .flat_map(|suite| suite.needs())
        .copied()
        .collect();
    setup::run(workspace, &needs)?;

    let runner = SuiteRunner {
        workspace,
        cargo_arguments: &options.cargo_arguments,
    };
    let mut results = Vec::new();
    for suite in chosen {
        console::step(&format!("suite {}", suite.name()));
        let tally = runner.run(suite).or_else(|error| {
            // An interruption ends everything; nothing else does.
            ensure!(!process::interrupted(), "interrupted");
            console::error(&format!("{error:#}"));
            Ok(Tally::FAIL)
        })?;
        results.push((suite, tally));
    }

    let mut total = Tally::default();
    console::step("results");
    for (suite, tally) in results {
        console::note(&format!("{:<10} {tally}", suite.name()));
        total += tally;
    }
    println!("{total}");
    Ok(total.is_success())
}

struct SuiteRunner<'a> {
    workspace: &'a Workspace,
    cargo_arguments: &'a [String],
}

impl SuiteRunner<'_> {
    fn run(&self, suite: Suite) -> Result<Tally> {
        match suite {
            Suite::Rust => self.rust(),
            Suite::Gen => {
                let same = generate::check_clients(self.workspace)?;
                Ok(if same { Tally::PASS } else { Tally::FAIL })
            }
            Suite::Python => self.python(),
            Suite::Typescript => self.typescript(),
            Suite::Demo => self.demo(),
            Suite::Failover => self.failover(),
        }
    }

    fn rust(&self) -> Result<Tally> {
        let postgres = Postgres::start(self.workspace)?;
        let mut test = self
            .workspace
            .cargo(&["test", "--locked", "--no-fail-fast"]);
        if self.cargo_arguments.is_empty() {
            test.arg("--workspace");
        } else {
            test.args(self.cargo_arguments);
        }
        offer(self.workspace, &postgres, &mut test)?;
        let redis = Redis::start(self.workspace)?;
        test.env("TEST_REDIS_URL", redis.url());
        counted(&mut test, Runner::Cargo)
    }

    fn python(&self) -> Result<Tally> {
        self.build()?;
        let gateway = Gateway::start(self.workspace)?;
        let mut pytest = Command::new(self.workspace.path("clients/python/.venv/bin/python"));
        pytest.args(["-m", "pytest", "-p", "no:cacheprovider", "--color=no"]);
        pytest.current_dir(self.workspace.path("clients/python"));
        counted(at(&gateway, &mut pytest), Runner::Pytest)
    }

    fn typescript(&self) -> Result<Tally> {
        self.build()?;
        let folder = self.workspace.path("clients/typescript");
        process::run(self.workspace.command("tsc").current_dir(&folder))?;
        let gateway = Gateway::start(self.workspace)?;
        let mut node = self.workspace.command("node");
        node.args(["--test", "--test-reporter=tap", "dist/test/interop.test.js"]);
        node.current_dir(&folder);
        counted(at(&gateway, &mut node), Runner::Node)
    }

    fn demo(&self) -> Result<Tally> {
        self.build()?;
        let folder = tempfile::tempdir()?;
        let mut demo = Command::new(self.workspace.built("dromos"));
        let status = process::status(demo.arg("demo").current_dir(folder.path()))?;
        Ok(if status.success() {
            Tally::PASS
        } else {
            Tally::FAIL
        })
    }

    fn failover(&self) -> Result<Tally> {
        self.build()?;
        let mut bench = Command::new(self.workspace.built("dromos-bench"));
        let status = process::status(bench.arg("failover"))?;
        Ok(if status.success() {
            Tally::PASS
        } else {
            Tally::FAIL
        })
    }

    /// Builds the programs with the very features that the tests were built
    /// with. `cargo run` would choose them for the command line alone and
    /// compile most of the workspace again.
    fn build(&self) -> Result<()> {
        let mut build =
            self.workspace
                .cargo(&["build", "--locked", "--workspace", "--bins", "--tests"]);
        process::run(build.arg("--quiet"))
    }
}

/// Runs a test runner, passes on what it prints and counts it.
fn counted(command: &mut Command, runner: Runner) -> Result<Tally> {
    let mut tally = Tally::default();
    let status = process::lines(command, |line| {
        println!("{line}");
        tally.count(runner, line);
    })?;
    Ok(tally.judged_by(status.success()))
}

fn at<'a>(gateway: &Gateway, command: &'a mut Command) -> &'a mut Command {
    command
        .env("GATEWAY_URL", gateway.url())
        .env("DROMOS_API_KEY", gateway.api_key())
}

/// Tells the tests where their counterparts are. All paths are absolute.
///
/// # Errors
/// When a program is missing.
pub fn offer(workspace: &Workspace, postgres: &Postgres, command: &mut Command) -> Result<()> {
    command
        .env("TEST_POSTGRES_URL", postgres.url())
        .env(
            "TEST_OIDC_PROVIDER",
            workspace.path("xtask/tools/oidc-provider.mjs"),
        )
        .env(
            "TEST_MOTO",
            workspace.path("xtask/tools/.venv/bin/moto_server"),
        )
        .env(
            "RUST_BACKTRACE",
            env::var_os("RUST_BACKTRACE").unwrap_or_else(|| "1".into()),
        );
    for (variable, program) in [
        ("TEST_NODE", "node"),
        ("TEST_BUF", "buf"),
        ("TEST_GRPCURL", "grpcurl"),
        ("TEST_CURL", "curl"),
    ] {
        let path = workspace
            .find_program(program)
            .with_context(|| format!("{program} is missing: run `cargo xtask setup`"))?;
        command.env(variable, path);
    }
    Ok(())
}
