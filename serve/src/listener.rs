//! One port: HTTP/1.1 and HTTP/2, in clear or over TLS.

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{cidr::Cidr, preface::FirstBytes};

/// How a listener treats its connections.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// TLS, where set ([`crate::TlsIdentity::server_config`]).
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Who may connect, by the TCP peer's address alone: a header that names
    /// another address is anybody's claim. Empty: everybody.
    pub allowed: Vec<Cidr>,
    /// At most this many connections at once; more wait to be accepted.
    pub max_connections: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a connection may stay silent at first, and how long a
    /// request's head may take (HTTP/1.1).
    pub header_timeout: Duration,
    /// How often an HTTP/2 connection is probed, and how long the answer to a
    /// probe may take before the connection counts as dead.
    pub keep_alive: (Duration, Duration),
    /// How long requests in flight get to finish at shutdown.
    pub drain: Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            tls: None,
            allowed: Vec::new(),
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            keep_alive: (Duration::from_secs(30), Duration::from_secs(20)),
            drain: Duration::from_secs(30),
        }
    }
}

/// Accepts connections and serves `app` on them until `shutdown` resolves.
/// Then it accepts no more, tells clients to go away, lets the requests in
/// flight finish within [`ListenOptions::drain`], and drops what is left.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    options: ListenOptions,
    shutdown: impl Future<Output = ()>,
) {
    let server = Arc::new(Server::new(app, options));
    let places = Arc::new(Semaphore::new(server.options.max_connections));
    let tasks = TaskTracker::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let place = places
                .clone()
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) if server.allows(peer) => {
                let server = server.clone();
                tasks.spawn(async move {
                    server.handle(stream, peer).await;
                    drop(place);
                });
            }
            Ok((_, peer)) => {
                tracing::debug!(peer = %peer.ip(), "connection refused by the allow-list")
            }
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    server.closing.cancel();
    tasks.close();
    if timeout(server.options.drain, tasks.wait()).await.is_err() {
        tracing::warn!(
            connections = tasks.len(),
            "requests still in flight at shutdown were dropped"
        );
        server.closed.cancel();
        tasks.wait().await;
    }
}

/// A connection that broke before it was accepted is nobody's business; when
/// descriptors run out, accepting again at once would only spin.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        tracing::error!(%error, "a connection can't be accepted");
        sleep(Duration::from_millis(200)).await;
    }
}

struct Server {
    app: Router,
    options: ListenOptions,
    tls: Option<TlsAcceptor>,
    http: auto::Builder<TokioExecutor>,
    /// Cancelled when the listener begins to shut down.
    closing: CancellationToken,
    /// Cancelled when the time to drain is over.
    closed: CancellationToken,
}

impl Server {
    fn new(app: Router, options: ListenOptions) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_buf_size(64 << 10);
        let (interval, patience) = options.keep_alive;
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(interval)
            .keep_alive_timeout(patience)
            .max_concurrent_streams(1000)
            .max_header_list_size(32 << 10)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20);
        Self {
            app,
            tls: options.tls.clone().map(TlsAcceptor::from),
            options,
            http,
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        }
    }

    fn allows(&self, peer: SocketAddr) -> bool {
        let allowed = &self.options.allowed;
        allowed.is_empty() || allowed.iter().any(|range| range.contains(peer.ip()))
    }

    async fn handle(&self, stream: TcpStream, peer: SocketAddr) {
        // Small answers must not wait for the acknowledgement of earlier ones.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY can't be set");
        }
        let Some(tls) = &self.tls else {
            return self.drive(stream, peer).await;
        };
        match timeout(self.options.handshake_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.drive(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn drive<I>(&self, stream: I, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            self.app.clone().oneshot(request)
        });
        let io = TokioIo::new(FirstBytes::new(stream, self.options.header_timeout));
        let mut connection = pin!(self.http.serve_connection(io, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.closed.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }
}
