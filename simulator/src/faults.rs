//! Scripted outages, gates and counters: what happens to a request before and after its endpoint sees it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// The endpoints of a simulator, as failures, gates and counts name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `GET /.well-known/openid-configuration`
    Discovery,
    /// `GET /jwks`
    Jwks,
    /// `GET /authorize`
    Authorize,
    /// `POST /authorize/decision`
    Decision,
    /// `POST /token`, and `POST /token/refresh` where refreshes have their own address
    Token,
    /// `POST /revoke`
    Revocation,
    /// `GET /userinfo`
    Userinfo,
    /// `/api/…`
    Api,
}

impl Endpoint {
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        Some(match path {
            "/.well-known/openid-configuration" => Self::Discovery,
            "/jwks" => Self::Jwks,
            "/authorize" => Self::Authorize,
            "/authorize/decision" => Self::Decision,
            "/token" | "/token/refresh" => Self::Token,
            "/revoke" => Self::Revocation,
            "/userinfo" => Self::Userinfo,
            _ if path.starts_with("/api/") => Self::Api,
            _ => return None,
        })
    }
}

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This status with a short text; nothing is acted on.
    Status {
        /// The HTTP status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// This status with the body `{"error": …}`; nothing is acted on.
    Error {
        /// The HTTP status.
        status: u16,
        /// The error code, for instance `invalid_grant`.
        error: String,
    },
    /// The request is served after this long, by the machine's clock. For people; tests use a [`Gate`].
    Delay(Duration),
    /// The connection ends without an answer, and nothing is acted on.
    Cut,
    /// The request is acted on, then the connection ends without an answer.
    LoseAnswer,
    /// The request is acted on, then the connection ends halfway through the body of the answer.
    Truncate,
}

impl Failure {
    /// A bare status, such as 503.
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            retry_after: None,
        }
    }

    /// 429 with `Retry-After` in seconds.
    pub fn too_many_requests(retry_after: u64) -> Self {
        Self::Status {
            status: 429,
            retry_after: Some(retry_after),
        }
    }

    /// A status with the body `{"error": error}`.
    pub fn error(status: u16, error: &str) -> Self {
        Self::Error {
            status,
            error: error.to_owned(),
        }
    }
}

/// What a simulator has seen and done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that arrived, failed ones included.
    pub requests: BTreeMap<Endpoint, u64>,
    /// Access tokens issued.
    pub issued: u64,
    /// Refreshes that were answered with tokens.
    pub refreshes: u64,
    /// Spent refresh tokens that came again and were refused.
    pub refresh_reuses: u64,
    /// Tokens that clients revoked at the revocation endpoint.
    pub revoked: u64,
}

impl Counts {
    /// Requests that arrived at `endpoint`.
    pub fn of(&self, endpoint: Endpoint) -> u64 {
        self.requests.get(&endpoint).copied().unwrap_or_default()
    }
}

/// Holds requests to one endpoint until it is released or dropped.
#[derive(Debug)]
#[must_use = "a gate that is dropped is open"]
pub struct Gate(Arc<Latch>);

#[derive(Debug)]
struct Latch {
    open: watch::Sender<bool>,
    arrivals: watch::Sender<u64>,
}

impl Latch {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            open: watch::Sender::new(false),
            arrivals: watch::Sender::new(0),
        })
    }

    async fn pass(&self) {
        if *self.open.borrow() {
            return;
        }
        self.arrivals.send_modify(|arrivals| *arrivals += 1);
        // The sender lives in `self`, so waiting ends only by release.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

impl Gate {
    /// Resolves once a request has arrived here.
    pub async fn arrived(&self) {
        self.arrivals(1).await;
    }

    /// Resolves once `n` requests have arrived here.
    pub async fn arrivals(&self, n: u64) {
        let _ = self
            .0
            .arrivals
            .subscribe()
            .wait_for(|arrivals| *arrivals >= n)
            .await;
    }

    /// Lets the waiting requests, and all later ones, pass.
    pub fn release(&self) {
        self.0.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.release();
    }
}

/// Where on its way a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// Before the endpoint acts.
    Request,
    /// After it acted, before the answer leaves.
    Answer,
}

/// The script of one simulator.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Script>);

#[derive(Debug, Default)]
struct Script {
    failures: BTreeMap<Endpoint, VecDeque<(u32, Failure)>>,
    gates: BTreeMap<(Endpoint, Hold), Arc<Latch>>,
    requests: BTreeMap<Endpoint, u64>,
}

impl Faults {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fail_next(&self, endpoint: Endpoint, n: u32, failure: Failure) {
        if n > 0 {
            self.script()
                .failures
                .entry(endpoint)
                .or_default()
                .push_back((n, failure));
        }
    }

    pub(crate) fn clear(&self) {
        self.script().failures.clear();
    }

    pub(crate) fn gate(&self, endpoint: Endpoint, hold: Hold) -> Gate {
        let latch = Latch::new();
        let replaced = self
            .script()
            .gates
            .insert((endpoint, hold), Arc::clone(&latch));
        // Requests that wait at the gate before this one would otherwise wait on a handle nobody looks at.
        if let Some(earlier) = replaced {
            earlier.open.send_replace(true);
        }
        Gate(latch)
    }

    /// Counts a request and tells what is scripted for it.
    pub(crate) fn arrive(&self, endpoint: Endpoint) -> Option<Failure> {
        let mut script = self.script();
        *script.requests.entry(endpoint).or_default() += 1;
        let queue = script.failures.get_mut(&endpoint)?;
        let (left, failure) = queue.front_mut()?;
        *left -= 1;
        let failure = failure.clone();
        if *left == 0 {
            queue.pop_front();
        }
        Some(failure)
    }

    pub(crate) async fn pass(&self, endpoint: Endpoint, hold: Hold) {
        let latch = self.script().gates.get(&(endpoint, hold)).cloned();
        if let Some(latch) = latch {
            latch.pass().await;
        }
    }

    pub(crate) fn requests(&self) -> BTreeMap<Endpoint, u64> {
        self.script().requests.clone()
    }
}
