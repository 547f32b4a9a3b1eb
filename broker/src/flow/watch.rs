//! WatchConnection: a connection's state, then its changes as they happen.
//!
//! A watch reads the events table whenever there may be news, so it holds no
//! more than one page of events, however slow its reader is: it does nothing
//! at all until it is asked for the next change.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    Core,
    authenticate::still_valid,
    connections::{not_found, usable},
    fetch_token::{self, CredentialPayload},
};
use crate::{
    domain::{
        Timestamp,
        access::{Caller, Scope},
        connection::{Connection, Status},
        error::{Error, ErrorKind, Result},
        event::{ConnectionEvent, EventKind, Numbered},
        id::{ConnectionId, EventId},
    },
    store::Subscription,
};

/// How often a watch looks at the clock and at its caller's key.
const TICK: Duration = Duration::from_secs(2);
/// Events that are read at once.
const PAGE: i64 = 100;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct WatchRequest {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Where an earlier watch ended; empty for none.
    pub resume_token: String,
    /// Whether the credential comes along.
    pub include_credentials: bool,
}

/// A connection's state, at first or after a change.
#[derive(Debug)]
pub struct Change {
    /// The connection.
    pub connection_id: ConnectionId,
    /// What happened; none where this is the current state.
    pub event: Option<(EventId, EventKind)>,
    /// Where the connection stood then.
    pub status: Status,
    /// Why.
    pub reason: String,
    /// The credential's generation then.
    pub generation: u32,
    /// When.
    pub occurred_at: Timestamp,
    /// Resumes after it.
    pub resume_token: String,
    /// The credential.
    pub payload: Option<CredentialPayload>,
}

/// A watch under way.
pub struct Watch {
    core: Arc<Core>,
    caller: Caller,
    id: ConnectionId,
    include_credentials: bool,
    news: Subscription,
    ticks: Interval,
    /// The last event that was told.
    told: i64,
    /// To be told first: the current state.
    state: Option<Numbered>,
    /// To be told next.
    events: VecDeque<ConnectionEvent>,
    /// The generation that was handed out last.
    handed_out: u32,
    /// Whether there may be more than those in the table already.
    more: bool,
    /// Whether that was the last change.
    revoked: bool,
    /// When time alone will change the connection.
    settles_at: Option<Timestamp>,
    ended: bool,
}

