//! A gateway that answers as a test says, on a free port of this machine.

#![allow(dead_code, reason = "each test binary uses its part of this")]

pub mod far_side;
mod service;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use dromos_bridge::{Bridge, BridgeBuilder, Clock, Credentials, Error, Gateway, GatewayBuilder};
use dromos_proto::v1::{
    CredentialPayload, Strategy, connection_service_server::ConnectionServiceServer,
};
use prost_types::{Struct, value::Kind};
use tokio::{net::TcpListener, sync::watch};
use tonic::{
    Status,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};
use tonic_types::{ErrorDetails, StatusExt as _};

use service::{Fake, Script, Service};

pub const API_KEY: &str = "made-up-api-key";
pub const CONNECTION: &str = "0198c5f0-7c1e-7000-8000-000000000001";

/// A connection that the gateway doesn't know, and doesn't count.
pub const NOBODY: &str = "0198c5f0-7c1e-7000-8000-00000000dead";

pub type Answer = Result<CredentialPayload, Status>;

/// A clock that moves when it is told to.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_800_000_000_000)))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(
            u64::try_from(by.as_millis()).expect("a short time"),
            Ordering::SeqCst,
        );
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A gateway, the clock of its bridge, and the bridge.
pub struct World {
    pub clock: ManualClock,
    pub address: SocketAddr,
    pub gateway: Gateway,
    fake: Arc<Fake>,
}

impl World {
    pub async fn new() -> Self {
        Self::serve(Server::builder(), |address| {
            Gateway::builder(&format!("http://{address}"), API_KEY)
        })
        .await
    }

    /// A world whose gateway speaks TLS with this certificate for `localhost`.
    pub async fn with_tls(identity: Identity, ca_certificate: &str) -> Self {
        let server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity));
        Self::serve(server.expect("a certificate"), |address| {
            let url = format!("https://localhost:{}", address.port());
            Gateway::builder(&url, API_KEY).ca_certificate(ca_certificate)
        })
        .await
    }

    async fn serve(mut server: Server, gateway: impl FnOnce(SocketAddr) -> GatewayBuilder) -> Self {
        let fake = Arc::new(Fake {
            tokens: Script::new(),
            refreshes: Script::new(),
            open: watch::Sender::new(true),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = ConnectionServiceServer::new(Service(Arc::clone(&fake)));
        let server = server.add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let gateway = gateway(address).build().expect("a gateway");
        Self {
            clock: ManualClock::new(),
            address,
            gateway,
            fake,
        }
    }

    pub fn builder(&self) -> BridgeBuilder {
        Bridge::builder(self.gateway.clone()).clock(self.clock.clone())
    }

    pub fn bridge(&self) -> Bridge {
        self.builder().build().expect("a bridge")
    }

    /// Adds the answer to the next GetToken that has none.
    pub fn token(&self, answer: Answer) {
        self.fake
            .tokens
            .answers
            .lock()
            .expect("no test panicked here")
            .push_back(answer);
    }

    /// Adds the answer to the next RefreshConnection that has none.
    pub fn refresh(&self, answer: Answer) {
        self.fake
            .refreshes
            .answers
            .lock()
            .expect("no test panicked here")
            .push_back(answer);
    }

    /// A payload that lives this long from now.
    pub fn payload(&self, generation: u32, lives: Duration) -> Answer {
        Ok(CredentialPayload {
            expires_at: Some((self.clock.now() + lives).into()),
            ..payload(generation)
        })
    }

    /// Holds answers back until [`World::open`].
    pub fn close(&self) {
        self.fake.open.send_replace(false);
    }

    pub fn open(&self) {
        self.fake.open.send_replace(true);
    }

    /// Waits until the gateway was asked whatever it is being asked: a call
    /// begun later, on the same HTTP/2 connection, has been answered.
    pub async fn round_trip(&self, credentials: &Credentials) {
        let error = within_seconds(credentials.get(NOBODY))
            .await
            .expect_err("nobody");
        assert_eq!(error.reason(), "CONNECTION_NOT_FOUND");
    }

    /// How often GetToken was called.
    pub fn tokens_asked(&self) -> usize {
        self.fake.tokens.asked.borrow().len()
    }

    /// The generations that RefreshConnection was called with.
    pub fn refreshes_asked(&self) -> Vec<Option<u32>> {
        self.fake.refreshes.asked.borrow().clone()
    }

    /// Waits until GetToken was called this often.
    pub async fn until_tokens_asked(&self, count: usize) {
        let mut asked = self.fake.tokens.asked.subscribe();
        within_seconds(asked.wait_for(|asked| asked.len() >= count))
            .await
            .expect("a fake gateway");
    }

    /// Waits until RefreshConnection was called this often.
    pub async fn until_refreshes_asked(&self, count: usize) {
        let mut asked = self.fake.refreshes.asked.subscribe();
        within_seconds(asked.wait_for(|asked| asked.len() >= count))
            .await
            .expect("a fake gateway");
    }
}

/// The metrics of one test, whose tasks all run on its thread.
pub struct Recording {
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    _guard: metrics::LocalRecorderGuard<'static>,
}

impl Recording {
    pub fn start() -> Self {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let recorder = Box::leak(Box::new(recorder));
        Self {
            metrics,
            _guard: metrics::set_default_local_recorder(recorder),
        }
    }

    /// The metrics as Prometheus reads them.
    pub fn text(&self) -> String {
        self.metrics.render()
    }

    /// Waits until this many refreshes came to this result, and no more.
    pub async fn until(&self, result: &str, count: u64) {
        let line = format!("bridge_token_refreshes_total{{result=\"{result}\"}} {count}\n");
        within_seconds(async {
            while !self.text().contains(&line) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// The generation of the credential that is served.
pub async fn generation(credentials: &Credentials) -> u32 {
    let credential = within_seconds(credentials.get(CONNECTION)).await;
    credential.expect("a credential").generation()
}

/// Why no credential is served.
pub async fn refused(credentials: &Credentials) -> Error {
    within_seconds(credentials.get(CONNECTION))
        .await
        .expect_err("no credential")
}

/// Fails the test where something never happens.
pub async fn within_seconds<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it happens in time")
}

/// A payload without expiry: a bearer token made of its generation.
pub fn payload(generation: u32) -> CredentialPayload {
    let text = |text: &str| prost_types::Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let token = text(&token(generation));
    CredentialPayload {
        strategy: Some(Strategy {
            r#type: "oauth2".to_owned(),
            config: None,
        }),
        credentials: Some(Struct {
            fields: [("access_token".to_owned(), token)].into(),
        }),
        expires_at: None,
        generation,
    }
}

/// The token of a generation.
pub fn token(generation: u32) -> String {
    format!("made-up-token-{generation}")
}

/// A refusal as the gateway words it.
pub fn refusal(code: tonic::Code, reason: &str, retry_after: Option<Duration>) -> Status {
    let mut details = ErrorDetails::new();
    let reconnect = reason == "CONNECTION_ATTENTION_REQUIRED";
    let metadata = reconnect.then(|| ("reconnect".to_owned(), "true".to_owned()));
    details.set_error_info(
        reason,
        "dromos",
        metadata.into_iter().collect::<HashMap<_, _>>(),
    );
    if let Some(delay) = retry_after {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code, "made up", details)
}
