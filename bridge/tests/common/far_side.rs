//! A service that a bridge sends to, on a free port of this machine.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{IntoResponse as _, Response},
    routing::any,
};
use reqwest::{Method, Request};
use tokio::net::TcpListener;

use super::token;

/// What the far side saw of a request: its `Authorization` and its body.
pub type Seen = (Option<String>, String);

/// A service that accepts the tokens of some generations.
pub struct FarSide {
    pub origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Clone)]
struct Shared {
    accepted: &'static [u32],
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl FarSide {
    pub async fn accepting(accepted: &'static [u32]) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let router = Router::new()
            .route("/items", any(items))
            .route("/moved", any(moved))
            .with_state(Shared {
                accepted,
                seen: Arc::clone(&seen),
            });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { origin, seen }
    }

    pub fn request(&self, path: &str) -> Request {
        let url = format!("{}{path}", self.origin).parse().expect("a URL");
        Request::new(Method::POST, url)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panicked here").clone()
    }

    /// What is seen of a request with this generation's token.
    pub fn signed(generation: u32, body: &str) -> Seen {
        (
            Some(format!("Bearer {}", token(generation))),
            body.to_owned(),
        )
    }
}

fn note(shared: &Shared, headers: &HeaderMap, body: &Bytes) -> Option<String> {
    let values: Vec<_> = headers.get_all("authorization").iter().collect();
    assert!(values.len() <= 1, "one Authorization at most");
    let value = values
        .first()
        .map(|value| value.to_str().expect("visible ASCII").to_owned());
    let body = String::from_utf8(body.to_vec()).expect("text");
    shared
        .seen
        .lock()
        .expect("no test panicked here")
        .push((value.clone(), body));
    value
}

async fn items(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let value = note(&shared, &headers, &body);
    let accepted = shared
        .accepted
        .iter()
        .map(|generation| format!("Bearer {}", token(*generation)));
    if accepted.into_iter().any(|accepted| Some(accepted) == value) {
        StatusCode::OK
    } else {
        StatusCode::UNAUTHORIZED
    }
}

async fn moved(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    note(&shared, &headers, &body);
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/items")]).into_response()
}
