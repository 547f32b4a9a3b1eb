//! Verification of an export, line by line: memory is needed for the heads,
//! and for some rows behind a break, not for the export.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufRead,
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    Key, Mark, MarkKind, Record, WrappedKey, read_line, record::ExportedRow, row::SYSTEM_WORKSPACE,
};

mod chain;
mod fault;

use chain::Chain;
pub use fault::{Broken, Fault};

/// What a verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// When the export began.
    pub exported_at: DateTime<Utc>,
    /// Rows, all of them.
    pub rows: u64,
    /// Rows from before the audit was chained: nothing protects them.
    pub unprotected: u64,
    /// Writers.
    pub writers: u64,
    /// Writers that ended with a closing row.
    pub closed: u64,
    /// Writers whose chain begins at a checkpoint.
    pub pruned: u64,
    /// Heads that were compared.
    pub heads: u64,
    /// Heads from after the export began: they can't be compared.
    pub newer_heads: u64,
    /// What is wrong, at most one thing for each writer and head, in the order
    /// of the export; what the heads alone show comes last.
    pub broken: Vec<Broken>,
}

/// The export, or what is needed with it, can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A line is no record.
    #[error("line {line} is no record of an audit export: {problem}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The file can't be read on.
    #[error("line {line} can't be read: {problem}")]
    Io {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        problem: std::io::Error,
    },
    /// The file does not begin or end as an export does.
    #[error("{0}")]
    Incomplete(String),
    /// An audit key can't be unwrapped.
    #[error("{0}")]
    Key(String),
}

/// Reads the heads that a broker wrote down.
///
/// # Errors
/// A line is no head. A last line that was cut off, as a crash leaves it, is
/// passed over.
pub fn read_heads(file: impl BufRead) -> Result<Vec<Mark>, Unreadable> {
    let mut heads = Vec::new();
    let mut lines = numbered(file).peekable();
    while let Some(line) = lines.next() {
        let (number, text) = line?;
        match read_line(&text) {
            Ok(Record::Head(head)) => heads.push(head),
            Err(_) if lines.peek().is_none() => {}
            Ok(_) => {
                return Err(Unreadable::Line {
                    line: number,
                    problem: "not a head".to_owned(),
                });
            }
            Err(error) => {
                return Err(Unreadable::Line {
                    line: number,
                    problem: error.to_string(),
                });
            }
        }
    }
    Ok(heads)
}

/// Verifies an export. `unwrap` opens its keys; `heads` are what was written
/// down elsewhere before.
///
/// # Errors
/// It can't be read or was cut off on the way, or a key does not unwrap. What
/// is wrong with what could be read is in the report.
pub fn verify(
    export: impl BufRead,
    unwrap: impl Fn(&WrappedKey) -> Result<Key, String>,
    heads: Vec<Mark>,
) -> Result<Report, Unreadable> {
    let mut lines = numbered(export);
    let header = match lines.next().transpose()? {
        Some((line, text)) => match record(line, &text)? {
            Record::Header(header) => header,
            _ => return Err(incomplete("it does not begin with a header")),
        },
        None => return Err(incomplete("it is empty")),
    };
    let mut verification = Verification::new(header, heads);
    let mut ended = None;
    for line in lines {
        let (number, text) = line?;
        if ended.is_some() {
            return Err(incomplete("something follows its end"));
        }
        match record(number, &text)? {
            Record::Key(key) => {
                let opened = unwrap(&key).map_err(Unreadable::Key)?;
                verification.keys.insert(opened.id(), opened);
            }
            Record::Checkpoint(checkpoint) => verification.checkpoint(checkpoint),
            Record::Row(row) => verification.row(row),
            Record::End { rows } => ended = Some(rows),
            Record::Header(_) | Record::Head(_) => {
                return Err(Unreadable::Line {
                    line: number,
                    problem: "it does not belong there".to_owned(),
                });
            }
            Record::Error(error) => {
                let message = error["message"].as_str().unwrap_or("no reason was given");
                return Err(Unreadable::Incomplete(format!(
                    "the export broke off: {message}; export again"
                )));
            }
        }
    }
    match ended {
        Some(rows) if rows == verification.report.rows => Ok(verification.finish()),
        Some(_) => Err(incomplete("it holds another number of rows than it says")),
        None => Err(incomplete("it has no end: it was cut off on the way")),
    }
}

struct Verification {
    header: Mark,
    keys: BTreeMap<Uuid, Key>,
    heads: BTreeMap<Uuid, Vec<Mark>>,
    checkpoints: BTreeMap<Uuid, Mark>,
    seen: BTreeSet<Uuid>,
    current: Option<Chain>,
    report: Report,
}

