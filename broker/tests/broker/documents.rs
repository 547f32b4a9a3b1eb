//! Discovery documents and key sets: fetched as rarely as their publisher
//! allows, among all brokers.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::State, response::Response};
use dromos_broker::{
    cache::{Cache, Layered, memory::Memory, proofs::Proofs, redis::RedisCache},
    domain::ambient::Ambient,
    egress::{Egress, discovery::Discovery, guard::Guard},
};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    network::Line,
    shared::{PATIENT, link, redis_address, redis_at, redis_url, state_key},
    world::{TestClock, eventually, http_client},
};

struct Published {
    url: String,
    status: Mutex<StatusCode>,
    etag: Mutex<Option<&'static str>>,
    max_age: Mutex<&'static str>,
    open: watch::Sender<bool>,
    /// The `If-None-Match` of each call.
    calls: Mutex<Vec<Option<String>>>,
}

/// Publishes an issuer's documents.
struct Publisher {
    state: Arc<Published>,
    task: JoinHandle<()>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Publisher {
    async fn start() -> Self {
        // The client of `Egress` needs the provider that this installs.
        drop(http_client());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Published {
            url,
            status: Mutex::new(StatusCode::OK),
            etag: Mutex::new(None),
            max_age: Mutex::new("max-age=300"),
            open: watch::Sender::new(true),
            calls: Mutex::default(),
        });
        let router = Router::new().fallback(publish).with_state(state.clone());
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { state, task }
    }

    fn issuer(&self) -> &str {
        &self.state.url
    }

    fn jwks_uri(&self) -> url::Url {
        format!("{}/jwks", self.state.url).parse().expect("a URL")
    }

    fn answer(&self, status: StatusCode, etag: Option<&'static str>) {
        *self.state.status.lock().expect("the status") = status;
        *self.state.etag.lock().expect("the ETag") = etag;
    }

    fn calls(&self) -> usize {
        self.state.calls.lock().expect("the calls").len()
    }

    fn last_condition(&self) -> Option<String> {
        let calls = self.state.calls.lock().expect("the calls");
        calls.last().cloned().flatten()
    }
}

async fn publish(State(state): State<Arc<Published>>, headers: HeaderMap) -> Response {
    let condition = headers
        .get(header::IF_NONE_MATCH)
        .map(|value| value.to_str().expect("text").to_owned());
    state
        .calls
        .lock()
        .expect("the calls")
        .push(condition.clone());
    let mut open = state.open.subscribe();
    open.wait_for(|open| *open).await.expect("the gate");
    let etag = *state.etag.lock().expect("the ETag");
    let mut status = *state.status.lock().expect("the status");
    if etag.is_some() && condition.as_deref() == etag {
        status = StatusCode::NOT_MODIFIED;
    }
    let max_age = *state.max_age.lock().expect("the age");
    let mut answer = Response::builder()
        .status(status)
        .header(header::CACHE_CONTROL, max_age);
    if let Some(etag) = etag {
        answer = answer.header(header::ETAG, etag);
    }
    let body = match status {
        StatusCode::NOT_MODIFIED => String::new(),
        _ => json!({ "issuer": state.url, "keys": [] }).to_string(),
    };
    answer.body(body.into()).expect("an answer")
}

fn ambient(clock: &TestClock) -> Ambient {
    Ambient {
        clock: Arc::new(clock.clone()),
        ..Ambient::system()
    }
}

fn over(cache: Arc<dyn Cache>, clock: &TestClock) -> Discovery {
    let guard = Guard {
        allow_private_networks: true,
    };
    Discovery::new(Egress::new(guard), cache, ambient(clock))
}

fn alone(clock: &TestClock) -> Discovery {
    over(Arc::new(Memory::new(ambient(clock))), clock)
}

/// One broker's, over a Redis that others use as well.
async fn sharing(key: &[u8; 32], url: &str, clock: &TestClock) -> Discovery {
    let proofs = Arc::new(Proofs::new(key));
    let (link, _) = link(url, &proofs, PATIENT).await;
    let far = RedisCache::new(link, proofs, ambient(clock));
    let layered = Layered::new(Memory::new(ambient(clock)), Arc::new(far));
    over(Arc::new(layered), clock)
}

#[tokio::test]
async fn a_document_is_kept_as_long_as_its_publisher_says() {
    let (publisher, clock) = (Publisher::start().await, TestClock::new());
    let discovery = alone(&clock);
    for _ in 0..3 {
        discovery.metadata(publisher.issuer()).await.expect("it");
    }
    assert_eq!(publisher.calls(), 1);
    clock.advance(299);
    discovery.metadata(publisher.issuer()).await.expect("it");
    assert_eq!(publisher.calls(), 1);
    clock.advance(1);
    discovery.metadata(publisher.issuer()).await.expect("it");
    assert_eq!(publisher.calls(), 2);
    assert_eq!(publisher.last_condition(), None, "it had no ETag");
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let (publisher, clock) = (Publisher::start().await, TestClock::new());
    publisher.answer(StatusCode::OK, Some("\"v1\""));
    let discovery = alone(&clock);
    discovery.metadata(publisher.issuer()).await.expect("it");
    clock.advance(300);
    let metadata = discovery.metadata(publisher.issuer()).await.expect("it");
    assert_eq!(metadata.issuer, publisher.issuer());
    assert_eq!(publisher.last_condition().as_deref(), Some("\"v1\""));
    // Fresh again since the 304.
    clock.advance(299);
    discovery.metadata(publisher.issuer()).await.expect("it");
    assert_eq!(publisher.calls(), 2);
}

