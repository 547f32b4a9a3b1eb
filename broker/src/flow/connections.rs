//! Looking at connections.

use super::Core;
use crate::domain::{
    access::Caller,
    connection::{Connection, ConnectionFilter, Status},
    error::{Error, ErrorKind, Result},
    id::ConnectionId,
    page::{Page, PageRequest},
};

pub(super) fn not_found() -> Error {
    Error::new(
        ErrorKind::ConnectionNotFound,
        "there is no such connection in this workspace",
    )
}

pub(super) async fn find(core: &Core, caller: &Caller, id: ConnectionId) -> Result<Connection> {
    core.store
        .connection(caller.workspace_id(), id)
        .await?
        .ok_or_else(not_found)
}

/// One connection, in the status that it has now.
///
/// # Errors
/// CONNECTION_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn get(core: &Core, caller: &Caller, id: ConnectionId) -> Result<Connection> {
    Ok(as_of_now(core, find(core, caller, id).await?))
}

/// A page of the workspace's connections.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn list(
    core: &Core,
    caller: &Caller,
    user_id: Option<String>,
    provider_name: Option<String>,
    status: Option<Status>,
    page: PageRequest,
) -> Result<Page<Connection>> {
    let filter = ConnectionFilter {
        user_id,
        provider_name,
        status: status.map(|status| (status, core.ambient.now())),
    };
    let found = core
        .store
        .connections(caller.workspace_id(), &filter, page)
        .await?;
    let found = found
        .into_iter()
        .map(|connection| as_of_now(core, connection))
        .collect();
    Ok(page.page(found, |connection| connection.id.0))
}

pub(super) fn as_of_now(core: &Core, mut connection: Connection) -> Connection {
    let (status, reason) = connection.status_at(core.ambient.now());
    let reason = reason.to_owned();
    if status != connection.status {
        connection.updated_at = match status {
            Status::Failed => connection.consent_expires_at,
            _ => connection.expires_at.unwrap_or(connection.updated_at),
        };
    }
    connection.status = status;
    connection.reason = reason;
    connection
}

/// What a connection's status means to somebody who wants its credential.
///
/// # Errors
/// One for every status but ACTIVE.
pub(super) fn usable(status: Status, reason: &str) -> Result<()> {
    let (kind, message, reconnect) = match status {
        Status::Active => return Ok(()),
        Status::Pending => (
            ErrorKind::ConnectionPending,
            "the user has not consented yet; open auth_url, then try again",
            false,
        ),
        Status::Failed => (
            ErrorKind::ConnectionFailed,
            "the consent failed; reconnect, or request a new connection",
            false,
        ),
        Status::Attention => (
            ErrorKind::ConnectionAttentionRequired,
            "the provider refuses the grant; the user must reconnect",
            true,
        ),
        Status::Expired => (
            ErrorKind::ConnectionExpired,
            "the credential expired and can't be refreshed; the user must reconnect",
            true,
        ),
        Status::Revoked => (
            ErrorKind::ConnectionRevoked,
            "the connection is revoked for good; request a new one",
            false,
        ),
    };
    let mut error = Error::new(kind, message);
    if reconnect {
        error = error.with("reconnect", "true");
    }
    if !reason.is_empty() {
        error = error.with("cause", reason);
    }
    Err(error)
}
