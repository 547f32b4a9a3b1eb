//! ConfirmConnection: an application says that the user who consented is the
//! one of its own session. Until then a consent's credential is kept sealed and
//! served to nobody, so that an `auth_url` that was sent to somebody else binds
//! nobody's account.

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Core, complete,
    connections::{find, usable},
    revocations::CLAIM,
    upstream,
};
use crate::{
    domain::{
        Timestamp,
        access::Caller,
        audit::{Action, Actor, AuditEvent},
        confirmation::{CONFIRMATION_LIFETIME, Confirmation},
        connection::{Connection, Status},
        consent::Consent,
        credential::TokenSet,
        error::{Error, ErrorKind, Result},
        id::ConnectionId,
        sealed::Sealed,
        state::{hash, random_text},
    },
    store::{Completion, UpstreamRevocation},
};

/// Confirmations that one round of upkeep gives up at most.
const LOST_AT_ONCE: i64 = 100;

/// Tokens while they wait, as they are sealed.
#[derive(Serialize, Deserialize)]
struct Held {
    access_token: String,
    token_type: String,
    refresh_token: Option<String>,
    id_token: Option<String>,
    scope: Option<String>,
    expires_at: Option<Timestamp>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.access_token.zeroize();
        self.refresh_token.zeroize();
        self.id_token.zeroize();
    }
}

/// Keeps what a consent yielded until it is confirmed: the code for that; none
/// where the consent is superseded.
pub(super) async fn hold(
    core: &Core,
    consent: &Consent,
    connection: &Connection,
    tokens: &TokenSet,
    granted: complete::Granted,
    event: AuditEvent,
) -> Result<Option<SecretString>> {
    let now = core.ambient.now();
    let text = |secret: &SecretString| secret.expose_secret().to_owned();
    let held = Held {
        access_token: text(&tokens.access_token),
        token_type: tokens.token_type.clone(),
        refresh_token: tokens.refresh_token.as_ref().map(text),
        id_token: tokens.id_token.as_ref().map(text),
        scope: tokens.scope.clone(),
        expires_at: tokens.lifetime.map(|lifetime| now + lifetime),
    };
    let plain = Zeroizing::new(serde_json::to_vec(&held).map_err(Error::internal)?);
    let place = Confirmation::place(consent.workspace_id, consent.id);
    let code = random_text(&core.ambient);
    let mut confirmation = Confirmation {
        workspace_id: consent.workspace_id,
        connection_id: connection.id,
        consent_id: consent.id,
        code_hash: hash(&code),
        credential: Sealed(vec![]),
        scopes: granted.scopes,
        subject: granted.subject,
        token_origin: granted.token_origin,
        created_at: now,
        expires_at: now + TimeDelta::seconds(CONFIRMATION_LIFETIME),
    };
    let kept = with_active_key!(
        core,
        consent.workspace_id,
        async {
            confirmation.credential = core.vault.seal(&place, &plain).await?;
            core.store
                .insert_confirmation(&confirmation, event.clone())
                .await
        }
        .await
    )?;
    Ok(kept.then_some(code))
}

async fn open(core: &Core, held: &Confirmation) -> Result<TokenSet> {
    let place = Confirmation::place(held.workspace_id, held.consent_id);
    let opened = core.vault.open(&place, &held.credential).await?;
    let mut tokens: Held =
        serde_json::from_slice(opened.expose_secret()).map_err(Error::internal)?;
    let now = core.ambient.now();
    Ok(TokenSet {
        access_token: std::mem::take(&mut tokens.access_token).into(),
        token_type: std::mem::take(&mut tokens.token_type),
        refresh_token: tokens.refresh_token.take().map(Into::into),
        id_token: tokens.id_token.take().map(Into::into),
        scope: tokens.scope.take(),
        lifetime: tokens
            .expires_at
            .map(|at| (at - now).max(TimeDelta::zero())),
    })
}

