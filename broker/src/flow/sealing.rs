//! Tokens into ciphertext and back: usage and refresh secrets apart, each under
//! the credential's generation.

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{Core, fetch_token::Secrets};
use crate::domain::{
    Timestamp,
    credential::{Credential, NewCredential, TokenSet, due_at, refresh_at},
    error::{Error, Result},
    id::{ConnectionId, WorkspaceId},
    provider::Provider,
    sealed::Place,
};

fn place(
    workspace_id: WorkspaceId,
    id: ConnectionId,
    field: &'static str,
    generation: u32,
) -> Place {
    Place {
        workspace_id,
        table: "credentials",
        row: id.0,
        field,
        generation,
    }
}

/// Where the part of a credential that agents get is sealed.
pub(super) fn usage_place(workspace_id: WorkspaceId, id: ConnectionId, generation: u32) -> Place {
    place(workspace_id, id, "usage", generation)
}

/// Opens the refresh token, where there is one.
pub(super) async fn open_refresh_token(
    core: &Core,
    credential: &Credential,
) -> Result<Option<SecretString>> {
    let Some(sealed) = &credential.content.refresh else {
        return Ok(None);
    };
    let place = place(
        credential.workspace_id,
        credential.connection_id,
        "refresh",
        credential.generation,
    );
    let opened = core.vault.open(&place, sealed).await?;
    let text = std::str::from_utf8(opened.expose_secret()).map_err(Error::internal)?;
    Ok(Some(SecretString::from(text)))
}

/// Seals tokens under a generation.
#[expect(clippy::too_many_arguments, reason = "a credential has these parts")]
pub(super) async fn seal(
    core: &Core,
    workspace_id: WorkspaceId,
    id: ConnectionId,
    generation: u32,
    provider: &Provider,
    tokens: &TokenSet,
    token_origin: &str,
    issued_at: Timestamp,
) -> Result<NewCredential> {
    let mut usage = serde_json::Map::new();
    usage.insert(
        "access_token".into(),
        tokens.access_token.expose_secret().into(),
    );
    usage.insert("token_type".into(), tokens.token_type.as_str().into());
    if let Some(scope) = &tokens.scope {
        usage.insert("scope".into(), scope.as_str().into());
    }
    if let Some(id_token) = &tokens.id_token {
        usage.insert("id_token".into(), id_token.expose_secret().into());
    }
    let usage = Secrets(usage);
    let plain = Zeroizing::new(serde_json::to_vec(&usage.0).map_err(Error::internal)?);
    let refresh = match &tokens.refresh_token {
        Some(token) => {
            let place = place(workspace_id, id, "refresh", generation);
            Some(
                core.vault
                    .seal(&place, token.expose_secret().as_bytes())
                    .await?,
            )
        }
        None => None,
    };
    let refreshable = tokens.lifetime.filter(|_| refresh.is_some());
    let margin = TimeDelta::seconds(provider.definition.oauth2.refresh_margin.into());
    Ok(NewCredential {
        usage: core
            .vault
            .seal(&usage_place(workspace_id, id, generation), &plain)
            .await?,
        issued_at,
        expires_at: tokens.lifetime.map(|lifetime| issued_at + lifetime),
        refresh_at: refreshable.map(|lifetime| refresh_at(issued_at, lifetime, margin)),
        due_at: refreshable.and_then(|lifetime| {
            let margin = refresh_at(issued_at, lifetime, margin);
            due_at(issued_at, lifetime, margin, core.ambient.chance())
        }),
        refresh,
        token_origin: token_origin.to_owned(),
    })
}

/// The scopes that an answer names (RFC 6749 §5.1).
pub(super) fn granted_scopes(tokens: &TokenSet, provider: &Provider) -> Option<Vec<String>> {
    let separator = provider.definition.oauth2.scope_separator.as_str();
    let scope = tokens.scope.as_deref()?;
    Some(
        scope
            .split([' '])
            .flat_map(|part| part.split(separator))
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}
