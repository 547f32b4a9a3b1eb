//! Providers.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Core, workspaces};
use crate::cache::notices::Notice;
use crate::domain::{
    access::Caller,
    audit::{Action, Actor, AuditEvent},
    error::{Error, ErrorKind, FieldViolation, Result},
    id::{ProviderId, WorkspaceId},
    page::{Page, PageRequest},
    provider::{Definition, Provider, TokenEndpointAuthMethod},
    provider_rules::{is_name, violations},
    sealed::{Place, Sealed},
};
use crate::store::{Retired, Retirement};

pub(super) fn not_found() -> Error {
    Error::new(
        ErrorKind::ProviderNotFound,
        "there is no such provider in this workspace",
    )
}

fn secret_place(workspace_id: WorkspaceId, id: ProviderId, generation: u32) -> Place {
    Place {
        workspace_id,
        table: "providers",
        row: id.0,
        field: "client_secret",
        generation,
    }
}

/// A provider's client secret; never leaves the broker but for its provider.
pub(super) async fn client_secret(
    core: &Core,
    provider: &Provider,
) -> Result<Option<SecretString>> {
    let Some(sealed) = &provider.client_secret else {
        return Ok(None);
    };
    let place = secret_place(
        provider.workspace_id,
        provider.id,
        provider.secret_generation,
    );
    let opened = core.vault.open(&place, sealed).await?;
    Ok(Some(SecretString::from(
        std::str::from_utf8(opened.expose_secret()).map_err(Error::internal)?,
    )))
}

async fn seal_secret(
    core: &Core,
    workspace_id: WorkspaceId,
    id: ProviderId,
    generation: u32,
    secret: Option<&SecretString>,
) -> Result<Option<Sealed>> {
    let Some(secret) = secret else {
        return Ok(None);
    };
    let place = secret_place(workspace_id, id, generation);
    Ok(Some(
        core.vault
            .seal(&place, secret.expose_secret().as_bytes())
            .await?,
    ))
}

/// The rules that the definition alone can't tell, and those that it can.
fn check(core: &Core, definition: &Definition, has_secret: bool) -> Vec<FieldViolation> {
    let mut found = violations(definition, has_secret, core.allow_private_networks);
    if let Err(error) =
        dromos_strategy::Strategy::parse(&definition.strategy.kind, &definition.strategy.config)
    {
        let field = format!("strategy.{}", error.field());
        found.push(FieldViolation {
            field,
            description: error.message().to_owned(),
        });
    }
    found
}

/// A page of the workspace's providers.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn list(core: &Core, caller: &Caller, page: PageRequest) -> Result<Page<Provider>> {
    let providers = core.store.providers(caller.workspace_id(), page).await?;
    Ok(page.page(providers, |provider| provider.id.0))
}

/// One provider.
///
/// # Errors
/// PROVIDER_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn get(core: &Core, caller: &Caller, name: &str) -> Result<Provider> {
    // Not every database can be asked for any text, for instance one with a NUL.
    if !is_name(name) {
        return Err(not_found());
    }
    core.store
        .provider_by_name(caller.workspace_id(), name)
        .await?
        .ok_or_else(not_found)
}

/// Creates a provider.
///
/// # Errors
/// INVALID_ARGUMENT, PROVIDER_EXISTS, STORE_UNAVAILABLE.
pub async fn create(
    core: &Core,
    caller: &Caller,
    name: String,
    definition: Definition,
    client_secret: Option<SecretString>,
) -> Result<Provider> {
    let mut found = check(core, &definition, client_secret.is_some());
    if !is_name(&name) {
        let description = "must be 1 to 63 of a-z, 0-9 and -, and not begin with -".to_owned();
        found.push(FieldViolation {
            field: "name".to_owned(),
            description,
        });
    }
    if !found.is_empty() {
        return Err(Error::violations(found));
    }
    let (workspace_id, id) = (caller.workspace_id(), ProviderId(core.ambient.id()));
    // A deleted one's keys are known for a few seconds more.
    workspaces::get(core, workspace_id).await?;
    let now = core.ambient.now();
    let mut provider = Provider {
        id,
        workspace_id,
        name,
        definition,
        client_secret: None,
        secret_generation: 1,
        created_at: now,
        updated_at: now,
    };
    let event = AuditEvent::new(
        &core.ambient,
        Action::ProviderCreated,
        Actor::Caller(caller),
    )
    .about_provider(&provider.name);
    let secret = client_secret.as_ref();
    let inserted = with_active_key!(
        core,
        workspace_id,
        async {
            provider.client_secret = seal_secret(core, workspace_id, id, 1, secret).await?;
            core.store.insert_provider(&provider, event.clone()).await
        }
        .await
    )?;
    if inserted {
        Ok(provider)
    } else {
        Err(Error::new(
            ErrorKind::ProviderExists,
            "a provider of this name exists; update it, or choose another name",
        ))
    }
}

