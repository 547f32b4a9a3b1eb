//! `dromos-gateway`: the gateway as a process.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use dromos_gateway::{Gateway, GatewayError};
use dromos_serve::{EXIT_CONFIG, Settings, shutdown_signal, telemetry, traces::Traces};

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
    let traces = match Traces::from_env("dromos-gateway") {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let telemetry = telemetry::init(telemetry::LogFormat::Json, "info", traces.as_ref());
    let ended = match start(&arguments).await {
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
    };
    if let Some(traces) = traces {
        traces.stop().await;
    }
    ended
}

async fn start(arguments: &Arguments) -> Result<Gateway, GatewayError> {
    let settings = Settings::load(arguments.config.as_deref())?;
    Gateway::from_settings(&settings).await
}
