//! Statements on where a writer's chain stood.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    key::Key,
    record::{base64_bytes, text_number},
    row::Form,
};

const LABEL: &[u8] = b"dromos audit mark 1";

/// What a mark states. It is authenticated with the rest, so that none passes
/// for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarkKind {
    /// The writer's newest durable row.
    Head,
    /// Rows up to this one were deleted on purpose.
    Checkpoint,
    /// An export began; it names no writer.
    Export,
}

impl MarkKind {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Head => b"head",
            Self::Checkpoint => b"checkpoint",
            Self::Export => b"export",
        }
    }
}

/// A statement on where a writer's chain stood, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The writer.
    #[serde(default)]
    pub writer_id: Uuid,
    /// The number of its row.
    #[serde(default, with = "text_number")]
    pub seq: u64,
    /// That row's MAC.
    #[serde(default, with = "base64_bytes")]
    pub row_mac: Vec<u8>,
    /// The key under which this is signed.
    pub key_id: Uuid,
    /// When it was stated.
    pub at: DateTime<Utc>,
    /// The MAC of this statement.
    #[serde(default, with = "base64_bytes")]
    pub mac: Vec<u8>,
}

impl Mark {
    /// Signs: sets `key_id` and `mac`, and leaves whole microseconds of `at`.
    #[must_use]
    pub fn signed(mut self, kind: MarkKind, key: &Key) -> Self {
        self.key_id = key.id();
        self.at = whole(self.at);
        self.mac = key.mac(&self.canonical(kind)).to_vec();
        self
    }

    /// Whether it states this, under this key.
    #[must_use]
    pub fn is_genuine(&self, kind: MarkKind, key: &Key) -> bool {
        // The MAC covers whole microseconds, so nothing finer may pass.
        self.at == whole(self.at)
            && self.key_id == key.id()
            && key.is_mac(&self.canonical(kind), &self.mac)
    }

    fn canonical(&self, kind: MarkKind) -> Vec<u8> {
        let Self {
            writer_id,
            seq,
            row_mac,
            key_id,
            at,
            mac: _,
        } = self;
        let mut form = Form::new(LABEL);
        form.part(kind.label());
        form.part(writer_id.as_bytes());
        form.part(&seq.to_be_bytes());
        form.part(row_mac);
        form.part(key_id.as_bytes());
        form.part(&at.timestamp_micros().to_be_bytes());
        form.0
    }
}

fn whole(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}
