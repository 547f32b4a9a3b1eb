//! `cargo xtask bench`: the benchmarks, by name.

use std::process::Command;

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

/// One benchmark: it prints its own figures and finds a PostgreSQL in
/// TEST_POSTGRES_URL.
struct Bench {
    name: &'static str,
    about: &'static str,
    runs: Runs,
}

enum Runs {
    /// A cargo command that builds and runs it.
    Cargo(&'static [&'static str]),
    /// The subcommand of this name of `dromos-bench`, beside the programs that
    /// it starts; all built for release.
    Program,
}

/// All benchmarks, in the order in which they run.
const BENCHES: &[Bench] = &[
    Bench {
        name: "transcode",
        about: "REST to gRPC and back, in process",
        runs: Runs::Cargo(&["bench", "--locked", "--package", "transcode"]),
    },
    Bench {
        name: "token",
        about: "GetToken through gateway and broker beside a bare service of two hops",
        runs: Runs::Program,
    },
    Bench {
        name: "rotation",
        about: "GetToken's latency while 100,000 credentials are encrypted under a new key",
        runs: Runs::Program,
    },
    Bench {
        name: "scale",
        about: "taking what is due, and GetToken, with a million connections beside ten thousand",
        runs: Runs::Program,
    },
    Bench {
        name: "audit",
        about: "GetToken with the audit beside a broker whose audit keeps nothing",
        runs: Runs::Program,
    },
    Bench {
        name: "footprint",
        about: "how soon `dromos up` is ready, and its memory a minute later",
        runs: Runs::Program,
    },
    Bench {
        name: "failover",
        about: "PostgreSQL's primary is killed under load: what is lost, and how soon service is back",
        runs: Runs::Program,
    },
];

/// Builds what `Runs::Program` runs. One command, so that features are chosen
/// for all of it at once and nothing is compiled twice.
const BUILD: &[&str] = &[
    "build",
    "--locked",
    "--release",
    "--quiet",
    "--package=dromos-broker",
    "--package=dromos-gateway",
    "--package=dromos-cli",
    "--package=dromos-bench",
];

/// What to run.
#[derive(Debug, Args)]
pub struct Options {
    /// Only the benchmarks of these names.
    names: Vec<String>,
    /// Lists the benchmarks and runs none.
    #[arg(long)]
    list: bool,
    /// Arguments for the benchmark itself, for instance
    /// `token -- --rounds 3 --seconds 2`.
    #[arg(last = true)]
    arguments: Vec<String>,
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
    ensure!(
        options.arguments.is_empty() || options.names.len() == 1,
        "arguments are for one benchmark: name it"
    );
    setup::run(
        workspace,
        &[
            Need::Postgres,
            Need::Curl,
            Need::LoadGenerator,
            Need::Cluster,
            Need::Tools,
            Need::Grpcurl,
        ],
    )?;
    let is_chosen =
        |bench: &&Bench| options.names.is_empty() || options.names.iter().any(|n| n == bench.name);
    let chosen: Vec<&Bench> = BENCHES.iter().filter(is_chosen).collect();
    if chosen
        .iter()
        .any(|bench| matches!(bench.runs, Runs::Program))
    {
        console::step("building for release");
        process::run(&mut workspace.cargo(BUILD))?;
    }
    let postgres = Postgres::start(workspace)?;
    let mut all_succeeded = true;
    for bench in chosen {
        console::step(&format!("benchmark {}: {}", bench.name, bench.about));
        let mut command = command(workspace, bench);
        command.args(&options.arguments);
        suites::offer(workspace, &postgres, &mut command)?;
        let status = process::status(&mut command)?;
        if !status.success() {
            console::error(&format!("benchmark {} failed ({status})", bench.name));
            all_succeeded = false;
        }
    }
    Ok(all_succeeded)
}

fn command(workspace: &Workspace, bench: &Bench) -> Command {
    match bench.runs {
        Runs::Cargo(arguments) => workspace.cargo(arguments),
        Runs::Program => {
            // Cargo's folder for release lies beside the one that we run from.
            let mut command = workspace.command(workspace.built("../release/dromos-bench"));
            command.arg(bench.name);
            command
        }
    }
}
