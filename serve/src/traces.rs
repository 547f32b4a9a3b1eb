//! Traces: OpenTelemetry spans of calls in and out, sent over OTLP.
//!
//! On where `OTEL_EXPORTER_OTLP_ENDPOINT` (or its `TRACES` form) is set; the
//! standard variables choose the rest. Off, nobody is interested in the spans
//! of [`TARGET`], so none is ever made. A span says which method was called,
//! where, and how it ended: no path as sent, no query, no body, no key.

use std::{env, sync::OnceLock};

use http::{HeaderMap, Request};
use opentelemetry::{
    propagation::TextMapPropagator,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, Tracer},
};
use tonic::{Code, Status};
use tracing::{Span, Subscriber, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    registry::LookupSpan,
};

use crate::context::{RequestContext, code_name};

mod client;

/// The target of every span that is exported, here and in the services.
pub const TARGET: &str = "dromos::trace";

/// Where spans go, until [`Traces::stop`].
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: Tracer,
}

impl Traces {
    /// Starts the export where the environment asks for it. `service` is the
    /// service's name where `OTEL_SERVICE_NAME` says nothing. It takes place
    /// on the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// What the environment says can't be used, in words.
    pub fn from_env(service: &'static str) -> Result<Option<Self>, String> {
        if !is_wanted(|name| env::var(name).ok()) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client::Client::new()?)
            .build()
            .map_err(|error| format!("OTEL_EXPORTER_OTLP_ENDPOINT can't be used: {error}"))?;
        let mut resource = Resource::builder();
        let named = |name: &str, part: &str| env::var(name).is_ok_and(|value| value.contains(part));
        if !named("OTEL_SERVICE_NAME", "") && !named("OTEL_RESOURCE_ATTRIBUTES", "service.name=") {
            resource = resource.with_service_name(service);
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer("dromos");
        Ok(Some(Self { provider, tracer }))
    }

    /// What a subscriber needs: it takes the spans of [`TARGET`], and no event.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE))
    }

    /// Sends what is left, for at most five seconds.
    pub async fn stop(self) {
        // It blocks, and what it waits for needs the runtime.
        let stopped = tokio::task::spawn_blocking(move || self.provider.shutdown()).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!("the last traces could not be sent");
        }
    }
}

/// The variables of the OpenTelemetry specification.
fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let says = |name: &str, word: &str| {
        variable(name).is_some_and(|value| value.eq_ignore_ascii_case(word))
    };
    (set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
        && !says("OTEL_SDK_DISABLED", "true")
        && !says("OTEL_TRACES_EXPORTER", "none")
}

fn propagator() -> &'static TraceContextPropagator {
    static PROPAGATOR: OnceLock<TraceContextPropagator> = OnceLock::new();
    PROPAGATOR.get_or_init(TraceContextPropagator::new)
}

/// Makes the caller's span the parent, where the headers name one (W3C Trace
/// Context).
fn follow(span: &Span, headers: &HeaderMap) {
    let parent = propagator().extract(&HeaderExtractor(headers));
    if parent.span().span_context().is_valid() {
        // Fails only for a span that was used before, which this one was not.
        let _ = span.set_parent(parent);
    }
}

/// Names this span as the parent of what the headers' receiver does.
fn lead(span: &Span, headers: &mut HeaderMap) {
    propagator().inject_context(&span.context(), &mut HeaderInjector(headers));
}

/// A gRPC path as service and method.
fn split(path: &str) -> (&str, &str) {
    path.trim_start_matches('/')
        .split_once('/')
        .unwrap_or(("", path))
}

/// The span of an RPC that is served here, from whichever transport.
pub(crate) fn rpc_server(path: &str, context: &RequestContext, headers: &HeaderMap) -> Span {
    // Probes would drown everything else.
    if path.starts_with("/grpc.") {
        return Span::none();
    }
    let span = tracing::trace_span!(
        target: TARGET,
        "rpc",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = Empty,
        rpc.method = Empty,
        rpc.grpc.status_code = Empty,
        dromos.transport = Empty,
        dromos.request_id = Empty,
    );
    if !span.is_disabled() {
        follow(&span, headers);
        name(&span, path);
        span.record("dromos.transport", context.transport().as_str());
        span.record("dromos.request_id", context.id());
    }
    span
}

