//! `dromos audit export`.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use dromos_proto::v1::{ExportAuditEventsRequest, export_audit_events_response::Record};

use crate::{client::Client, commands::answer, failure::Failure, json};

/// Runs the command.
///
/// # Errors
///
/// What the gateway answered, or that the file can't be written.
pub async fn run(to: Option<PathBuf>, gateway_url: &str) -> Result<(), Failure> {
    let client = Client::from_environment(gateway_url)?;
    let request = ExportAuditEventsRequest {};
    let mut records = answer(&client, client.audit().export_audit_events(request).await)?;
    let name = to.as_ref().map(|path| path.display().to_string());
    let unwritable = |error: std::io::Error| {
        let name = name.as_deref().unwrap_or("standard output");
        Failure::new(format!("{name} can't be written: {error}"))
    };
    let mut out: Box<dyn Write> = match &to {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(unwritable)?)),
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let mut rows = None;
    while let Some(record) = records
        .message()
        .await
        .map_err(|status| client.failure(&status).during("the export broke off"))?
    {
        if let Some(Record::End(end)) = &record.record {
            rows = Some(end.rows);
        }
        let line = json::line("ExportAuditEventsResponse", &record)?;
        writeln!(out, "{line}").map_err(unwritable)?;
    }
    out.flush().map_err(unwritable)?;
    match rows {
        Some(rows) => {
            eprintln!("{rows} rows exported");
            Ok(())
        }
        None => Err(Failure::new("the export broke off before its end").next("export again")),
    }
}
