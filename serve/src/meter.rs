//! The metrics of RPCs: how many, by method, transport and code, and how long.

use std::sync::Arc;

use http::HeaderMap;
use metrics::{Label, SharedString};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::Span;

use crate::{
    context::{RequestContext, UNKNOWN, code_name},
    traces,
};

/// The metrics' names, which begin with the service's: `gateway_requests_total`
/// and `gateway_request_duration_seconds`.
#[derive(Debug)]
pub(crate) struct Names {
    requests: SharedString,
    duration: SharedString,
}

impl Names {
    pub(crate) fn new(service: &str) -> Self {
        Self {
            requests: format!("{service}_requests_total").into(),
            duration: format!("{service}_request_duration_seconds").into(),
        }
    }

    /// Counts a request that never became an RPC.
    pub(crate) fn count_unknown(&self, context: &RequestContext, code: Code) {
        count(self, UNKNOWN.into(), context, code);
    }
}

fn count(names: &Names, rpc: SharedString, context: &RequestContext, code: Code) {
    let transport = context.transport().as_str();
    let labels = vec![
        Label::new("rpc", rpc),
        Label::new("transport", transport),
        Label::new("code", code_name(code)),
    ];
    metrics::counter!(names.requests.clone(), labels).increment(1);
}

/// Measures one RPC, from here until it is dropped; its span ends then, too.
#[derive(Debug)]
pub(crate) struct Meter {
    names: Arc<Names>,
    rpc: Arc<str>,
    context: RequestContext,
    span: Span,
    started: Instant,
}

impl Meter {
    pub(crate) fn start(
        names: Arc<Names>,
        rpc: Arc<str>,
        context: RequestContext,
        span: Span,
    ) -> Self {
        Self {
            names,
            rpc,
            context,
            span,
            started: Instant::now(),
        }
    }

    /// Takes the code from headers or trailers, where they hold one.
    pub(crate) fn see(&self, headers: &HeaderMap) {
        if let Some(code) = headers.get(Status::GRPC_STATUS) {
            self.context.set_code(Code::from_bytes(code.as_bytes()));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Without a code, the caller left before there was one.
        let code = self.context.code().unwrap_or(Code::Cancelled);
        traces::rpc_served(&self.span, code);
        self.context.set_code(code);
        let rpc = SharedString::from(self.rpc.clone());
        count(&self.names, rpc.clone(), &self.context, code);
        let labels = vec![
            Label::new("rpc", rpc),
            Label::new("transport", self.context.transport().as_str()),
        ];
        metrics::histogram!(self.names.duration.clone(), labels)
            .record(self.started.elapsed().as_secs_f64());
    }
}
