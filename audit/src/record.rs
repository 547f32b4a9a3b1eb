//! An export's lines: JSON, one object each. They are the proto3 JSON of
//! dromos.v1.ExportAuditEventsResponse, so that what the API streams can be
//! verified as it came.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Mark, Row};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The first: when the export began.
    Header(Mark),
    /// A wrapped audit key.
    Key(WrappedKey),
    /// Up to where a writer's rows were deleted on purpose.
    Checkpoint(Mark),
    /// An audit row; each writer's in the order of their numbers.
    Row(ExportedRow),
    /// The last: how many rows there were.
    End {
        /// Rows.
        #[serde(default, with = "text_number")]
        rows: u64,
    },
    /// Where a writer stood; in the files of heads, not in an export.
    Head(Mark),
    /// The stream broke off, as the gateway says it.
    Error(serde_json::Value),
}

/// A wrapped audit key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// Its id.
    pub key_id: Uuid,
    /// Which key-encryption key wraps it.
    pub kek_id: String,
    /// The wrapped key.
    #[serde(with = "base64_bytes")]
    pub wrapped: Vec<u8>,
}

/// An audit row with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedRow {
    /// The writer whose chain it is in.
    pub writer_id: Uuid,
    /// Its number there.
    #[serde(default, with = "text_number")]
    pub seq: u64,
    /// Its MAC.
    #[serde(default, with = "base64_bytes")]
    pub mac: Vec<u8>,
    /// The event's id.
    pub id: Uuid,
    /// The workspace it happened in.
    pub workspace_id: Uuid,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// What.
    #[serde(default)]
    pub action: String,
    /// Why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_id: Option<Uuid>,
    /// Whose connection it is about.
    #[serde(default)]
    pub user_id: String,
    /// The connection it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<Uuid>,
    /// The provider it is about.
    #[serde(default)]
    pub provider_name: String,
    /// The request that caused it.
    #[serde(default)]
    pub request_id: String,
}

impl ExportedRow {
    /// Whether its time is one that the broker writes, in whole microseconds:
    /// the MAC covers no more, so nothing finer may pass.
    pub(crate) fn has_whole_time(&self) -> bool {
        let covered = DateTime::from_timestamp_micros(self.occurred_at.timestamp_micros());
        covered == Some(self.occurred_at)
    }

    /// The row as it would be at another number.
    pub(crate) fn at(&self, seq: u64) -> Row<'_> {
        Row {
            writer_id: self.writer_id,
            seq,
            id: self.id,
            workspace_id: self.workspace_id,
            occurred_at: self.occurred_at.timestamp_micros(),
            action: &self.action,
            error: self.error.as_deref(),
            api_key_id: self.api_key_id,
            user_id: &self.user_id,
            connection_id: self.connection_id,
            provider_name: &self.provider_name,
            request_id: &self.request_id,
        }
    }
}

/// Reads a line; over REST each record stands in a `result`.
///
/// # Errors
/// It is no record; the error tells what is wrong, by the column.
pub fn read_line(line: &str) -> Result<Record, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Line {
        Wrapped { result: Record },
        Plain(Record),
    }
    if line.trim_start().starts_with("{\"result\"") {
        return match serde_json::from_str(line)? {
            Line::Wrapped { result } | Line::Plain(result) => Ok(result),
        };
    }
    serde_json::from_str(line)
}

/// 64-bit numbers are texts in proto3 JSON; numbers are read as well.
pub(crate) mod text_number {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Number(u64),
    }

    pub(crate) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        match Number::deserialize(from)? {
            Number::Number(number) => Ok(number),
            Number::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// Bytes are base64 texts in proto3 JSON.
pub(crate) mod base64_bytes {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}
