//! The gateway's service: it notes what it is asked and answers by a script.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use dromos_proto::v1::{
    CheckConnectionRequest, CheckConnectionResponse, ConfirmConnectionRequest, Connection,
    CredentialPayload, GetConnectionRequest, GetTokenRequest, ListConnectionsRequest,
    ListConnectionsResponse, ReconnectConnectionRequest, RefreshConnectionRequest,
    RequestConnectionRequest, RequestConnectionResponse, RevokeConnectionRequest,
    WatchConnectionRequest, WatchConnectionResponse, connection_service_server::ConnectionService,
};
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tonic::{Request, Response, Status, async_trait};

use super::{API_KEY, Answer, NOBODY, refusal};

/// What the gateway was asked and what it answers.
pub struct Script {
    pub answers: Mutex<VecDeque<Answer>>,
    /// The questions so far, each with its generation.
    pub asked: watch::Sender<Vec<Option<u32>>>,
}

impl Script {
    pub fn new() -> Self {
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

/// The gateway's side of a world.
pub struct Fake {
    pub tokens: Script,
    pub refreshes: Script,
    /// Answers wait while this is false.
    pub open: watch::Sender<bool>,
}

/// The gateway's service.
pub struct Service(pub Arc<Fake>);

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
        if request.get_ref().connection_id == NOBODY {
            return Err(refusal(tonic::Code::NotFound, "CONNECTION_NOT_FOUND", None));
        }
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

    async fn confirm_connection(
        &self,
        _: Request<ConfirmConnectionRequest>,
    ) -> Result<Response<Connection>, Status> {
        unused()
    }

    type WatchConnectionStream = BoxStream<'static, Result<WatchConnectionResponse, Status>>;

    async fn watch_connection(
        &self,
        _: Request<WatchConnectionRequest>,
    ) -> Result<Response<Self::WatchConnectionStream>, Status> {
        unused()
    }
}
