//! `dromos`: the command line of Dromos.
//!
//! `up` and `demo` run the services in this process; the other commands are
//! clients of a gateway.

mod arguments;
mod client;
mod commands;
mod demo;
mod failure;
mod json;
mod output;
mod simulator;
mod style;
mod up;
mod when;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Builder;

use crate::{
    arguments::{Arguments, Command},
    failure::Failure,
};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    // Two threads keep `up` small; it serves one developer.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no threads can be started: {error}")))?;
    runtime.block_on(async {
        match arguments.command {
            Command::Up(arguments) => Box::pin(up::run(&arguments)).await,
            Command::Demo => Box::pin(demo::run()).await,
            Command::Simulator(arguments) => simulator::run(&arguments).await,
            Command::Connections(command) => commands::connections::run(command).await,
            Command::Token(arguments) => commands::token::run(&arguments).await,
            Command::Providers(command) => commands::providers::run(command).await,
            Command::ApiKeys(command) => commands::api_keys::run(command).await,
            Command::Webhooks(command) => commands::webhooks::run(command).await,
            Command::Audit(arguments) => commands::audit::run(arguments).await,
            Command::Keys(command) => commands::keys::run(command).await,
        }
    })
}
