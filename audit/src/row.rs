//! A row, and its canonical form: every part with its length, so that no two
//! rows run into the same bytes.

use uuid::Uuid;

use crate::Mac;

/// The action of a writer's first row; its `request_id` is the key's id.
pub const BEGAN: &str = "audit.writer_began";
/// The action of a writer's last row.
pub const CLOSED: &str = "audit.writer_closed";
/// The workspace of rows that speak of the audit itself. No real workspace has
/// this id: theirs are UUIDv7.
pub const SYSTEM_WORKSPACE: Uuid = Uuid::nil();

/// Tells a row's bytes from a mark's, and this form from later ones.
const LABEL: &[u8] = b"dromos audit row 1";

/// One row in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The writer whose chain it is in.
    pub writer_id: Uuid,
    /// Its number there, from 0.
    pub seq: u64,
    /// The event's id.
    pub id: Uuid,
    /// The workspace it happened in.
    pub workspace_id: Uuid,
    /// When: microseconds since 1970, UTC.
    pub occurred_at: i64,
    /// What.
    pub action: &'a str,
    /// Why it failed, where it did.
    pub error: Option<&'a str>,
    /// Who asked for it.
    pub api_key_id: Option<Uuid>,
    /// Whose connection it is about.
    pub user_id: &'a str,
    /// The connection it is about.
    pub connection_id: Option<Uuid>,
    /// The provider it is about.
    pub provider_name: &'a str,
    /// The request that caused it.
    pub request_id: &'a str,
}

impl Row<'_> {
    /// What is authenticated: the MAC before it, and the row.
    pub(crate) fn canonical(&self, previous: &Mac) -> Vec<u8> {
        let Self {
            writer_id,
            seq,
            id,
            workspace_id,
            occurred_at,
            action,
            error,
            api_key_id,
            user_id,
            connection_id,
            provider_name,
            request_id,
        } = self;
        let mut form = Form::new(LABEL);
        form.part(previous);
        form.part(writer_id.as_bytes());
        form.part(&seq.to_be_bytes());
        form.part(id.as_bytes());
        form.part(workspace_id.as_bytes());
        form.part(&occurred_at.to_be_bytes());
        form.part(action.as_bytes());
        form.optional(error.map(str::as_bytes));
        form.optional(api_key_id.as_ref().map(|id| &id.as_bytes()[..]));
        form.part(user_id.as_bytes());
        form.optional(connection_id.as_ref().map(|id| &id.as_bytes()[..]));
        form.part(provider_name.as_bytes());
        form.part(request_id.as_bytes());
        form.0
    }
}

/// Bytes made of parts.
pub(crate) struct Form(pub(crate) Vec<u8>);

impl Form {
    pub(crate) fn new(label: &[u8]) -> Self {
        let mut form = Self(Vec::with_capacity(384));
        form.part(label);
        form
    }

    pub(crate) fn part(&mut self, part: &[u8]) {
        // On every platform that this runs on, usize fits.
        self.0.extend_from_slice(&(part.len() as u64).to_be_bytes());
        self.0.extend_from_slice(part);
    }

    /// Nothing there is told from an empty part by how many parts it is.
    fn optional(&mut self, part: Option<&[u8]>) {
        self.part(&[u8::from(part.is_some())]);
        if let Some(part) = part {
            self.part(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A row that owns its texts.
    type Parts = (
        ([u8; 32], u128, u64, u128, u128, i64),
        (String, Option<String>, Option<u128>, String),
        (Option<u128>, String, String),
    );

    fn canonical(parts: &Parts) -> Vec<u8> {
        let ((previous, writer, seq, id, workspace, at), (action, error, key, user), rest) = parts;
        let (connection, provider, request) = rest;
        let row = Row {
            writer_id: Uuid::from_u128(*writer),
            seq: *seq,
            id: Uuid::from_u128(*id),
            workspace_id: Uuid::from_u128(*workspace),
            occurred_at: *at,
            action,
            error: error.as_deref(),
            api_key_id: key.map(Uuid::from_u128),
            user_id: user,
            connection_id: connection.map(Uuid::from_u128),
            provider_name: provider,
            request_id: request,
        };
        row.canonical(previous)
    }

    /// Small values, so that equal neighbours and empty texts are common.
    fn parts() -> impl Strategy<Value = Parts> {
        let text = || "[a\u{0}\u{1}é]{0,3}";
        let id = || 0u128..3;
        let previous = any::<bool>().prop_map(|one| [u8::from(one); 32]);
        (
            (previous, id(), 0u64..3, id(), id(), -1i64..2),
            (
                text(),
                prop::option::of(text()),
                prop::option::of(id()),
                text(),
            ),
            (prop::option::of(id()), text(), text()),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn different_rows_never_encode_alike(a in parts(), b in parts()) {
            prop_assert_eq!(canonical(&a) == canonical(&b), a == b);
        }

        #[test]
        fn no_row_is_the_beginning_of_another(a in parts(), b in parts()) {
            prop_assert_eq!(canonical(&a).starts_with(&canonical(&b)), a == b);
        }

        /// Whatever one field loses to its neighbour shows.
        #[test]
        fn a_character_moved_to_the_next_field_shows(a in parts()) {
            let mut moved = a.clone();
            if let Some(last) = moved.2.1.pop() {
                moved.2.2.insert(0, last);
                prop_assert_ne!(canonical(&a), canonical(&moved));
            }
        }
    }
}
