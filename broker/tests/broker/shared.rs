//! A Redis for tests, and what lies in it.

use std::{sync::Arc, time::Duration};

use dromos_broker::{
    cache::{
        link::{Heard, Link},
        notices::channel,
        proofs::Proofs,
    },
    domain::ambient::Ambient,
};
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;

/// Long enough that a busy machine does not look like a Redis that is away.
pub const PATIENT: Duration = Duration::from_secs(5);

pub fn redis_url() -> String {
    std::env::var("TEST_REDIS_URL")
        .expect("TEST_REDIS_URL names a Redis server; `cargo xtask test` starts one and sets it")
}

/// The same server, by another port on this machine.
pub fn redis_at(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// Where the server is, for a line to it.
pub fn redis_address() -> String {
    let url = url::Url::parse(&redis_url()).expect("a URL");
    format!(
        "{}:{}",
        url.host_str().expect("a host"),
        url.port().unwrap_or(6379)
    )
}

/// Redis itself, as whoever broke in has it.
pub async fn raw() -> MultiplexedConnection {
    let client = redis::Client::open(redis_url()).expect("a URL");
    client
        .get_multiplexed_async_connection()
        .await
        .expect("Redis answers")
}

/// A key that no other test has, so that nobody's entries meet.
pub fn state_key() -> [u8; 32] {
    Ambient::system().bytes()
}

/// A link that is up, and what is heard over it.
pub async fn link(
    url: &str,
    proofs: &Proofs,
    patience: Duration,
) -> (Arc<Link>, mpsc::Receiver<Heard>) {
    let (said, heard) = mpsc::channel(64);
    let link = Link::start(url, channel(proofs), patience, said).expect("a URL of Redis");
    assert!(link.ready(Duration::from_secs(10)).await, "Redis answers");
    (Arc::new(link), heard)
}
