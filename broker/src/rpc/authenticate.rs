//! Who may call what: the layer around all services. A call needs a service
//! key (the gateway's), the caller's own key beside it, and the scope that the
//! method's access rule names. A method without a rule is refused.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use dromos_serve::RequestContext;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tonic::{Status, body::Body};
use tower::Service;

use super::status;
use crate::{
    domain::{
        access::{Caller, KeyHash, Scope},
        error::{Error, ErrorKind},
    },
    flow::{
        Core,
        authenticate::{authenticate, limit},
    },
};

/// The caller's own key, beside the service key.
pub const CALLER_KEY: &str = "x-dromos-key";
/// Marks an answer that refuses the service key, not the caller's.
const REFUSED: &str = "x-dromos-refused";
/// What tells nothing and changes nothing.
const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

struct Rules {
    core: Arc<Core>,
    service_keys: Vec<KeyHash>,
    scopes: HashMap<String, Scope>,
}

/// Authenticates calls to `inner`.
#[derive(Clone)]
pub struct Authenticate<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> Authenticate<S> {
    /// Around the services.
    pub fn new(inner: S, core: Arc<Core>, service_keys: Vec<KeyHash>) -> Self {
        // A rule that names no scope of ours lets nobody in.
        let scopes = dromos_proto::ACCESS
            .iter()
            .filter_map(|(path, scope)| Some((path.clone(), scope.parse().ok()?)))
            .collect();
        Self {
            inner,
            rules: Arc::new(Rules {
                core,
                service_keys,
                scopes,
            }),
        }
    }
}

enum Refusal {
    ServiceKey,
    Call(Error),
    NoRule,
}

impl Rules {
    async fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        request_id: &str,
    ) -> Result<Caller, Refusal> {
        let scope = *self.scopes.get(path).ok_or(Refusal::NoRule)?;
        let service_key = bearer(headers).ok_or(Refusal::ServiceKey)?;
        // Hashes are compared, so how far two agree tells nothing of the key.
        if !self.service_keys.contains(&KeyHash::of(service_key)) {
            return Err(Refusal::ServiceKey);
        }
        let unauthenticated = || {
            let message = "a valid API key is required; send `Authorization: Bearer <key>`";
            Refusal::Call(Error::new(ErrorKind::Unauthenticated, message))
        };
        let secret = headers
            .get(CALLER_KEY)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(unauthenticated)?;
        let key = authenticate(&self.core, secret)
            .await
            .map_err(Refusal::Call)?;
        limit(&self.core, &key).await.map_err(Refusal::Call)?;
        if !key.holds(scope) {
            let message = format!("this needs an API key with the scope {scope}");
            return Err(Refusal::Call(
                Error::new(ErrorKind::ScopeMissing, message).with("scope", scope.as_str()),
            ));
        }
        Ok(Caller {
            key,
            request_id: request_id.to_owned(),
        })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn refuse(refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::NoRule => into_http(status::unimplemented()),
        Refusal::Call(error) => into_http(status::of(error)),
        Refusal::ServiceKey => {
            let error = Error::new(
                ErrorKind::Unauthenticated,
                "a valid service key is required",
            );
            let mut response = into_http(status::of(error));
            response
                .headers_mut()
                .insert(REFUSED, HeaderValue::from_static("service-key"));
            response
        }
    }
}

fn into_http(status: Status) -> Response<Body> {
    status.into_http()
}

impl<S> Service<Request<Body>> for Authenticate<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone was never polled ready, so the ready one makes the call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let rules = self.rules.clone();
        Box::pin(async move {
            let path = request.uri().path();
            if OPEN.iter().any(|open| path.starts_with(open)) {
                return inner.call(request).await;
            }
            let request_id = request
                .extensions()
                .get::<RequestContext>()
                .map(|context| context.id().to_owned());
            let admitted = rules
                .admit(
                    path,
                    request.headers(),
                    request_id.as_deref().unwrap_or_default(),
                )
                .await;
            match admitted {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(refusal) => Ok(refuse(refusal)),
            }
        })
    }
}
