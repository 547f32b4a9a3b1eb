//! The one guarded HTTP client: every URL that configuration or a provider
//! supplied is fetched through here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tracing::{Instrument, Span, field::Empty};
use url::Url;

pub mod discovery;
mod documents;
pub mod guard;

use guard::{Guard, GuardedResolver};

/// An answer's body may have this many bytes.
const MAX_BODY: usize = 1 << 20;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A request to a provider.
pub struct EgressRequest {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: Url,
    /// Headers; those with secrets are marked sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// How long the whole exchange may take.
    pub timeout: Duration,
}

/// A complete answer.
pub struct EgressAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no complete answer. What matters is whether the provider may
/// have acted on the request.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The guard refused the URL; nothing was sent.
    #[error("the egress guard refused the URL: {0}")]
    Refused(&'static str),
    /// No connection was made; nothing was sent.
    #[error("no connection")]
    NotSent(#[source] reqwest::Error),
    /// Something was sent, and no complete answer came.
    #[error("no complete answer")]
    NoAnswer(#[source] Option<reqwest::Error>),
}

impl EgressError {
    /// Its kind, as traces tell it.
    fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::NotSent(_) => "no_connection",
            Self::NoAnswer(_) => "no_answer",
        }
    }
}

/// The client.
#[derive(Clone)]
pub struct Egress {
    client: reqwest::Client,
    guard: Guard,
}

impl Egress {
    /// A client behind a guard.
    ///
    /// # Panics
    /// Without a TLS provider installed in the process, which is a fault of
    /// the wiring.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that makes the HTTP client"
    )]
    pub fn new(guard: Guard) -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would resolve names for us, behind the guard's back.
            .no_proxy()
            .dns_resolver(Arc::new(GuardedResolver::new(guard)))
            .connect_timeout(CONNECT_TIMEOUT)
            // A request on a kept connection may or may not have been seen by
            // a server that closes it; on a fresh one that is known.
            .pool_max_idle_per_host(0)
            .retry(reqwest::retry::never())
            .user_agent(concat!("dromos/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("a TLS provider is installed before the first client is made");
        Self { client, guard }
    }

    /// Sends a request once.
    ///
    /// # Errors
    /// See [`EgressError`].
    pub async fn send(&self, request: EgressRequest) -> Result<EgressAnswer, EgressError> {
        self.exchange(request, true).await
    }

    /// The same, of which only the status matters: the answer's body is not
    /// read, however long it is.
    ///
    /// # Errors
    /// See [`EgressError`].
    pub async fn send_and_ignore_body(
        &self,
        request: EgressRequest,
    ) -> Result<StatusCode, EgressError> {
        let answer = self.exchange(request, false).await?;
        Ok(answer.status)
    }

    async fn exchange(
        &self,
        request: EgressRequest,
        wants_body: bool,
    ) -> Result<EgressAnswer, EgressError> {
        self.guard
            .check(&request.url)
            .map_err(EgressError::Refused)?;
        let span = span(&request);
        let exchange = async {
            let response = self
                .client
                .request(request.method, request.url)
                .headers(request.headers)
                .body(request.body)
                .send()
                .await
                .map_err(|error| {
                    // A URL may hold what must not be told.
                    let error = error.without_url();
                    if error.is_connect() || error.is_builder() {
                        EgressError::NotSent(error)
                    } else {
                        EgressError::NoAnswer(Some(error))
                    }
                })?;
            if !wants_body {
                return Ok(EgressAnswer {
                    status: response.status(),
                    headers: HeaderMap::new(),
                    body: Bytes::new(),
                });
            }
            read(response).await
        };
        let answer = tokio::time::timeout(request.timeout, exchange.instrument(span.clone()))
            .await
            .unwrap_or(Err(EgressError::NoAnswer(None)));
        match &answer {
            Ok(answer) => {
                span.record("http.response.status_code", answer.status.as_u16());
                if !answer.status.is_success() {
                    span.record("otel.status_code", "ERROR");
                }
            }
            Err(error) => {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", error.kind());
            }
        }
        answer
    }
}

/// The exchange in a trace: where to, not with what path or query. The trace
/// ends here, a provider is not told its id.
fn span(request: &EgressRequest) -> Span {
    tracing::trace_span!(
        target: "dromos::trace",
        "exchange",
        otel.name = request.method.as_str(),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = request.method.as_str(),
        http.response.status_code = Empty,
        server.address = request.url.host_str(),
        server.port = request.url.port_or_known_default(),
        "error.type" = Empty,
    )
}

async fn read(mut response: reqwest::Response) -> Result<EgressAnswer, EgressError> {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| EgressError::NoAnswer(Some(error.without_url())))?
    {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(EgressError::NoAnswer(None));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(EgressAnswer {
        status,
        headers,
        body: body.into(),
    })
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
