//! What can be wrong, in words.

use std::fmt;

use uuid::Uuid;

/// Where an export is broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The writer.
    pub writer_id: Uuid,
    /// The number in its chain where it breaks.
    pub seq: u64,
    /// The id of the row that stands there, where one does.
    pub id: Option<Uuid>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The row's content is not what was written.
    Changed,
    /// Rows that were there are not.
    Removed {
        /// How many.
        rows: u64,
    },
    /// Nobody with the key wrote this row here.
    Inserted,
    /// It is the writer's last row, so that either may be.
    ChangedOrInserted,
    /// The rows were written, in another order.
    Reordered,
    /// The writer's chain ends before where it stood.
    CutTail {
        /// Where it stood.
        stood_at: u64,
    },
    /// No row of a writer is there that a head tells of.
    MissingWriter,
    /// Another row stood here when the head was written down.
    DiffersFromHead,
    /// The chain names a key that is not in the export.
    UnknownKey,
    /// The checkpoint was not made by who holds the key.
    ForgedCheckpoint,
    /// The head was not written by who holds the key.
    ForgedHead,
    /// The export's header was not made by who holds the key.
    ForgedHeader,
}

impl Fault {
    /// One word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Removed { .. } => "removed",
            Self::Inserted => "inserted",
            Self::ChangedOrInserted => "changed_or_inserted",
            Self::Reordered => "reordered",
            Self::CutTail { .. } => "cut_tail",
            Self::MissingWriter => "missing_writer",
            Self::DiffersFromHead => "differs_from_head",
            Self::UnknownKey => "unknown_key",
            Self::ForgedCheckpoint => "forged_checkpoint",
            Self::ForgedHead => "forged_head",
            Self::ForgedHeader => "forged_header",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => write!(f, "changed: the row is not as it was written"),
            Self::Removed { rows: 1 } => write!(f, "removed: a row that stood here is gone"),
            Self::Removed { rows } => write!(f, "removed: {rows} rows that stood here are gone"),
            Self::Inserted => write!(f, "inserted: the broker did not write this row here"),
            Self::ChangedOrInserted => write!(
                f,
                "changed or inserted: the broker did not write this row as it is, and no row \
                 follows that could tell which"
            ),
            Self::Reordered => write!(f, "reordered: the rows from here on stood in another order"),
            Self::CutTail { stood_at } => write!(
                f,
                "cut tail: the chain reached at least row {stood_at}, and ends before it"
            ),
            Self::MissingWriter => write!(f, "missing writer: not one of its rows is there"),
            Self::DiffersFromHead => {
                write!(
                    f,
                    "replaced: another row stood here when its head was exported"
                )
            }
            Self::UnknownKey => write!(f, "unknown key: the export lacks the key that it names"),
            Self::ForgedCheckpoint => {
                write!(f, "forged checkpoint: it was not made with the audit's key")
            }
            Self::ForgedHead => write!(f, "forged head: it was not written with the audit's key"),
            Self::ForgedHeader => {
                write!(
                    f,
                    "forged header: the export was not begun with the audit's key"
                )
            }
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writer {}, row {}", self.writer_id, self.seq)?;
        if let Some(id) = self.id {
            write!(f, ", event {id}")?;
        }
        write!(f, ": {}", self.fault)
    }
}
