//! The Dromos gateway: what agents reach. It serves `dromos.v1` over gRPC,
//! gRPC-Web and REST on one port and forwards every call to the broker,
//! without looking into it and without keeping anything.

mod broker;
mod config;
mod cors;
mod forward;
mod forward_body;
mod headers;
mod key;

use std::{future::Future, io, net::SocketAddr};

use axum::Router;
use dromos_proto::{ACCESS, FILE_DESCRIPTOR_SET, POOL};
use dromos_serve::{
    GrpcApp, ListenOptions, MAX_BODY, ReflectionError, Settings, SettingsError, add_reflection,
    observe,
};
use http::HeaderValue;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use transcode::{BuildError, Transcoder};

pub use config::{BrokerTls, Config};

use crate::{broker::Broker, forward::Forward};

/// What a REST caller's headers give to the call.
const REST_REQUEST: [&str; 5] = [
    "authorization",
    "user-agent",
    "x-request-id",
    "traceparent",
    "tracestate",
];

/// Why a gateway can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// A setting is missing or malformed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The address can't be listened on.
    #[error("LISTEN can't be bound: {0}")]
    Bind(#[source] io::Error),
    /// The contract that this program was built with can't be reflected.
    #[error(transparent)]
    Reflection(#[from] ReflectionError),
    /// The contract that this program was built with can't be served as REST.
    #[error(transparent)]
    Rest(#[from] BuildError),
}

/// A gateway that listens, and serves once it is run.
#[derive(Debug)]
pub struct Gateway {
    listener: TcpListener,
    local_addr: SocketAddr,
    app: Router,
    options: ListenOptions,
    closing: CancellationToken,
}

impl Gateway {
    /// As [`Gateway::bind`], with the configuration that `settings` give.
    ///
    /// # Errors
    ///
    /// As [`Config::from_settings`] and [`Gateway::bind`].
    pub async fn from_settings(settings: &Settings) -> Result<Self, GatewayError> {
        Self::bind(Config::from_settings(settings)?).await
    }

    /// Listens. The broker need not be there yet: it is connected to when it
    /// is first needed.
    ///
    /// # Errors
    ///
    /// The configuration can't be used, or the address can't be bound.
    pub async fn bind(config: Config) -> Result<Self, GatewayError> {
        config.check()?;
        let options = ListenOptions {
            tls: config
                .tls
                .as_ref()
                .map(|tls| tls.server_config())
                .transpose()?,
            ..ListenOptions::default()
        };
        let closing = CancellationToken::new();
        let app = app(&config, closing.clone()).await?;
        let listener = TcpListener::bind(&config.listen)
            .await
            .map_err(GatewayError::Bind)?;
        let local_addr = listener.local_addr().map_err(GatewayError::Bind)?;
        Ok(Self {
            listener,
            local_addr,
            app,
            options,
            closing,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` resolves and the requests in flight are done,
    /// or 30 seconds after.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tracing::info!(address = %self.local_addr, "the gateway serves");
        let shutdown = async {
            shutdown.await;
            self.closing.cancel();
        };
        dromos_serve::serve(self.listener, self.app, self.options, shutdown).await;
    }
}

async fn app(config: &Config, closing: CancellationToken) -> Result<Router, GatewayError> {
    let services: Vec<String> = POOL
        .services()
        .map(|service| service.full_name().to_owned())
        .filter(|name| name.starts_with("dromos.v1."))
        .collect();
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    let broker = Broker::new(config)?;
    let forward = Forward::new(
        ACCESS.keys().map(|path| (path.as_str(), streams(path))),
        service_key(config),
        broker.clone(),
        local(&services).await?,
        closing,
    );
    let transcoder = Transcoder::builder(POOL.clone())
        .services(services.iter().copied())
        .request_headers(REST_REQUEST)
        .response_headers(["cache-control"])
        .max_body(MAX_BODY)
        .build()?;
    let ready = move || {
        let broker = broker.clone();
        async move { broker.is_serving().await }
    };
    let app = GrpcApp::new("gateway", forward, &POOL, &services)
        .transcoder(transcoder)
        .ready(ready)
        .into_router();
    let app = match cors::layer(config.origins()?) {
        Some(cors) => app.layer(cors),
        None => app,
    };
    Ok(observe(app))
}

/// Whether a method answers with a stream.
fn streams(path: &str) -> bool {
    let name = path.trim_start_matches('/').split_once('/');
    name.and_then(|(service, method)| {
        let service = POOL.get_service_by_name(service)?;
        let method = service.methods().find(|found| found.name() == method)?;
        Some(method.is_server_streaming())
    })
    .unwrap_or_default()
}

/// What the gateway answers by itself: health and reflection.
async fn local(services: &[&str]) -> Result<Routes, GatewayError> {
    let mut routes = Routes::builder();
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in services {
        reporter
            .set_service_status(*service, ServingStatus::Serving)
            .await;
    }
    routes.add_service(health);
    add_reflection(&mut routes, FILE_DESCRIPTOR_SET, services)?;
    Ok(routes.routes().prepare())
}

fn service_key(config: &Config) -> HeaderValue {
    let value = format!("Bearer {}", config.broker_api_key.expose_secret());
    let mut value = HeaderValue::try_from(value).expect("Config::check saw visible ASCII");
    value.set_sensitive(true);
    value
}
