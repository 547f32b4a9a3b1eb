//! Refreshing a credential: claim the lease, exchange outside any transaction,
//! commit under the lease's epoch.
//!
//! One refresh per connection runs in this process, in a task that nobody's
//! leaving drops; whoever comes meanwhile shares its outcome. The lease in the
//! database does the same between processes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tracing::Instrument;

use super::Core;
use crate::domain::{
    access::Caller,
    error::{Error, ErrorKind, Result},
    id::{ConnectionId, WorkspaceId},
};

mod attempt;
pub mod due;
mod exchange;
mod resting;
mod settle;

use attempt::attempt;
pub(super) use settle::replayed;

/// What came of a refresh, for everybody who waited.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A newer generation is stored.
    Refreshed,
    /// It did not come to that.
    Failed {
        /// What to tell callers.
        kind: ErrorKind,
        /// The same for people.
        message: &'static str,
        /// When to try again.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    fn failed(kind: ErrorKind, message: &'static str) -> Self {
        Self::Failed {
            kind,
            message,
            retry_after: None,
        }
    }

    fn of(error: &Error) -> Self {
        let message = match error.kind {
            ErrorKind::StoreUnavailable => "the database can't be reached; try again",
            ErrorKind::ProviderUnavailable => "the provider can't be reached; try again",
            ErrorKind::ProviderMisconfigured => {
                "the provider's definition is unusable; see the provider"
            }
            _ => "internal error; the logs name it by the request id",
        };
        let kind = match error.kind {
            kind @ (ErrorKind::StoreUnavailable
            | ErrorKind::ProviderUnavailable
            | ErrorKind::ProviderMisconfigured) => kind,
            _ => ErrorKind::Internal,
        };
        Self::Failed {
            kind,
            message,
            retry_after: error.retry_after,
        }
    }

    /// As a caller sees it.
    ///
    /// # Errors
    /// The failure.
    pub fn into_result(self) -> Result<()> {
        match self {
            Self::Refreshed => Ok(()),
            Self::Failed {
                kind,
                message,
                retry_after,
            } => Err(Error::new(kind, message).retry_after(retry_after)),
        }
    }
}

type Running = Shared<BoxFuture<'static, Outcome>>;

/// Refreshes under way in this process.
#[derive(Default)]
pub struct Refreshes(Mutex<HashMap<(WorkspaceId, ConnectionId), Running>>);

/// Which credential is refreshed, and for whom.
#[derive(Debug, Clone)]
pub struct Request {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The generation that is too old; a newer one ends the matter.
    pub generation: u32,
    /// Whether a caller insists, `next_attempt_at` notwithstanding.
    pub forced: bool,
    /// Who asked, where somebody did.
    pub caller: Option<Caller>,
}

/// Refreshes, or joins the refresh that is under way.
pub async fn refresh(core: &Arc<Core>, request: Request) -> Outcome {
    let key = (request.workspace_id, request.connection_id);
    let running = {
        let mut refreshes = core
            .refreshes
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = refreshes.get(&key) {
            running.clone()
        } else {
            let task = core
                .tasks
                .spawn(run(core.clone(), request).in_current_span());
            let ended = "the refresh ended abnormally; try again";
            let running = task
                .map(move |joined| {
                    joined.unwrap_or_else(|_| Outcome::failed(ErrorKind::Internal, ended))
                })
                .boxed()
                .shared();
            refreshes.insert(key, running.clone());
            running
        }
    };
    running.await
}

/// Takes a refresh off the list however it ends, so that the next one runs.
struct Ended<'a>(&'a Core, (WorkspaceId, ConnectionId));

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let Self(core, key) = self;
        let mut refreshes = core
            .refreshes
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        refreshes.remove(key);
    }
}

async fn run(core: Arc<Core>, request: Request) -> Outcome {
    let _ended = Ended(&core, (request.workspace_id, request.connection_id));
    let outcome = match attempt(&core, &request).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(connection_id = %request.connection_id, error = &error as &dyn std::error::Error, cause = ?error.cause, "a refresh failed");
            Outcome::of(&error)
        }
    };
    let label = match &outcome {
        Outcome::Refreshed => "refreshed",
        Outcome::Failed { kind, .. } => kind.reason(),
    };
    metrics::counter!("oauth_refreshes_total", "outcome" => label).increment(1);
    outcome
}
