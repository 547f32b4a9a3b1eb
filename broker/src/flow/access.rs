//! API keys.

use secrecy::{ExposeSecret, SecretString};

use super::Core;
use crate::cache::notices::Notice;
use crate::domain::{
    Timestamp,
    access::{ApiKey, Caller, KeyHash, Scope},
    audit::{Action, Actor, AuditEvent},
    error::{Error, ErrorKind, Result},
    id::{ApiKeyId, WorkspaceId},
    page::{Page, PageRequest},
    state::random_text,
};

fn not_found() -> Error {
    Error::new(
        ErrorKind::ApiKeyNotFound,
        "there is no such API key in this workspace",
    )
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Its name for people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// Another workspace than the caller's.
    pub workspace_id: Option<WorkspaceId>,
}

/// Creates a key. Its secret is in the answer and nowhere else.
///
/// # Errors
/// SCOPE_MISSING where the caller gives what they don't hold, INVALID_ARGUMENT,
/// WORKSPACE_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn create(
    core: &Core,
    caller: &Caller,
    new: NewApiKey,
) -> Result<(ApiKey, SecretString)> {
    let workspace_id = new.workspace_id.unwrap_or(caller.workspace_id());
    let needs_operator =
        workspace_id != caller.workspace_id() || new.scopes.contains(&Scope::Operator);
    if needs_operator && !caller.key.holds(Scope::Operator) {
        return Err(Error::new(
            ErrorKind::ScopeMissing,
            "this needs a key with the scope operator",
        )
        .with("scope", "operator"));
    }
    let now = core.ambient.now();
    if new.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(Error::invalid("expires_at", "is in the past"));
    }
    let secret = SecretString::from(format!(
        "dromos_{}",
        random_text(&core.ambient).expose_secret()
    ));
    let key = ApiKey {
        id: ApiKeyId(core.ambient.id()),
        workspace_id,
        name: new.name,
        scopes: new.scopes,
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
    };
    let event = AuditEvent::new(&core.ambient, Action::ApiKeyCreated, Actor::Caller(caller));
    if !core
        .store
        .insert_api_key(&key, KeyHash::of(secret.expose_secret()), event)
        .await?
    {
        return Err(super::workspaces::not_found());
    }
    Ok((key, secret))
}

/// One key, without its secret.
///
/// # Errors
/// API_KEY_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn get(core: &Core, caller: &Caller, id: ApiKeyId) -> Result<ApiKey> {
    core.store
        .api_key(caller.workspace_id(), id)
        .await?
        .ok_or_else(not_found)
}

/// A page of the workspace's keys.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn list(core: &Core, caller: &Caller, page: PageRequest) -> Result<Page<ApiKey>> {
    let keys = core.store.api_keys(caller.workspace_id(), page).await?;
    Ok(page.page(keys, |key| key.id.0))
}

/// Deletes a key: refused here at once, elsewhere within five seconds.
///
/// # Errors
/// API_KEY_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn delete(core: &Core, caller: &Caller, id: ApiKeyId) -> Result<()> {
    let event = AuditEvent::new(&core.ambient, Action::ApiKeyDeleted, Actor::Caller(caller));
    if !core
        .store
        .delete_api_key(caller.workspace_id(), id, event)
        .await?
    {
        return Err(not_found());
    }
    core.authenticator.forget(|key| key.id == id);
    core.notices.announce(&Notice::ApiKeyDeleted(id.0)).await;
    Ok(())
}

/// Takes the bootstrap key, if there never was a key.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn bootstrap(core: &Core, secret: &SecretString) -> Result<bool> {
    let key = ApiKey {
        id: ApiKeyId(core.ambient.id()),
        workspace_id: WorkspaceId::DEFAULT,
        name: "bootstrap".to_owned(),
        scopes: vec![Scope::Admin, Scope::Operator],
        created_at: core.ambient.now(),
        expires_at: None,
        last_used_at: None,
    };
    let event = AuditEvent::new(
        &core.ambient,
        Action::ApiKeyCreated,
        Actor::Anonymous(WorkspaceId::DEFAULT, ""),
    );
    core.store
        .take_bootstrap_key(&key, KeyHash::of(secret.expose_secret()), event)
        .await
}