fn name(span: &Span, path: &str) {
    let (service, method) = split(path);
    span.record("otel.name", path.trim_start_matches('/'));
    span.record("rpc.service", service);
    span.record("rpc.method", method);
}

/// How the RPC ended, by the rule for servers: what the caller did wrong is no
/// error of the service.
pub(crate) fn rpc_served(span: &Span, code: Code) {
    if span.is_disabled() {
        return;
    }
    span.record("rpc.grpc.status_code", code as i32);
    if matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    ) {
        span.record("otel.status_code", "ERROR");
    }
}

/// The span of an HTTP request to a route of this template.
pub(crate) fn http_server<B>(template: &str, request: &Request<B>) -> Span {
    if ["/metrics", "/healthz", "/readyz"].contains(&template) {
        return Span::none();
    }
    let span = tracing::trace_span!(
        target: TARGET,
        "http",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.route = template,
        http.response.status_code = Empty,
    );
    if !span.is_disabled() {
        follow(&span, request.headers());
        span.record("otel.name", format!("{} {template}", request.method()));
    }
    span
}

/// How the HTTP request was answered.
pub(crate) fn http_served(span: &Span, status: http::StatusCode) {
    if !span.is_disabled() {
        span.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// A call to another service over gRPC, from its start until this is dropped.
#[derive(Debug)]
pub struct RpcCall(Span);

impl RpcCall {
    /// Begins the span of a call to `path` at `host`, below the current span,
    /// and names it in the call's headers. While nothing is traced, the
    /// headers stay as they are.
    pub fn start(path: &str, host: &str, headers: &mut HeaderMap) -> Self {
        let span = tracing::trace_span!(
            target: TARGET,
            "call",
            otel.name = Empty,
            otel.kind = "client",
            otel.status_code = Empty,
            rpc.system = "grpc",
            rpc.service = Empty,
            rpc.method = Empty,
            rpc.grpc.status_code = Empty,
            server.address = host,
            "error.type" = Empty,
        );
        if !span.is_disabled() {
            name(&span, path);
            lead(&span, headers);
        }
        Self(span)
    }

    /// Takes the code from headers or trailers, where they hold one.
    pub fn see(&self, headers: &HeaderMap) {
        if self.0.is_disabled() {
            return;
        }
        if let Some(code) = headers.get(Status::GRPC_STATUS) {
            self.ended(Code::from_bytes(code.as_bytes()));
        }
    }

    /// The call ended with this code.
    pub fn ended(&self, code: Code) {
        if self.0.is_disabled() {
            return;
        }
        self.0.record("rpc.grpc.status_code", code as i32);
        if code != Code::Ok {
            self.0.record("otel.status_code", "ERROR");
            self.0.record("error.type", code_name(code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_variables_say_whether_there_are_traces() {
        let wanted = |set: &[(&str, &str)]| {
            is_wanted(|name| {
                let found = set.iter().find(|(own, _)| *own == name)?;
                Some(found.1.to_owned())
            })
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert!(!wanted(&[]));
        assert!(!wanted(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]));
        assert!(wanted(&[endpoint]));
        assert!(wanted(&[(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://c/v1/traces"
        )]));
        assert!(!wanted(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]));
        assert!(!wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]));
    }

    #[test]
    fn without_traces_no_span_is_made_and_the_callers_headers_pass() {
        let mut headers = HeaderMap::new();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert("traceparent", parent.parse().unwrap());
        let context = RequestContext::new(&headers);
        assert!(rpc_server("/a.B/C", &context, &headers).is_disabled());
        let call = RpcCall::start("/a.B/C", "broker", &mut headers);
        assert!(call.0.is_disabled());
        assert_eq!(headers["traceparent"], parent);
    }
}
