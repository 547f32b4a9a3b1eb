//! The audit's chain, as arithmetic: no database, no network, no clock.
//!
//! Every audit row belongs to a *writer* and has a number there, from 0
//! without a gap. Its MAC covers the row, its place and the MAC before it, so
//! a row can't be changed, removed, inserted or moved by anybody who lacks the
//! key. A [`Mark`] is a statement under the same key on where a writer stood:
//! a head that was written down elsewhere, a checkpoint before which rows were
//! deleted, the beginning of an export.
//!
//! The broker signs with this, and `dromos audit verify` checks with this.

mod key;
mod key_file;
mod mark;
mod record;
mod row;
mod verify;

pub use key::{Kek, Key, NotUnwrapped, kek_id, wrapping_context};
pub use key_file::{key_line, read_keys};
pub use mark::{Mark, MarkKind};
pub use record::{ExportedRow, Record, WrappedKey, read_line};
pub use row::{BEGAN, CLOSED, Row, SYSTEM_WORKSPACE};
pub use verify::{Broken, Fault, Report, Unreadable, read_heads, verify};

/// HMAC-SHA256's output.
pub type Mac = [u8; 32];

/// What stands before a writer's first row.
pub const GENESIS: Mac = [0; 32];