/// Confirms the consent that waits; the connection becomes ACTIVE.
///
/// # Errors
/// CONNECTION_NOT_FOUND, CONNECTION_REVOKED; INVALID_ARGUMENT where this is not
/// the code of a consent that waits, whatever else is the matter;
/// STORE_UNAVAILABLE.
pub async fn confirm(
    core: &Core,
    caller: &Caller,
    id: ConnectionId,
    code: &SecretString,
) -> Result<Connection> {
    let connection = find(core, caller, id).await?;
    if connection.status == Status::Revoked {
        usable(Status::Revoked, "")?;
    }
    let wrong = || {
        Error::invalid(
            "confirmation_code",
            "is not the code of a consent of this connection that waits for confirmation",
        )
    };
    let workspace_id = caller.workspace_id();
    let held = core
        .store
        .try_confirmation(workspace_id, id, hash(code), core.ambient.now())
        .await?
        .ok_or_else(wrong)?;
    let tokens = open(core, &held).await?;
    let provider = core
        .store
        .provider(workspace_id, connection.provider_id)
        .await?
        .ok_or_else(super::providers::not_found)?;
    let granted = complete::Granted {
        scopes: held.scopes.clone(),
        subject: held.subject.clone(),
        token_origin: held.token_origin.clone(),
        // What is left of the lifetime counts from now.
        issued_at: core.ambient.now(),
    };
    let event = || {
        let event = AuditEvent::new(
            &core.ambient,
            Action::ConnectionActivated,
            Actor::Caller(caller),
        );
        event.about(id, &connection.user_id, &connection.provider_name)
    };
    let completion = complete::activate(
        core,
        &connection,
        &provider,
        &tokens,
        &granted,
        complete::By::Confirmation(held.consent_id),
        event,
    );
    match completion.await? {
        Completion::Done => super::connections::get(core, caller, id).await,
        Completion::Superseded => {
            if find(core, caller, id).await?.status == Status::Revoked {
                usable(Status::Revoked, "")?;
            }
            Err(wrong())
        }
        Completion::Conflict => Err(Error::store_unavailable("the credential keeps changing")),
    }
}

/// What the provider has to be told of a credential that nobody confirms. A
/// connection that has another one keeps it: a provider may take the end of one
/// token for the end of the grant, and the grant is the same user's.
async fn upstream_of(
    core: &Core,
    held: &Confirmation,
    connection: &Connection,
) -> Result<Option<UpstreamRevocation>> {
    let lives_on = core
        .store
        .credential(held.workspace_id, held.connection_id)
        .await?
        .is_some();
    if lives_on {
        return Ok(None);
    }
    let tokens = match open(core, held).await {
        Err(error) if error.kind == ErrorKind::Internal => {
            // Then nobody can be told, and it must not hold up what comes next.
            tracing::error!(connection_id = %held.connection_id, cause = ?error.cause, "what waited for a confirmation does not open; it is dropped");
            return Ok(None);
        }
        opened => opened?,
    };
    let token = tokens.refresh_token.unwrap_or(tokens.access_token);
    let claimed_until = core.ambient.now() + CLAIM;
    upstream::prepare(core, connection, token, Some(claimed_until))
        .await
        .map(Some)
}

/// Gives up one: its tokens are deleted, and the provider is told.
pub(super) async fn give_up(core: &Core, held: &Confirmation) -> Result<()> {
    let connection = core
        .store
        .connection(held.workspace_id, held.connection_id)
        .await?;
    let told = with_active_key!(
        core,
        held.workspace_id,
        async {
            let upstream = match &connection {
                Some(connection) => upstream_of(core, held, connection).await?,
                None => None,
            };
            let dropped = core.store.drop_confirmation(held, upstream.as_ref());
            let dropped = dropped.await?;
            Ok::<_, Error>(upstream.filter(|_| dropped))
        }
        .await
    )?;
    if let Some(upstream) = &told {
        upstream::tell(core, upstream).await;
    }
    Ok(())
}

/// Gives up what nobody will confirm any more.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn give_up_lost(core: &Core) -> Result<()> {
    let now = core.ambient.now();
    for held in core.store.lost_confirmations(now, LOST_AT_ONCE).await? {
        give_up(core, &held).await?;
    }
    Ok(())
}
