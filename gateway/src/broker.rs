//! The connections to the broker.

use std::{
    error::Error,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dromos_serve::{SettingsError, status};
use http::{Request, Response};
use secrecy::ExposeSecret;
use tonic::{
    Code, Status, TimeoutExpired,
    body::Body,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::{Service, ServiceExt};

use crate::config::Config;

/// One HTTP/2 connection is driven by one task; two let both directions of a
/// busy gateway use more than one core.
const CONNECTIONS: usize = 2;

/// How long a caller should wait before the broker may be back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The broker, over connections that are made when first needed and again
/// whenever they broke.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    channels: Arc<[Channel]>,
    next: Arc<AtomicUsize>,
    host: Arc<str>,
}

/// Why the broker gave no usable answer; the label of
/// `gateway_broker_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection, or it broke before the answer.
    Transport,
    /// The connection broke while the answer was streamed.
    Stream,
    /// Something answered that is no gRPC server.
    Protocol,
    /// The broker refused the gateway's own service key.
    ServiceKey,
    /// It would have gone on, but this gateway is shutting down.
    Closing,
}

impl Failure {
    fn label(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Stream => "stream",
            Self::Protocol => "protocol",
            Self::ServiceKey => "service_key",
            Self::Closing => "closing",
        }
    }

    /// Counts and logs the failure; what the caller gets is the same for all.
    pub(crate) fn answer(self) -> Status {
        if self == Self::Closing {
            let message = "this gateway is shutting down; call again, and resume";
            return status::status(
                Code::Unavailable,
                "BROKER_UNAVAILABLE",
                message,
                Some(RETRY_AFTER),
                &[],
            );
        }
        metrics::counter!("gateway_broker_errors_total", "kind" => self.label()).increment(1);
        match self {
            Self::ServiceKey => {
                tracing::error!("the broker refuses this gateway's BROKER_API_KEY");
            }
            _ => tracing::warn!(kind = self.label(), "the broker did not answer"),
        }
        let message = "the broker can't be reached; try again shortly";
        status::status(
            Code::Unavailable,
            "BROKER_UNAVAILABLE",
            message,
            Some(RETRY_AFTER),
            &[],
        )
    }
}

impl Broker {
    /// Connects nothing yet.
    pub(crate) fn new(config: &Config) -> Result<Self, SettingsError> {
        let uri = config.broker_uri()?;
        let tls = uri.scheme_str() == Some("https");
        if !tls && !is_loopback(uri.host().unwrap_or_default()) {
            tracing::warn!("BROKER_URL is not https: credentials cross that network in clear");
        }
        let host = Arc::from(uri.host().unwrap_or_default());
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(60)))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            // Room for many answers at once; a window that adapts itself costs
            // a ping with every few of them.
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20);
        if tls {
            let malformed = |_| {
                let how = "PEM files of a CA, a certificate and its private key";
                SettingsError::malformed("BROKER_CA_FILE, BROKER_CERT_FILE or BROKER_KEY_FILE", how)
            };
            endpoint = endpoint.tls_config(client_tls(config)).map_err(malformed)?;
        }
        let channels = (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect();
        Ok(Self {
            channels,
            next: Arc::default(),
            host,
        })
    }

    /// Where it is, as traces tell it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    fn channel(&self) -> Channel {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.channels[next % self.channels.len()].clone()
    }

    /// Sends one call.
    pub(crate) fn call(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Status>> + use<> {
        let mut channel = self.channel();
        async move {
            let answered = match channel.ready().await {
                Ok(ready) => ready.call(request).await,
                Err(error) => Err(error),
            };
            answered.map_err(|error| {
                if timed_out(&error) {
                    return status::deadline_exceeded();
                }
                tracing::debug!(error = &error as &dyn Error, "a call to the broker failed");
                Failure::Transport.answer()
            })
        }
    }

    /// Whether the broker says that it can serve.
    pub(crate) async fn is_serving(&self) -> bool {
        let mut client = HealthClient::new(self.channel());
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        request.set_timeout(Duration::from_secs(2));
        let answer = client.check(request).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
    }
}

fn client_tls(config: &Config) -> ClientTlsConfig {
    let tls = &config.broker_tls;
    let client = match &tls.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match &tls.identity {
        Some((certificate, key)) => {
            client.identity(Identity::from_pem(certificate, key.expose_secret()))
        }
        None => client,
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The channel keeps the deadline too, and may see it pass first.
fn timed_out(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        next = error.source();
    }
    false
}
