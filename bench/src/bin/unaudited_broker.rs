//! A broker whose audit keeps nothing, to measure what the audit costs. No
//! setting makes one: it takes a program of its own.

use std::sync::Arc;

use anyhow::Result;
use dromos_broker::{
    Broker, Config,
    domain::{audit::AuditEvent, error},
    flow::audit::RecordAudit,
};
use dromos_serve::{Settings, shutdown_signal, telemetry};

struct Nothing;

impl RecordAudit for Nothing {
    fn record(&self, _: AuditEvent) -> error::Result<()> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // Logs are written for as long as it is kept.
    let _telemetry = telemetry::init(telemetry::LogFormat::Json, "info", None);
    let mut config = Config::from_settings(&Settings::load(None)?)?;
    config.audit = Some(Arc::new(Nothing));
    Broker::bind(config).await?.run(shutdown_signal()).await;
    Ok(())
}
