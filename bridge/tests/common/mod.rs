//! A gateway that answers as a test says, on a free port of this machine.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use dromos_bridge::{Bridge, BridgeBuilder, Clock, Gateway};
use dromos_proto::v1::{
    CheckConnectionRequest, CheckConnectionResponse, Connection, CredentialPayload,
    GetConnectionRequest, GetTokenRequest, ListConnectionsRequest, ListConnectionsResponse,
    ReconnectConnectionRequest, RefreshConnectionRequest, RequestConnectionRequest,
    RequestConnectionResponse, RevokeConnectionRequest, Strategy,
    connection_service_server::{ConnectionService, ConnectionServiceServer},
};
use prost_types::{Struct, value::Kind};
use tokio::{net::TcpListener, sync::watch};
use tonic::{Request, Response, Status, async_trait, transport::server::TcpIncoming};
use tonic_types::{ErrorDetails, StatusExt as _};

pub const API_KEY: &str = "made-up-api-key";
pub const CONNECTION: &str = "0198c5f0-7c1e-7000-8000-000000000001";

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

/// What the gateway was asked and what it answers.
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    /// The questions so far, each with its generation.
    asked: watch::Sender<Vec<Option<u32>>>,
}

impl Script {
    fn new() -> Self {
        Self {
            answers: Mutex::default(),
            asked: watch::Sender::new(Vec::new()),
        }
    }

    fn answer(&self, generation: Option<u32>) -> Answer {
        self.asked.send_modify(|asked| asked.push(generation));
        let mut answers = self.answers.lock().expect("no test panicked here");
        answers
            .pop_front()
            .unwrap_or_else(|| Err(Status::internal("asked once too often")))
    }
}

/// A gateway, the clock of its bridge, and the bridge.
pub struct World {
    pub clock: ManualClock,
    pub gateway: Gateway,
    fake: Arc<Fake>,
}

struct Fake {
    tokens: Script,
    refreshes: Script,
    /// Answers wait while this is false.
    open: watch::Sender<bool>,
}

impl World {
    pub async fn new() -> Self {
        let fake = Arc::new(Fake {
            tokens: Script::new(),
            refreshes: Script::new(),
            open: watch::Sender::new(true),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = ConnectionServiceServer::new(Service(Arc::clone(&fake)));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let gateway = Gateway::builder(&format!("http://{address}"), API_KEY).build();
        Self {
            clock: ManualClock::new(),
            gateway: gateway.expect("a gateway"),
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
        metadata
            .into_iter()
            .collect::<std::collections::HashMap<_, _>>(),
    );
    if let Some(delay) = retry_after {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code, "made up", details)
}

struct Service(Arc<Fake>);

impl Service {
    async fn answer<T>(
        &self,
        request: &Request<T>,
        script: &Script,
        generation: Option<u32>,
    ) -> Result<Response<CredentialPayload>, Status> {
        let key = request
            .metadata()
            .get("authorization")
            .and_then(|key| key.to_str().ok());
        if key != Some(&format!("Bearer {API_KEY}")) {
            return Err(refusal(
                tonic::Code::Unauthenticated,
                "UNAUTHENTICATED",
                None,
            ));
        }
        let answer = script.answer(generation);
        self.0
            .open
            .subscribe()
            .wait_for(|open| *open)
            .await
            .expect("the world is there");
        answer.map(Response::new)
    }
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the bridge doesn't call this"))
}

#[async_trait]
impl ConnectionService for Service {
    async fn get_token(
        &self,
        request: Request<GetTokenRequest>,
    ) -> Result<Response<CredentialPayload>, Status> {
        self.answer(&request, &self.0.tokens, None).await
    }

    async fn refresh_connection(
        &self,
        request: Request<RefreshConnectionRequest>,
    ) -> Result<Response<CredentialPayload>, Status> {
        self.answer(&request, &self.0.refreshes, request.get_ref().generation)
            .await
    }

    async fn request_connection(
        &self,
        _: Request<RequestConnectionRequest>,
    ) -> Result<Response<RequestConnectionResponse>, Status> {
        unused()
    }

    async fn check_connection(
        &self,
        _: Request<CheckConnectionRequest>,
    ) -> Result<Response<CheckConnectionResponse>, Status> {
        unused()
    }

    async fn get_connection(
        &self,
        _: Request<GetConnectionRequest>,
    ) -> Result<Response<Connection>, Status> {
        unused()
    }

    async fn list_connections(
        &self,
        _: Request<ListConnectionsRequest>,
    ) -> Result<Response<ListConnectionsResponse>, Status> {
        unused()
    }

    async fn reconnect_connection(
        &self,
        _: Request<ReconnectConnectionRequest>,
    ) -> Result<Response<RequestConnectionResponse>, Status> {
        unused()
    }

    async fn revoke_connection(
        &self,
        _: Request<RevokeConnectionRequest>,
    ) -> Result<Response<Connection>, Status> {
        unused()
    }
}
