//! What a provider answered is journalled before it is stored, and replayed
//! when a broker that died, or a database that was away, left it there.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Core, complete, refresh};
use crate::{
    domain::{
        Timestamp,
        credential::TokenSet,
        error::{Error, ErrorKind, Result},
        id::{ConnectionId, WorkspaceId},
    },
    journal::{AtWork, Entry, Kind, place},
};

/// How often what was left is tried again.
const INTERVAL: Duration = Duration::from_secs(5);
/// After this long, an entry that does not open is put aside for a person.
const GIVE_UP: TimeDelta = TimeDelta::days(1);

/// A token endpoint's answer on its way into the store, with all that is
/// needed to get it there.
pub(super) struct Answered {
    pub(super) workspace_id: WorkspaceId,
    pub(super) connection_id: ConnectionId,
    /// The generation that was refreshed; 0 for a consent.
    pub(super) generation: u32,
    pub(super) origin: Origin,
    pub(super) received_at: Timestamp,
    pub(super) token_origin: String,
    /// With the refresh token that is good from now on, new or old.
    pub(super) tokens: TokenSet,
}

/// What asked for the tokens.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// A refresh, under this lease.
    Refresh { epoch: i64 },
    /// A consent's callback.
    Consent {
        state_hash: [u8; 32],
        request_id: String,
    },
}

impl Answered {
    fn kind(&self) -> Kind {
        match self.origin {
            Origin::Refresh { .. } => Kind::Refresh,
            Origin::Consent { .. } => Kind::Consent,
        }
    }

    async fn seal(&self, core: &Core) -> Result<Entry> {
        let Self {
            workspace_id,
            connection_id,
            generation,
            ..
        } = *self;
        let plain =
            Zeroizing::new(serde_json::to_vec(&Plain::from(self)).map_err(Error::internal)?);
        let place = place(workspace_id, connection_id, self.kind(), generation);
        Ok(Entry {
            id: core.ambient.id(),
            workspace_id,
            connection_id,
            kind: self.kind(),
            generation,
            sealed: core.vault.seal(&place, &plain).await?,
        })
    }

    async fn open(core: &Core, entry: &Entry) -> Result<Self> {
        let opened = core.vault.open(&entry.place(), &entry.sealed).await?;
        let plain: Plain =
            serde_json::from_slice(opened.expose_secret()).map_err(Error::internal)?;
        let answered = plain.into_answered(entry);
        if answered.kind() != entry.kind {
            return Err(Error::internal("an entry of the journal is of two kinds"));
        }
        Ok(answered)
    }
}

/// The sealed form. Wiped when dropped.
#[derive(Serialize, Deserialize)]
struct Plain {
    origin: Origin,
    received_at: Timestamp,
    token_origin: String,
    access_token: String,
    token_type: String,
    refresh_token: Option<String>,
    id_token: Option<String>,
    scope: Option<String>,
    lifetime_milliseconds: Option<i64>,
}

impl From<&Answered> for Plain {
    fn from(answered: &Answered) -> Self {
        let exposed = |secret: &SecretString| secret.expose_secret().to_owned();
        let TokenSet {
            access_token,
            token_type,
            refresh_token,
            id_token,
            scope,
            lifetime,
        } = &answered.tokens;
        Self {
            origin: match &answered.origin {
                Origin::Refresh { epoch } => Origin::Refresh { epoch: *epoch },
                Origin::Consent {
                    state_hash,
                    request_id,
                } => Origin::Consent {
                    state_hash: *state_hash,
                    request_id: request_id.clone(),
                },
            },
            received_at: answered.received_at,
            token_origin: answered.token_origin.clone(),
            access_token: exposed(access_token),
            token_type: token_type.clone(),
            refresh_token: refresh_token.as_ref().map(exposed),
            id_token: id_token.as_ref().map(exposed),
            scope: scope.clone(),
            lifetime_milliseconds: lifetime.map(|lifetime| lifetime.num_milliseconds()),
        }
    }
}

