//! The floor: what a GetToken through two services can't do without. A front
//! that decodes a call and makes it again, a back that reads one row by its
//! primary key and opens what AES-256-GCM sealed, with the messages of the
//! real one. No authentication, no audit, no logs, no metrics.

use std::{
    convert::Infallible,
    future::Future,
    net::Ipv4Addr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead};
use anyhow::{Context as _, Result, anyhow};
use diesel::prelude::*;
use diesel_async::{
    AsyncPgConnection, RunQueryDsl,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
        bb8::{Pool, PooledConnection},
    },
};
use dromos_proto::v1::{CredentialPayload, GetTokenRequest};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    body::Body,
    client,
    server::{Grpc, NamedService, UnaryService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::Service;
use uuid::Uuid;

/// The path of the floor's one method.
pub const METHOD: &str = "/dromos.bench.Floor/GetToken";
/// The key that the floor's row is sealed with. It protects nothing.
const KEY: [u8; 32] = *b"the floor's key protects nothing";
const NONCE: [u8; 12] = *b"floor's once";
/// As many as the broker's.
const POOL_SIZE: u32 = 16;
/// As many as the gateway's.
const CHANNELS: usize = 2;
/// The workspace that the rows are in: the one that a broker begins with.
pub const WORKSPACE: Uuid = Uuid::from_u128(0x7000_8000_0000_0000_0000);

diesel::table! {
    /// What the floor reads of the broker's table.
    credentials (workspace_id, connection_id) {
        /// Half of the key.
        workspace_id -> Uuid,
        /// The other half.
        connection_id -> Uuid,
        /// What is sealed.
        usage -> Binary,
    }
}

/// What the floor's row holds, for it to answer `payload`.
///
/// # Errors
/// AES-GCM refuses to seal.
pub fn seal(payload: &CredentialPayload) -> Result<Vec<u8>> {
    let mut sealed = NONCE.to_vec();
    let ciphertext = cipher()
        .encrypt(&NONCE.into(), payload.encode_to_vec().as_slice())
        .map_err(|_| anyhow!("AES-GCM refused to seal"))?;
    sealed.extend(ciphertext);
    Ok(sealed)
}

fn cipher() -> Aes256Gcm {
    Aes256Gcm::new(&KEY.into())
}

/// Serves the front until the process ends.
///
/// # Errors
/// The back's address can't be used, or no port can be bound.
pub async fn front(back: String) -> Result<()> {
    let endpoint = Endpoint::from_shared(back)?.tcp_nodelay(true);
    let channels = (0..CHANNELS).map(|_| endpoint.connect_lazy()).collect();
    serve(Front {
        channels,
        next: Arc::default(),
    })
    .await
}

/// Serves the back until the process ends.
///
/// # Errors
/// The database can't be reached, or no port can be bound.
pub async fn back(database_url: &str) -> Result<()> {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    let manager =
        AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config(database_url, config);
    let pool = Pool::builder()
        .max_size(POOL_SIZE)
        .test_on_check_out(false)
        .build(manager)
        .await
        .context("the floor's database")?;
    serve(Back {
        pool,
        cipher: Arc::new(cipher()),
    })
    .await
}

async fn serve<H>(handler: H) -> Result<()>
where
    H: UnaryService<GetTokenRequest, Response = CredentialPayload> + Clone + Send + Sync + 'static,
    H::Future: Send,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("http://{}", listener.local_addr()?);
    Server::builder()
        .add_service(Hop(handler))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}

/// A service of one unary method, as tonic generates them.
#[derive(Clone)]
struct Hop<H>(H);

impl<H> NamedService for Hop<H> {
    const NAME: &'static str = "dromos.bench.Floor";
}

impl<H> Service<http::Request<Body>> for Hop<H>
where
    H: UnaryService<GetTokenRequest, Response = CredentialPayload> + Clone + Send + 'static,
    H::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let handler = self.0.clone();
        Box::pin(async move {
            Ok(Grpc::new(ProstCodec::default())
                .unary(handler, request)
                .await)
        })
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<CredentialPayload>, Status>> + Send>>;

#[derive(Clone)]
struct Front {
    channels: Arc<[Channel]>,
    next: Arc<AtomicUsize>,
}

impl UnaryService<GetTokenRequest> for Front {
    type Response = CredentialPayload;
    type Future = Answer;

    fn call(&mut self, request: Request<GetTokenRequest>) -> Answer {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let mut back = client::Grpc::new(self.channels[next % self.channels.len()].clone());
        Box::pin(async move {
            back.ready()
                .await
                .map_err(|error| Status::from_error(error.into()))?;
            let request = Request::new(request.into_inner());
            let path = PathAndQuery::from_static(METHOD);
            let answer = back.unary(request, path, ProstCodec::default()).await?;
            // Headers of one hop are not those of the next.
            Ok(Response::new(answer.into_inner()))
        })
    }
}

#[derive(Clone)]
struct Back {
    pool: Pool<AsyncPgConnection>,
    cipher: Arc<Aes256Gcm>,
}

impl UnaryService<GetTokenRequest> for Back {
    type Response = CredentialPayload;
    type Future = Answer;

    fn call(&mut self, request: Request<GetTokenRequest>) -> Answer {
        let back = self.clone();
        Box::pin(async move {
            let id = Uuid::parse_str(&request.get_ref().connection_id)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            let answer = back.get(id).await;
            answer
                .map(Response::new)
                .map_err(|error| Status::internal(error.to_string()))
        })
    }
}

impl Back {
    async fn get(&self, id: Uuid) -> Result<CredentialPayload> {
        let mut connection: PooledConnection<'_, _> = self.pool.get().await?;
        let sealed: Vec<u8> = credentials::table
            .find((WORKSPACE, id))
            .select(credentials::usage)
            .first(&mut connection)
            .await?;
        drop(connection);
        let (nonce, ciphertext) = sealed
            .split_first_chunk::<12>()
            .context("the row is too short")?;
        let opened = self
            .cipher
            .decrypt(nonce.into(), ciphertext)
            .map_err(|_| anyhow!("the row does not open"))?;
        Ok(CredentialPayload::decode(opened.as_slice())?)
    }
}