#[tokio::test]
async fn hardening_16_refusals_are_never_kept_even_beside_an_older_document() {
    let (publisher, clock) = (Publisher::start().await, TestClock::new());
    let discovery = sharing(&state_key(), &redis_url(), &clock).await;
    let mut calls = 0;
    for status in [404, 429, 500, 503, 301] {
        publisher.answer(StatusCode::from_u16(status).expect("a status"), None);
        assert!(
            discovery.metadata(publisher.issuer()).await.is_err(),
            "{status}"
        );
        publisher.answer(StatusCode::OK, None);
        discovery
            .metadata(publisher.issuer())
            .await
            .expect("at once");
        calls += 2;
        assert_eq!(publisher.calls(), calls, "{status}");
        clock.advance(300);
    }
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_at_most_every_ten_seconds_and_failures_count() {
    let (publisher, clock) = (Publisher::start().await, TestClock::new());
    let discovery = alone(&clock);
    let uri = publisher.jwks_uri();
    let keys = discovery.keys(&uri, None).await.expect("keys");
    // Just fetched: asking again would bring the same.
    discovery.keys(&uri, Some(&keys)).await.expect("keys");
    assert_eq!(publisher.calls(), 1);
    clock.advance(10);
    publisher.answer(StatusCode::SERVICE_UNAVAILABLE, None);
    assert!(discovery.keys(&uri, Some(&keys)).await.is_err());
    assert_eq!(publisher.calls(), 2);
    for _ in 0..20 {
        discovery
            .keys(&uri, Some(&keys))
            .await
            .expect("the old ones");
    }
    assert_eq!(publisher.calls(), 2);
    clock.advance(10);
    publisher.answer(StatusCode::OK, None);
    let newer = discovery.keys(&uri, Some(&keys)).await.expect("keys");
    assert!(newer.fetched_at > keys.fetched_at);
    assert_eq!(publisher.calls(), 3);
}

#[tokio::test]
async fn callers_at_once_share_one_fetch_and_its_failure() {
    let (publisher, clock) = (Publisher::start().await, TestClock::new());
    let discovery = alone(&clock);
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK] {
        publisher.answer(status, None);
        let before = publisher.calls();
        publisher.state.open.send_replace(false);
        let asking =
            futures_util::future::join_all((0..50).map(|_| discovery.metadata(publisher.issuer())));
        let opening = async {
            eventually("one has called", async || publisher.calls() > before).await;
            publisher.state.open.send_replace(true);
        };
        let (answers, ()) = tokio::join!(asking, opening);
        for answer in answers {
            assert_eq!(answer.is_ok(), status == StatusCode::OK);
        }
        assert_eq!(publisher.calls(), before + 1, "{status}");
    }
}

#[tokio::test]
async fn brokers_share_what_one_of_them_fetched() {
    let (publisher, clock, key) = (Publisher::start().await, TestClock::new(), state_key());
    let one = sharing(&key, &redis_url(), &clock).await;
    let other = sharing(&key, &redis_url(), &clock).await;
    one.metadata(publisher.issuer()).await.expect("it");
    other.metadata(publisher.issuer()).await.expect("it");
    assert_eq!(publisher.calls(), 1);
    // So with keys: the newer ones, too, that one of them asked for.
    let uri = publisher.jwks_uri();
    let keys = one.keys(&uri, None).await.expect("keys");
    other.keys(&uri, None).await.expect("keys");
    assert_eq!(publisher.calls(), 2);
    clock.advance(10);
    let newer = one.keys(&uri, Some(&keys)).await.expect("keys");
    assert_eq!(publisher.calls(), 3);
    let heard = other.keys(&uri, Some(&keys)).await.expect("keys");
    assert_eq!(heard.fetched_at, newer.fetched_at);
    assert_eq!(publisher.calls(), 3);
    // A change of the provider ends it for all who hear of it.
    one.forget(publisher.issuer()).await;
    other.forget(publisher.issuer()).await;
    other.metadata(publisher.issuer()).await.expect("it");
    one.metadata(publisher.issuer()).await.expect("it");
    assert_eq!(publisher.calls(), 4);
}

#[tokio::test]
async fn without_redis_documents_are_fetched_and_with_it_again_they_are_shared_again() {
    let (publisher, clock, key) = (Publisher::start().await, TestClock::new(), state_key());
    let line = Line::to(redis_address()).await;
    let one = sharing(&key, &redis_at(line.port), &clock).await;
    let other = sharing(&key, &redis_url(), &clock).await;
    line.cut();
    one.metadata(publisher.issuer())
        .await
        .expect("from its publisher");
    one.metadata(publisher.issuer())
        .await
        .expect("kept in this process");
    assert_eq!(publisher.calls(), 1);
    other.metadata(publisher.issuer()).await.expect("it");
    assert_eq!(publisher.calls(), 2, "the first one could not tell");
    line.mend();
    clock.advance(300);
    // Both are stale; what the second fetches, the first one gets from Redis,
    // once its line is made again.
    let uri = publisher.jwks_uri();
    eventually("the line is made again", async || {
        clock.advance(3601);
        let before = publisher.calls();
        other.keys(&uri, None).await.expect("keys");
        one.keys(&uri, None).await.expect("keys");
        publisher.calls() == before + 1
    })
    .await;
}
