//! What stands in the network: a line to the database that can be cut, a relay
//! before a token endpoint, and an address where nobody should ever call.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Bytes, extract::State, response::Response};
use http::{HeaderMap, StatusCode, Uri, header};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::world::http_client;

/// A TCP line to somewhere, which can be cut and mended.
pub struct Line {
    pub port: u16,
    whole: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Line {
    /// A line to `host:port`.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let whole = watch::Sender::new(true);
        let state = whole.subscribe();
        let task = tokio::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else {
                    continue;
                };
                if *state.borrow() {
                    tokio::spawn(carry(near, target.clone(), state.clone()));
                }
            }
        });
        Self { port, whole, task }
    }

    /// Ends every connection; new ones end at once.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut near: TcpStream, target: String, mut state: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = state.wait_for(|whole| !whole) => {}
    }
}

struct RelayState {
    target: String,
    http: reqwest::Client,
    seen: Mutex<Vec<String>>,
    redirect: Mutex<Option<String>>,
    open: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

/// Passes requests on to a provider, writes them down, and can hold refreshes
/// while code exchanges pass.
pub struct Relay {
    pub url: String,
    state: Arc<RelayState>,
    task: JoinHandle<()>,
}

impl Relay {
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(RelayState {
            target,
            http: http_client(),
            seen: Mutex::default(),
            redirect: Mutex::default(),
            open: watch::Sender::new(true),
            waiting: watch::Sender::new(0),
        });
        let router = Router::new().fallback(relay).with_state(state.clone());
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { url, state, task }
    }

    /// The bodies of the requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.state.seen.lock().expect("the list").clone()
    }

    /// From now on answers 307 with this location.
    pub fn redirect_to(&self, location: &str) {
        *self.state.redirect.lock().expect("the redirect") = Some(location.to_owned());
    }

    pub fn hold_refreshes(&self) {
        self.state.open.send_replace(false);
    }

    pub fn release(&self) {
        self.state.open.send_replace(true);
    }

    /// Until a refresh is held here.
    pub async fn arrived(&self) {
        let mut waiting = self.state.waiting.subscribe();
        waiting.wait_for(|n| *n > 0).await.expect("the relay lives");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    State(state): State<Arc<RelayState>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = String::from_utf8_lossy(&body).into_owned();
    state.seen.lock().expect("the list").push(text.clone());
    let redirect = state.redirect.lock().expect("the redirect").clone();
    if let Some(location) = redirect {
        return answer(StatusCode::TEMPORARY_REDIRECT)
            .header(header::LOCATION, location)
            .body(axum::body::Body::empty())
            .expect("an answer");
    }
    if text.contains("grant_type=refresh_token") && !*state.open.borrow() {
        state.waiting.send_modify(|n| *n += 1);
        let mut open = state.open.subscribe();
        open.wait_for(|open| *open).await.expect("the relay lives");
    }
    let mut request = state
        .http
        .post(format!("{}{}", state.target, uri.path()))
        .body(body);
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let response = request.send().await.expect("the provider answers");
    let status = response.status();
    let body = response.bytes().await.expect("a whole answer");
    answer(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .expect("an answer")
}

fn answer(status: StatusCode) -> http::response::Builder {
    Response::builder().status(status)
}

/// An address where nobody should call: it counts who does.
pub struct Trap {
    pub port: u16,
    calls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Trap {
    pub async fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let task = tokio::spawn(async move {
            loop {
                if listener.accept().await.is_ok() {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { port, calls, task }
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.task.abort();
    }
}