impl Verification {
    fn new(header: Mark, heads: Vec<Mark>) -> Self {
        let mut by_writer: BTreeMap<Uuid, Vec<Mark>> = BTreeMap::new();
        let mut report = Report {
            exported_at: header.at,
            ..Report::default()
        };
        for head in heads {
            if head.at > header.at {
                report.newer_heads += 1;
            } else {
                report.heads += 1;
                by_writer.entry(head.writer_id).or_default().push(head);
            }
        }
        for heads in by_writer.values_mut() {
            heads.sort_by_key(|head| head.seq);
            // The same head is in the files and in the logs.
            heads.dedup();
        }
        Self {
            header,
            keys: BTreeMap::new(),
            heads: by_writer,
            checkpoints: BTreeMap::new(),
            seen: BTreeSet::new(),
            current: None,
            report,
        }
    }

    fn checkpoint(&mut self, mark: Mark) {
        let genuine = self
            .keys
            .get(&mark.key_id)
            .is_some_and(|key| mark.is_genuine(MarkKind::Checkpoint, key));
        if genuine {
            self.checkpoints.insert(mark.writer_id, mark);
        } else {
            self.report.broken.push(Broken {
                writer_id: mark.writer_id,
                seq: mark.seq,
                id: None,
                fault: Fault::ForgedCheckpoint,
            });
        }
    }

    fn row(&mut self, row: ExportedRow) {
        self.report.rows += 1;
        if row.writer_id == SYSTEM_WORKSPACE {
            // No writer has this id: so the rows of before were numbered.
            self.report.unprotected += 1;
            return;
        }
        if self.current.as_ref().map(Chain::writer_id) != Some(row.writer_id) {
            self.end_chain();
            self.report.writers += 1;
            let heads = self.heads.remove(&row.writer_id).unwrap_or_default();
            let (heads, forged): (Vec<_>, Vec<_>) =
                heads.into_iter().partition(|head| self.is_genuine(head));
            let forged = forged.iter().map(|head| broken_at(head, Fault::ForgedHead));
            self.report.broken.extend(forged);
            let checkpoint = self.checkpoints.remove(&row.writer_id);
            self.report.pruned += u64::from(checkpoint.is_some());
            let chain = if self.seen.insert(row.writer_id) {
                Chain::begin(row.writer_id, &self.keys, checkpoint, heads)
            } else {
                Chain::again(row.writer_id)
            };
            self.current = Some(chain);
        }
        if let Some(chain) = &mut self.current {
            chain.row(row, &self.keys);
        }
    }

    fn end_chain(&mut self) {
        if let Some(chain) = self.current.take() {
            let (closed, broken) = chain.end();
            self.report.closed += u64::from(closed);
            self.report.broken.extend(broken);
        }
    }

    /// Whether a head was written with the audit's key.
    fn is_genuine(&self, head: &Mark) -> bool {
        self.keys
            .get(&head.key_id)
            .is_some_and(|key| head.is_genuine(MarkKind::Head, key))
    }

    fn finish(mut self) -> Report {
        let forged: Vec<Broken> = self
            .heads
            .values()
            .flatten()
            .filter(|head| !self.is_genuine(head))
            .map(|head| broken_at(head, Fault::ForgedHead))
            .collect();
        self.end_chain();
        if !self
            .keys
            .get(&self.header.key_id)
            .is_some_and(|key| self.header.is_genuine(MarkKind::Export, key))
        {
            let header = broken_at(&self.header, Fault::ForgedHeader);
            self.report.broken.insert(0, header);
        }
        // Pruning leaves at least one row of each writer.
        for checkpoint in self.checkpoints.values() {
            let fault = broken_at(
                checkpoint,
                Fault::CutTail {
                    stood_at: checkpoint.seq + 1,
                },
            );
            self.report.broken.push(fault);
        }
        self.report.broken.extend(forged);
        for (writer, heads) in &self.heads {
            if self.seen.contains(writer) || self.checkpoints.contains_key(writer) {
                continue;
            }
            let genuine = heads.iter().rfind(|head| self.is_genuine(head));
            if let Some(head) = genuine {
                self.report
                    .broken
                    .push(broken_at(head, Fault::MissingWriter));
            }
        }
        self.report
    }
}

fn broken_at(mark: &Mark, fault: Fault) -> Broken {
    Broken {
        writer_id: mark.writer_id,
        seq: mark.seq,
        id: None,
        fault,
    }
}

fn incomplete(what: &str) -> Unreadable {
    Unreadable::Incomplete(format!("this is no whole audit export: {what}"))
}

fn record(line: u64, text: &str) -> Result<Record, Unreadable> {
    read_line(text).map_err(|error| Unreadable::Line {
        line,
        problem: error.to_string(),
    })
}

/// The lines that are not blank, with their numbers.
fn numbered(file: impl BufRead) -> impl Iterator<Item = Result<(u64, String), Unreadable>> {
    (1..)
        .zip(file.lines())
        .map(|(line, text)| match text {
            Ok(text) => Ok((line, text)),
            Err(problem) => Err(Unreadable::Io { line, problem }),
        })
        .filter(|line| !matches!(line, Ok((_, text)) if text.trim().is_empty()))
}
