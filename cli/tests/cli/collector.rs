//! An OpenTelemetry collector that keeps what it is sent.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span,
};
use prost::Message;

/// Where spans are sent: OTLP over HTTP with protobuf.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Vec<Bytes>>>);

impl Collector {
    pub async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let take = async |State(Self(bodies)): State<Self>, headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            bodies.lock().unwrap().push(body);
        };
        let router = Router::new().route("/v1/traces", post(take));
        let app = router.with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    pub fn bodies(&self) -> Vec<Bytes> {
        self.0.lock().unwrap().clone()
    }

    pub fn spans(&self) -> Vec<Span> {
        self.bodies()
            .into_iter()
            .map(|body| ExportTraceServiceRequest::decode(body).unwrap())
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }
}
