//! `dromos-bench`: measures Dromos as it was built beside this program.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dromos_bench::{audit, failover, footprint, rotation, scale, token};

/// Measures Dromos. It starts the programs that lie beside it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// GetToken through gateway and broker beside a bare service of two hops.
    Token(token::Options),
    /// GetToken with the audit, beside one that keeps nothing.
    Audit(audit::Options),
    /// How soon `dromos up` is ready, and its memory a minute later.
    Footprint(footprint::Options),
    /// The database's primary is killed under load: what is lost, and for how
    /// long nobody is served.
    Failover(failover::Options),
    /// GetToken's latency while all credentials are encrypted under a new key.
    Rotation(rotation::Options),
    /// Taking what is due, and GetToken, with a million connections beside ten
    /// thousand.
    Scale(scale::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    // Somebody else in the process may have installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Arguments::parse().benchmark {
        Benchmark::Token(options) => token::run(&options).await,
        Benchmark::Audit(options) => audit::run(&options).await,
        Benchmark::Footprint(options) => footprint::run(&options).await,
        Benchmark::Failover(options) => failover::run(&options).await,
        Benchmark::Rotation(options) => rotation::run(&options).await,
        Benchmark::Scale(options) => scale::run(&options).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
