//! `dromos-broker`: the broker as a process.

use std::{path::PathBuf, process::ExitCode};

use chrono::NaiveDate;
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
    /// Works on the audit in the database, by the broker's settings.
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Exports the audit of all workspaces to standard output, as `dromos
    /// audit verify` takes it.
    Export,
    /// Writes the audit's keys to standard output, for `dromos audit verify
    /// --audit-keys`: where the key-encryption key is in AWS KMS, or is not for
    /// whoever verifies. Keep them safe: who has them could forge the audit.
    Keys,
    /// Deletes old audit rows, each writer's up to a signed checkpoint, from
    /// which the rest can still be verified. Without --delete it only tells
    /// how many that would be.
    Prune {
        /// Rows from before this day (UTC) go.
        #[arg(long, value_name = "YYYY-MM-DD")]
        before: NaiveDate,
        /// Delete them. Export them before, if they are to be kept elsewhere.
        #[arg(long)]
        delete: bool,
    },
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
        Command::Audit(AuditCommand::Export) => {
            let stdout = std::io::BufWriter::new(std::io::stdout());
            let lines = dromos_broker::export_audit(&settings, stdout).await?;
            eprintln!("{lines} lines were written");
        }
        Command::Audit(AuditCommand::Keys) => {
            let keys = dromos_broker::export_audit_keys(&settings, std::io::stdout()).await?;
            eprintln!("{keys} keys were written");
        }
        Command::Audit(AuditCommand::Prune { before, delete }) => {
            let rows = dromos_broker::prune_audit(&settings, before, delete).await?;
            match delete {
                true => println!("{rows} audit rows from before {before} were deleted"),
                false => {
                    println!("{rows} audit rows are from before {before}; --delete deletes them")
                }
            }
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
