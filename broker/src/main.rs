//! `dromos-broker`: the broker as a process.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use dromos_broker::{Broker, Config, StartError};
use dromos_serve::{EXIT_CONFIG, Settings, shutdown_signal, telemetry, traces::Traces};

/// The broker of Dromos. Its settings are environment variables.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A TOML file with settings; the environment overrides it.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves (the default).
    Serve,
    /// Brings the database's schema up to date, and ends.
    Migrate,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let traces = match Traces::from_env("dromos-broker") {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let telemetry = telemetry::init(telemetry::LogFormat::Json, "info", traces.as_ref());
    let ended = match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What was logged before comes first.
            drop(telemetry);
            eprintln!("{error}");
            if error.is_config() {
                ExitCode::from(EXIT_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    };
    if let Some(traces) = traces {
        traces.stop().await;
    }
    ended
}

async fn run(arguments: Arguments) -> Result<(), StartError> {
    let settings = Settings::load(arguments.config.as_deref())?;
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Migrate => {
            let applied = dromos_broker::migrate(&dromos_broker::database_url(&settings)?).await?;
            println!("the schema is up to date; {applied} migrations were applied");
        }
        Command::Serve => {
            Broker::bind(Config::from_settings(&settings)?)
                .await?
                .run(shutdown_signal())
                .await
        }
    }
    Ok(())
}
