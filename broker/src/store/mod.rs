//! The store: domain in, domain out, and for a secret ciphertext only. Each
//! trait here is one aggregate's part; PostgreSQL and SQLite implement them
//! with the same source (`sql/`), compiled once for each.

use std::time::Duration;

use crate::domain::{error::Result, sealed::DataKeyStore};

mod changes;
mod lanes;
mod ledger;
mod pg;
mod sqlite;
mod traits;

pub use changes::Subscription;
pub use traits::*;

/// How long a caller waits for a database connection before the answer is
/// STORE_UNAVAILABLE.
const CONNECTION_WAIT: Duration = Duration::from_secs(2);

/// How long a refresh lease holds, in seconds. The exchange's own deadline is
/// shorter, so that a lease never ends under a living exchange.
pub const LEASE_SECONDS: i64 = 60;

/// What the triggers of `migrations/` say of a ciphertext whose data key is not
/// the workspace's active one.
const STALE_DATA_KEY: &str = "stale data key";

/// Everything that a broker keeps.
pub trait Store:
    WorkspaceStore
    + ApiKeyStore
    + DataKeyStore
    + KeyRotationStore
    + ProviderStore
    + RetirementStore
    + ConnectionStore
    + ConsentStore
    + CredentialStore
    + DueStore
    + AnswerStore
    + AuditStore
    + EventStore
    + WebhookStore
    + ConfirmationStore
    + Upkeep
{
}

impl<T> Store for T where
    T: WorkspaceStore
        + ApiKeyStore
        + DataKeyStore
        + KeyRotationStore
        + KeyRotationStore
        + ProviderStore
        + RetirementStore
        + ConnectionStore
        + ConsentStore
        + CredentialStore
        + DueStore
        + AnswerStore
        + AuditStore
        + EventStore
        + WebhookStore
        + ConfirmationStore
        + Upkeep
{
}

/// Whether a URL can be used; whether its database answers is another matter.
///
/// # Errors
/// What is wrong and what to do, without what may be a secret.
pub fn check_url(url: &str) -> std::result::Result<(), String> {
    if is_postgres(url) {
        pg::check(url)
    } else {
        Ok(())
    }
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Opens the store of a URL: `postgres://…`, or else the path of an SQLite
/// file.
///
/// # Errors
/// The database can't be reached within the bound.
pub async fn open(url: &str) -> Result<std::sync::Arc<dyn Store>> {
    for kind in ["connection", "statement", "fault"] {
        // There from the start: an alert sees a counter's first step only so.
        errors(kind).increment(0);
    }
    if is_postgres(url) {
        Ok(pg::open(url).await?)
    } else {
        Ok(sqlite::open(url).await?)
    }
}

/// What a database error means to a caller: a broken rule is a fault of ours,
/// everything else is a database that can't serve now.
impl From<diesel::result::Error> for crate::domain::error::Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind as Kind, Error as E};
        match &error {
            E::DatabaseError(_, told) if told.message() == STALE_DATA_KEY => {
                Self::stale_seal(error)
            }
            E::DatabaseError(
                Kind::UniqueViolation
                | Kind::ForeignKeyViolation
                | Kind::NotNullViolation
                | Kind::CheckViolation,
                _,
            )
            | E::DeserializationError(_)
            | E::SerializationError(_)
            | E::QueryBuilderError(_)
            | E::NotFound => {
                count_error("fault");
                Self::internal(error)
            }
            _ => {
                count_error("statement");
                Self::store_unavailable(error)
            }
        }
    }
}

/// Counts what the database could not do, for whomever: `connection` (none was
/// to be had), `statement` (it failed, or its connection did) or `fault` (a
/// rule was broken, or a row is impossible).
fn count_error(kind: &'static str) {
    errors(kind).increment(1);
}

fn errors(kind: &'static str) -> metrics::Counter {
    metrics::counter!("store_errors_total", "kind" => kind)
}
