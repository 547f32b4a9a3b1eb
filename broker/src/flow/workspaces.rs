//! Workspaces.

use std::sync::Arc;

use super::Core;
use crate::cache::notices::Notice;
use crate::domain::{
    access::Caller,
    audit::{Action, Actor, AuditEvent},
    error::{Error, ErrorKind, Result},
    id::WorkspaceId,
    page::{Page, PageRequest},
    return_url::parse_origin,
    workspace::Workspace,
};
use crate::store::Retirement;

pub(super) fn not_found() -> Error {
    Error::new(ErrorKind::WorkspaceNotFound, "there is no such workspace")
}

fn check(allowed_return_urls: &[String]) -> Result<()> {
    if allowed_return_urls
        .iter()
        .all(|entry| parse_origin(entry).is_some())
    {
        Ok(())
    } else {
        Err(Error::invalid(
            "allowed_return_urls",
            "must hold origins: scheme, host and port, as in https://app.example.com",
        ))
    }
}

/// Creates a workspace.
///
/// # Errors
/// INVALID_ARGUMENT, STORE_UNAVAILABLE.
pub async fn create(
    core: &Core,
    caller: &Caller,
    name: String,
    allowed_return_urls: Vec<String>,
) -> Result<Workspace> {
    check(&allowed_return_urls)?;
    let workspace = Workspace {
        id: WorkspaceId(core.ambient.id()),
        name,
        allowed_return_urls,
        created_at: core.ambient.now(),
    };
    let event = AuditEvent::new(
        &core.ambient,
        Action::WorkspaceCreated,
        Actor::Caller(caller),
    );
    core.store.insert_workspace(&workspace, event).await?;
    Ok(workspace)
}

/// One workspace.
///
/// # Errors
/// WORKSPACE_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn get(core: &Core, id: WorkspaceId) -> Result<Workspace> {
    core.store.workspace(id).await?.ok_or_else(not_found)
}

/// A page of all workspaces.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn list(core: &Core, page: PageRequest) -> Result<Page<Workspace>> {
    let workspaces = core.store.workspaces(page).await?;
    Ok(page.page(workspaces, |workspace| workspace.id.0))
}

/// Replaces a workspace's name and origins.
///
/// # Errors
/// WORKSPACE_NOT_FOUND, INVALID_ARGUMENT, STORE_UNAVAILABLE.
pub async fn update(core: &Core, caller: &Caller, workspace: Workspace) -> Result<Workspace> {
    check(&workspace.allowed_return_urls)?;
    let event = AuditEvent::new(
        &core.ambient,
        Action::WorkspaceUpdated,
        Actor::Caller(caller),
    );
    if core.store.update_workspace(&workspace, event).await? {
        Ok(workspace)
    } else {
        Err(not_found())
    }
}

/// Deletes a workspace, its data keys and all that is in it but its audit.
/// When this returns, nobody gets in any more; revoking its connections,
/// telling their providers and removing the rows goes on in the background.
///
/// # Errors
/// WORKSPACE_NOT_FOUND; PROVIDER_IN_USE where it has connections and `force`
/// was not set; INVALID_ARGUMENT for the default one; STORE_UNAVAILABLE.
pub async fn delete(core: &Arc<Core>, caller: &Caller, id: WorkspaceId, force: bool) -> Result<()> {
    if id == WorkspaceId::DEFAULT {
        return Err(Error::invalid(
            "workspace_id",
            "the default workspace can't be deleted",
        ));
    }
    get(core, id).await?;
    let connections = core.store.count_connections(id).await?;
    if connections > 0 && !force {
        return Err(Error::new(
            ErrorKind::ProviderInUse,
            format!("{connections} connections use the workspace's providers; set force to delete them as well"),
        )
        .with("connections", connections.to_string()));
    }
    let event = AuditEvent::new(
        &core.ambient,
        Action::WorkspaceDeleted,
        Actor::Caller(caller),
    );
    let retired = core
        .store
        .retire_workspace(id, core.ambient.now(), event)
        .await?;
    if !retired {
        return Err(not_found());
    }
    core.authenticator.forget_workspace(id);
    core.notices.announce(&Notice::WorkspaceDeleted(id.0)).await;
    let retirement = Retirement {
        workspace_id: id,
        provider_id: None,
    };
    super::retire::begin(core, retirement, &caller.request_id).await;
    Ok(())
}
