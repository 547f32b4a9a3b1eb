//! `dromos-gateway`: the gateway as a process.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use dromos_gateway::{Gateway, GatewayError};
use dromos_serve::{EXIT_CONFIG, Settings, shutdown_signal, telemetry};

/// The gateway of Dromos. Its settings are environment variables.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A TOML file with settings; the environment overrides it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let telemetry = telemetry::init(telemetry::LogFormat::Json);
    match start(&arguments).await {
        Ok(gateway) => {
            gateway.run(shutdown_signal()).await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            // What was logged before comes first.
            drop(telemetry);
            eprintln!("{error}");
            match error {
                GatewayError::Settings(_) => ExitCode::from(EXIT_CONFIG),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn start(arguments: &Arguments) -> Result<Gateway, GatewayError> {
    let settings = Settings::load(arguments.config.as_deref())?;
    Gateway::from_settings(&settings).await
}