/// Replaces a provider's definition. `read` is the provider that the new
/// definition was made from.
///
/// # Errors
/// INVALID_ARGUMENT; PROVIDER_NOT_FOUND; STORE_UNAVAILABLE, also where it has
/// changed meanwhile.
pub async fn update(
    core: &Core,
    caller: &Caller,
    read: Provider,
    definition: Definition,
    new_secret: Option<SecretString>,
) -> Result<Provider> {
    let public = definition.oauth2.token_endpoint_auth_method == TokenEndpointAuthMethod::None;
    let has_secret = new_secret.is_some() || (read.client_secret.is_some() && !public);
    let mut found = check(core, &definition, has_secret);
    if read.client_secret.is_some() && new_secret.is_none() && !public {
        found.extend(moved_receiver(&read.definition, &definition));
    }
    if !found.is_empty() {
        return Err(Error::violations(found));
    }
    let secret_generation = read.secret_generation + u32::from(new_secret.is_some());
    let mut provider = Provider {
        definition,
        client_secret: None,
        secret_generation,
        updated_at: core.ambient.now(),
        ..read.clone()
    };
    let event = AuditEvent::new(
        &core.ambient,
        Action::ProviderUpdated,
        Actor::Caller(caller),
    )
    .about_provider(&provider.name);
    let mut held = read.client_secret;
    let updated = with_active_key!(
        core,
        read.workspace_id,
        async {
            provider.client_secret = match &new_secret {
                None if public => None,
                None => held.clone(),
                new => {
                    let Provider {
                        workspace_id, id, ..
                    } = provider;
                    seal_secret(core, workspace_id, id, secret_generation, new.as_ref()).await?
                }
            };
            let updated = core
                .store
                .update_provider(&provider, read.updated_at, event.clone())
                .await;
            if updated.as_ref().is_err_and(|error| error.is_stale_seal) {
                // A rotation has encrypted the secret again since it was read.
                let stored = core.store.provider(read.workspace_id, read.id).await?;
                held = stored.and_then(|stored| stored.client_secret);
            }
            updated
        }
        .await
    )?;
    if updated {
        forget_issuer(core, &provider).await;
        return Ok(provider);
    }
    get(core, caller, &provider.name).await?;
    Err(Error::new(
        ErrorKind::StoreUnavailable,
        "the provider was changed meanwhile; try again",
    ))
}

/// Whoever mended a provider does not wait for a cache, on any broker.
async fn forget_issuer(core: &Core, provider: &Provider) {
    let issuer = &provider.definition.oauth2.issuer;
    if !issuer.is_empty() {
        core.discovery.forget(issuer).await;
        let notice = Notice::IssuerChanged(issuer.clone());
        core.notices.announce(&notice).await;
    }
}

/// Who can change where a secret is sent could have it sent to themselves: so
/// a change of an origin that receives it needs the secret again.
fn moved_receiver(before: &Definition, after: &Definition) -> Option<FieldViolation> {
    // Of a template only the scheme, host and port count, parts included.
    let origin = |url: &str| -> String {
        match Url::parse(url) {
            Ok(url) if !url.authority().contains('$') => url.origin().ascii_serialization(),
            _ => url.split('/').take(3).collect::<Vec<_>>().join("/"),
        }
    };
    let (before, after) = (
        before.oauth2.secret_receivers(),
        after.oauth2.secret_receivers(),
    );
    // An endpoint that is dropped receives nothing; one that is new, does.
    let moved = after
        .iter()
        .zip(before)
        .any(|(after, before)| !after.is_empty() && origin(after) != origin(before));
    let falls_back = after
        .iter()
        .zip(before)
        .any(|(after, before)| after.is_empty() && !before.is_empty());
    (moved || falls_back).then(|| FieldViolation {
        field: "oauth2.client_secret".to_owned(),
        description: "is needed again, because the change sends it to another origin".to_owned(),
    })
}

/// Deletes a provider; with `force`, together with its connections. When this
/// returns, no credential of it is handed out any more; what remains to be
/// done, and to be told the provider, goes on in the background.
///
/// # Errors
/// PROVIDER_NOT_FOUND, PROVIDER_IN_USE, STORE_UNAVAILABLE.
pub async fn delete(core: &Arc<Core>, caller: &Caller, name: &str, force: bool) -> Result<()> {
    let provider = get(core, caller, name).await?;
    let event = AuditEvent::new(
        &core.ambient,
        Action::ProviderDeleted,
        Actor::Caller(caller),
    )
    .about_provider(&provider.name);
    let retirement = Retirement {
        workspace_id: provider.workspace_id,
        provider_id: Some(provider.id),
    };
    let retired = core
        .store
        .retire_provider(retirement, core.ambient.now(), force, event);
    match retired.await? {
        Retired::Gone => return Err(not_found()),
        Retired::InUse(connections) => {
            return Err(Error::new(
                ErrorKind::ProviderInUse,
                format!(
                    "{connections} connections use the provider; set force to revoke them as well"
                ),
            )
            .with("connections", connections.to_string()));
        }
        Retired::Done => {}
    }
    forget_issuer(core, &provider).await;
    super::retire::begin(core, retirement, &caller.request_id).await;
    Ok(())
}
