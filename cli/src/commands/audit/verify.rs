//! `dromos audit verify`: needs no gateway, no broker and no database.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use dromos_audit::Report;
use serde_json::json;

use super::keys::{Keys, unreadable};
use crate::{
    arguments::Output,
    failure::Failure,
    output::{Details, print},
    style::Style,
};

/// Runs the command.
///
/// # Errors
///
/// The export is broken, or something that is needed can't be read.
pub fn run(file: &Path, heads: &[PathBuf], keys: &Keys, output: Output) -> Result<(), Failure> {
    let mut known = Vec::new();
    for path in heads {
        let read = dromos_audit::read_heads(open(path)?);
        known.extend(
            read.map_err(|error| {
                Failure::new(format!("{}: {error}", path.display())).unreadable()
            })?,
        );
    }
    let report = dromos_audit::verify(open(file)?, |wrapped| keys.unwrap(wrapped), known)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display())).unreadable())?;
    match output {
        Output::Json => print(&as_json(&report))?,
        Output::Table => print(&details(&report).render(Style::of_stdout()))?,
    }
    match &report.broken[..] {
        [] => Ok(()),
        [first] => Err(Failure::new(format!("the audit is broken: {first}"))),
        [first, more @ ..] => Err(Failure::new(format!(
            "the audit is broken in {} places, first: {first}",
            more.len() + 1
        ))),
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(Box::new(BufReader::new(file)))
}

fn details(report: &Report) -> Details {
    let at = report.exported_at.format("%Y-%m-%d %H:%M:%S UTC");
    let open = report.writers - report.closed;
    let mut details = Details::default()
        .line("Exported", at.to_string())
        .line("Rows", report.rows.to_string())
        .line(
            "Writers",
            format!(
                "{} ({} closed, {open} open, {} from a checkpoint on)",
                report.writers, report.closed, report.pruned
            ),
        )
        .line(
            "Heads",
            match (report.heads, report.newer_heads) {
                (0, 0) => "none given: a chain whose end was cut off can't be told".to_owned(),
                (heads, 0) => format!("{heads} compared"),
                (heads, newer) => format!("{heads} compared, {newer} newer than the export"),
            },
        );
    if report.unprotected > 0 {
        let rows = format!(
            "{} rows from before the audit was chained",
            report.unprotected
        );
        details = details.line("Unprotected", rows);
    }
    for broken in &report.broken {
        details = details.line("Broken", broken.to_string());
    }
    if report.broken.is_empty() {
        details = details.line("Verdict", "every row is as it was written");
    }
    details
}

fn as_json(report: &Report) -> String {
    let broken: Vec<_> = report
        .broken
        .iter()
        .map(|broken| {
            json!({
                "writer_id": broken.writer_id,
                "seq": broken.seq,
                "id": broken.id,
                "fault": broken.fault.word(),
                "message": broken.fault.to_string(),
            })
        })
        .collect();
    let report = json!({
        "exported_at": report.exported_at,
        "rows": report.rows,
        "unprotected_rows": report.unprotected,
        "writers": report.writers,
        "closed_writers": report.closed,
        "pruned_writers": report.pruned,
        "heads": report.heads,
        "newer_heads": report.newer_heads,
        "broken": broken,
    });
    format!("{report:#}")
}