/// Begins a watch.
///
/// # Errors
/// SCOPE_MISSING for credentials without their scope, CONNECTION_NOT_FOUND,
/// CONNECTION_REVOKED, INVALID_ARGUMENT for a token of no watch of this
/// connection, STORE_UNAVAILABLE.
pub async fn open(core: &Arc<Core>, caller: Caller, request: WatchRequest) -> Result<Watch> {
    let WatchRequest {
        connection_id: id,
        resume_token,
        include_credentials,
    } = request;
    if include_credentials && !caller.key.holds(Scope::CredentialsRead) {
        let scope = Scope::CredentialsRead;
        let message = format!("include_credentials needs an API key with the scope {scope}");
        return Err(Error::new(ErrorKind::ScopeMissing, message).with("scope", scope.as_str()));
    }
    let resumed = match resume_token.as_str() {
        "" => None,
        token => Some(parse_token(id, token)?),
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch {
        // Before the first look, so that nothing falls in between.
        news: core.store.subscribe(caller.workspace_id(), id),
        core: core.clone(),
        caller,
        id,
        include_credentials,
        ticks,
        told: 0,
        state: None,
        events: VecDeque::new(),
        handed_out: 0,
        more: false,
        revoked: false,
        settles_at: None,
        ended: false,
    };
    let now = watch.look().await?;
    if now.connection.status == Status::Revoked {
        return Err(revoked());
    }
    match resumed {
        Some(told) if told <= now.sequence => {
            watch.told = told;
            watch.more = true;
        }
        // Of another life of the database: what came after it can't be told.
        _ => watch.begin_with(now),
    }
    Ok(watch)
}

impl Watch {
    /// The next change; none after the end. What the audit has to record is
    /// recorded before this returns it.
    ///
    /// # Errors
    /// Why the watch ends: CONNECTION_REVOKED, UNAUTHENTICATED,
    /// CONNECTION_NOT_FOUND, STORE_UNAVAILABLE, BROKER_UNAVAILABLE.
    pub async fn next(&mut self) -> Option<Result<Change>> {
        if self.ended {
            return None;
        }
        let next = self.advance().await;
        self.ended = next.is_err();
        Some(next)
    }

    async fn advance(&mut self) -> Result<Change> {
        loop {
            still_valid(&self.core, &self.caller.key).await?;
            if let Some(state) = self.state.take() {
                return self.tell_state(state).await;
            }
            if let Some(event) = self.events.pop_front() {
                return self.tell(event).await;
            }
            if self.revoked {
                return Err(revoked());
            }
            if self.more {
                self.read().await?;
                continue;
            }
            tokio::select! {
                () = self.core.closing.cancelled() => return Err(closing()),
                () = self.news.changed() => self.read().await?,
                _ = self.ticks.tick() => {
                    let now = self.core.ambient.now();
                    if self.settles_at.is_some_and(|at| at <= now) {
                        self.read().await?;
                    }
                }
            }
        }
    }

    /// The connection as it is now; what time has done to it is recorded first.
    async fn look(&mut self) -> Result<Numbered> {
        let (store, workspace_id) = (&self.core.store, self.caller.workspace_id());
        let find = async || {
            let found = store.numbered_connection(workspace_id, self.id).await?;
            found.ok_or_else(not_found)
        };
        let mut found = find().await?;
        let now = self.core.ambient.now();
        if found.connection.status_at(now).0 != found.connection.status {
            store.settle(workspace_id, self.id, now).await?;
            found = find().await?;
        }
        self.settles_at = settles_at(&found.connection);
        Ok(found)
    }

    /// Takes up what has happened since the last event that was told.
    async fn read(&mut self) -> Result<()> {
        let now = self.look().await?;
        let store = &self.core.store;
        let events = store
            .events_after(self.caller.workspace_id(), self.id, self.told, PAGE)
            .await?;
        let next = events.first().map(|event| event.sequence);
        self.more = i64::try_from(events.len()).is_ok_and(|read| read == PAGE);
        if next == Some(self.told + 1) {
            self.events = events.into();
        } else if now.sequence > self.told {
            // Some of them are forgotten already.
            self.begin_with(now);
        }
        Ok(())
    }

    fn begin_with(&mut self, now: Numbered) {
        self.events.clear();
        self.more = false;
        self.told = now.sequence;
        self.state = Some(now);
    }

    async fn tell_state(&mut self, state: Numbered) -> Result<Change> {
        let Numbered {
            connection,
            sequence,
            generation,
        } = state;
        self.revoked = connection.status == Status::Revoked;
        let is_active = connection.status == Status::Active;
        Ok(Change {
            payload: self.payload(is_active).await?,
            connection_id: self.id,
            event: None,
            status: connection.status,
            reason: connection.reason,
            generation,
            occurred_at: connection.updated_at,
            resume_token: token(self.id, sequence),
        })
    }

    async fn tell(&mut self, event: ConnectionEvent) -> Result<Change> {
        let is_rotation = matches!(
            event.kind,
            EventKind::ConnectionActivated | EventKind::CredentialRefreshed
        );
        // A credential that a later event replaces is not there any more.
        let is_last = self.events.is_empty() && !self.more;
        let wanted = event.status == Status::Active
            && is_last
            && (is_rotation || self.handed_out != event.generation);
        let payload = self.payload(wanted).await?;
        self.told = event.sequence;
        self.revoked = event.status == Status::Revoked;
        Ok(Change {
            payload,
            connection_id: self.id,
            event: Some((event.id, event.kind)),
            status: event.status,
            reason: event.reason,
            generation: event.generation,
            occurred_at: event.occurred_at,
            resume_token: token(self.id, event.sequence),
        })
    }

    /// The credential, where it is asked for and can be had just now.
    async fn payload(&mut self, wanted: bool) -> Result<Option<CredentialPayload>> {
        if !wanted || !self.include_credentials {
            return Ok(None);
        }
        match fetch_token::get(&self.core, &self.caller, self.id).await {
            Ok(payload) => {
                self.handed_out = payload.generation;
                Ok(Some(payload))
            }
            Err(error)
                if matches!(
                    error.kind,
                    ErrorKind::StoreUnavailable | ErrorKind::Internal
                ) =>
            {
                Err(error)
            }
            // What keeps it back will be an event, or GetToken tells.
            Err(_) => Ok(None),
        }
    }
}

fn revoked() -> Error {
    match usable(Status::Revoked, "") {
        Err(error) => error,
        Ok(()) => Error::internal("a revoked connection is usable"),
    }
}

fn closing() -> Error {
    Error::new(
        ErrorKind::BrokerUnavailable,
        "this broker is shutting down; watch again with the last resume_token",
    )
}

/// When time alone will change a connection.
fn settles_at(connection: &Connection) -> Option<Timestamp> {
    match connection.status {
        Status::Pending => Some(connection.consent_expires_at),
        Status::Active if !connection.refreshable => connection.expires_at,
        _ => None,
    }
}

/// Names a connection and the number of an event. It holds no secret and
/// gives no right.
fn token(id: ConnectionId, sequence: i64) -> String {
    URL_SAFE_NO_PAD.encode([&id.0.as_bytes()[..], &sequence.to_be_bytes()].concat())
}

fn parse_token(id: ConnectionId, token: &str) -> Result<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    bytes
        .strip_prefix(id.0.as_bytes())
        .and_then(|sequence| sequence.try_into().ok())
        .map(i64::from_be_bytes)
        .filter(|sequence| *sequence >= 0)
        .ok_or_else(|| {
            Error::invalid(
                "resume_token",
                "is not a resume_token of this connection's watch",
            )
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connection(n: u128) -> ConnectionId {
        ConnectionId(uuid::Uuid::from_u128(n))
    }

    proptest! {
        #[test]
        fn a_token_names_an_event_of_its_own_connection(n: u128, other: u128, sequence in 0..i64::MAX) {
            let text = token(connection(n), sequence);
            prop_assert_eq!(parse_token(connection(n), &text).ok(), Some(sequence));
            if n != other {
                prop_assert!(parse_token(connection(other), &text).is_err());
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            prop_assert!(parse_token(connection(1), &text).is_err());
        }
    }

    #[test]
    fn fuzz_a_token_that_was_changed_names_what_it_says_or_nothing() {
        let id = connection(7);
        bolero::check!()
            .with_test_time(Duration::from_secs(2))
            // Few changes: many leave nothing of the token.
            .with_max_len(14)
            .for_each(|input: &[u8]| {
                // A true token with some of its bytes changed, and what follows.
                let (number, changes) = input.split_at(input.len().min(8));
                let mut sequence = [0; 8];
                sequence[..number.len()].copy_from_slice(number);
                let sequence = i64::from_be_bytes(sequence);
                let mut text = token(id, sequence).into_bytes();
                for change in changes.chunks_exact(2) {
                    let at = usize::from(change[0]) % text.len();
                    text[at] ^= change[1] & 0x7f;
                }
                text.extend(changes.chunks_exact(2).remainder());
                let text = String::from_utf8_lossy(&text);
                match parse_token(id, &text) {
                    // One text for each number, and no number below nought.
                    Ok(told) => assert!(told >= 0 && token(id, told) == text, "{text}"),
                    Err(error) => {
                        assert_eq!(error.kind, ErrorKind::InvalidArgument);
                        assert!(sequence < 0 || token(id, sequence) != text, "{text}");
                    }
                }
            });
    }
}
