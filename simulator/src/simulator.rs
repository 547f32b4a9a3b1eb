use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::faults::Hold;
use crate::world::World;
use crate::{Behaviour, Clock, Counts, Endpoint, Failure, Gate, SimulatorConfig, http, server};

/// A running provider. Dropping it stops it.
pub struct Simulator {
    world: Arc<World>,
    task: JoinHandle<()>,
}

impl Simulator {
    /// Starts a provider on a free port of 127.0.0.1, with the default client and clock.
    pub async fn start(behaviour: Behaviour) -> std::io::Result<Self> {
        Self::start_with(SimulatorConfig {
            behaviour,
            ..SimulatorConfig::default()
        })
        .await
    }

    /// Starts a provider as configured. Fails if the port is taken.
    pub async fn start_with(config: SimulatorConfig) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let world = Arc::new(World::new(issuer, config));
        let router = http::router(Arc::clone(&world));
        let task = tokio::spawn(server::serve(listener, router, Arc::clone(&world)));
        Ok(Self { world, task })
    }

    /// `http://127.0.0.1:PORT`, which is also the issuer.
    pub fn url(&self) -> String {
        self.world.issuer.clone()
    }

    /// `client_id` of the registered client.
    pub fn client_id(&self) -> &str {
        &self.world.client_id
    }

    /// `client_secret` of the registered client.
    pub fn client_secret(&self) -> &str {
        &self.world.client_secret
    }

    /// The provider's clock. Advancing it expires codes and tokens.
    pub fn clock(&self) -> &Clock {
        &self.world.clock
    }

    /// Registers a redirect URI. Requests are compared with it character by character.
    pub fn allow_redirect_uri(&self, redirect_uri: &str) {
        self.world.allow_redirect_uri(redirect_uri);
    }

    /// How the provider behaves now.
    pub fn behaviour(&self) -> Behaviour {
        self.world.behaviour()
    }

    /// Replaces the behaviour; requests that arrive later see it. What was issued stays as it was issued.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.world.change(|current| *current = behaviour);
    }

    /// Changes a part of the behaviour.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        self.world.change(change);
    }

    /// Another user approves from now on.
    pub fn set_subject(&self, subject: &str) {
        self.change(|behaviour| subject.clone_into(&mut behaviour.subject));
    }

    /// Makes the next `n` requests to `endpoint` fail, after those already scripted.
    pub fn fail_next(&self, endpoint: Endpoint, n: u32, failure: Failure) {
        self.world.faults.fail_next(endpoint, n, failure);
    }

    /// Forgets the failures that have not happened yet.
    pub fn clear_failures(&self) {
        self.world.faults.clear();
    }

    /// Requests to `endpoint` wait, before anything is acted on, until the gate is released. A later gate replaces it.
    pub fn gate(&self, endpoint: Endpoint) -> Gate {
        self.world.faults.gate(endpoint, Hold::Request)
    }

    /// Requests to `endpoint` are acted on, but their answers wait until the gate is released. A later gate replaces it.
    pub fn gate_answers(&self, endpoint: Endpoint) -> Gate {
        self.world.faults.gate(endpoint, Hold::Answer)
    }

    /// What has been seen and done so far.
    pub fn counts(&self) -> Counts {
        let tally = self.world.ledger().tally();
        Counts {
            requests: self.world.faults.requests(),
            issued: tally.issued,
            refreshes: tally.refreshes,
            refresh_reuses: tally.refresh_reuses,
            revoked: tally.revoked,
        }
    }

    /// Every code and token that was issued here so far, spent and revoked ones too: what must not leak.
    pub fn secrets(&self) -> Vec<String> {
        self.world.ledger().secrets()
    }

    /// Whether a token was issued here and has been revoked, itself or with its grant.
    pub fn is_revoked(&self, token: &str) -> bool {
        self.world.ledger().is_revoked(token)
    }

    /// The user withdraws consent: access tokens stop working and a refresh gets `invalid_grant`.
    pub fn revoke_grant(&self, subject: &str) {
        self.world.ledger().revoke_subject(subject);
    }

    /// Signs with a new key from now on. The JWKS holds it and the one before it.
    pub fn rotate_signing_key(&self) {
        self.world.keys().rotate();
    }

    /// Stops, ends all connections, and returns once the port is free.
    pub async fn shutdown(mut self) {
        self.task.abort();
        // The only outcome is that the task was cancelled.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}