impl Plain {
    fn into_answered(mut self, entry: &Entry) -> Answered {
        let taken = |text: &mut String| SecretString::from(std::mem::take(text));
        Answered {
            workspace_id: entry.workspace_id,
            connection_id: entry.connection_id,
            generation: entry.generation,
            origin: std::mem::replace(&mut self.origin, Origin::Refresh { epoch: 0 }),
            received_at: self.received_at,
            token_origin: std::mem::take(&mut self.token_origin),
            tokens: TokenSet {
                access_token: taken(&mut self.access_token),
                token_type: std::mem::take(&mut self.token_type),
                refresh_token: self.refresh_token.as_mut().map(taken),
                id_token: self.id_token.as_mut().map(taken),
                scope: self.scope.take(),
                lifetime: self
                    .lifetime_milliseconds
                    .and_then(TimeDelta::try_milliseconds),
            },
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.access_token.zeroize();
        self.refresh_token.zeroize();
        self.id_token.zeroize();
    }
}

/// Journals an answer. A journal that can't be written keeps nobody from
/// storing the answer directly: none.
pub(super) async fn keep<'a>(core: &'a Core, answered: &Answered) -> Option<AtWork<'a>> {
    let kept: std::result::Result<_, Box<dyn std::error::Error + Send + Sync>> = async {
        let entry = answered.seal(core).await?;
        Ok(core.journal.append(entry).await?)
    }
    .await;
    match kept {
        Ok(kept) => {
            metrics::counter!("journal_writes_total", "result" => "success").increment(1);
            Some(kept)
        }
        Err(error) => {
            metrics::counter!("journal_writes_total", "result" => "error").increment(1);
            tracing::error!(
                connection_id = %answered.connection_id,
                error = &*error as &dyn std::error::Error,
                "new tokens can't be journalled and are in memory only until they are stored; look at the disk of DATA_DIR"
            );
            None
        }
    }
}

/// What became of an answer that was left.
pub(super) enum Settled {
    /// It is in the database, or nothing can come of it any more.
    Done,
    /// Not yet.
    Later(Error),
}

/// Replays what is left of one connection, so that a refresh token that was
/// already replaced is not sent.
///
/// # Errors
/// Something stays.
pub(super) async fn replay_of(core: &Core, connection_id: ConnectionId) -> Result<()> {
    for entry in core.journal.left_of(connection_id) {
        replay_one(core, &entry).await?;
    }
    Ok(())
}

/// Replays everything that is left; answers how much stays.
pub async fn replay(core: &Core) -> usize {
    for entry in core.journal.left() {
        if let Err(error) = replay_one(core, &entry).await {
            tracing::warn!(connection_id = %entry.connection_id, error = &error as &dyn std::error::Error, cause = ?error.cause, "a journalled answer could not be stored yet");
            if error.kind == ErrorKind::StoreUnavailable {
                // What keeps one waiting keeps the others.
                break;
            }
        }
    }
    core.journal.left().len()
}

/// Goes on trying, for as long as the broker runs.
pub async fn run(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        replay(&core).await;
    }
}

async fn replay_one(core: &Core, entry: &Entry) -> Result<()> {
    let Some(at_work) = core.journal.take(entry.id) else {
        return Ok(());
    };
    let connection = core
        .store
        .connection(entry.workspace_id, entry.connection_id);
    if connection.await?.is_none() {
        // Deleted with its workspace, whose data keys went too.
        at_work.settled().await;
        return Ok(());
    }
    let answered = match Answered::open(core, entry).await {
        Ok(answered) => answered,
        Err(error) => {
            // The key provider may be away for a while, but not for a day.
            let written = entry.id.get_timestamp().map_or(0, |at| at.to_unix().0);
            let now = u64::try_from(core.ambient.now().timestamp()).unwrap_or_default();
            let give_up = GIVE_UP.num_seconds().unsigned_abs();
            if error.kind != ErrorKind::StoreUnavailable && now.saturating_sub(written) > give_up {
                at_work.unreadable().await;
            }
            return Err(error);
        }
    };
    let settled = match &answered.origin {
        Origin::Refresh { epoch } => refresh::replayed(core, &answered, *epoch).await,
        Origin::Consent {
            state_hash,
            request_id,
        } => complete::replayed(core, &answered, *state_hash, request_id).await,
    };
    match settled {
        Settled::Done => {
            metrics::counter!("journal_replays_total").increment(1);
            tracing::info!(connection_id = %entry.connection_id, kind = ?entry.kind, "a journalled answer was settled");
            at_work.settled().await;
            Ok(())
        }
        Settled::Later(error) => Err(error),
    }
}
