//! How often a key may call.

use std::{num::NonZeroU32, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use dromos_broker::{
    cache::{limits::RateLimits, proofs::Proofs},
    domain::ambient::Ambient,
};
use redis::AsyncCommands;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    network::Line,
    shared::{PATIENT, link, raw, redis_address, redis_at, redis_url, state_key},
    world::{Db, TestClock, World, reason, retry_delay},
};

fn ambient() -> Ambient {
    Ambient {
        clock: Arc::new(TestClock::new()),
        ..Ambient::system()
    }
}

async fn limits(rate: u32, key: &[u8; 32], url: &str) -> RateLimits {
    let proofs = Arc::new(Proofs::new(key));
    let (link, _) = link(url, &proofs, PATIENT).await;
    let rate = NonZeroU32::new(rate).expect("a rate");
    RateLimits::new(rate, Some((link, proofs)), ambient())
}

async fn taken(limits: &RateLimits, key: &str, asked: usize) -> usize {
    let mut taken = 0;
    for _ in 0..asked {
        taken += usize::from(limits.take(key).await.is_ok());
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_told_how_long_to_wait_and_others_are_not_held_up() {
    let settings = [("RATE_LIMIT_PER_KEY", "5")];
    let world = World::start_empty(Db::Sqlite, &settings).await;
    let path = "/v1/providers";
    for _ in 0..5 {
        assert_eq!(world.get(path).await.0, StatusCode::OK);
    }
    let (status, error) = world.get(path).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{error}");
    assert_eq!(reason(&error), "RATE_LIMITED", "{error}");
    assert_eq!(retry_delay(&error), Some("0.200s"), "{error}");
    world.clock.advance(1);
    let reader = world.api_key(&["providers:read"]).await;
    for _ in 0..4 {
        assert_eq!(world.get(path).await.0, StatusCode::OK);
    }
    assert_eq!(world.get(path).await.0, StatusCode::TOO_MANY_REQUESTS);
    let (status, _) = world.call_as(&reader, Method::GET, path, Value::Null).await;
    assert_eq!(status, StatusCode::OK, "another key has its own limit");
    // Whoever has no valid key learns nothing of limits.
    let (status, _) = world
        .call_as("nobody's-key-0123456789", Method::GET, path, Value::Null)
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_nothing_is_limited() {
    let world = World::start_empty(Db::Sqlite, &[]).await;
    assert!(world.core.limits.is_none());
    for _ in 0..100 {
        assert_eq!(world.get("/v1/providers").await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn brokers_share_one_limit_through_redis() {
    let key = state_key();
    let one = limits(50, &key, &redis_url()).await;
    let other = limits(50, &key, &redis_url()).await;
    // Redis's own clock goes on meanwhile.
    let began = Instant::now();
    let (first, second) = (taken(&one, "a", 50).await, taken(&other, "a", 50).await);
    let allowed = 50 + usize::try_from(began.elapsed().as_millis() / 20).expect("a number") + 1;
    assert!(first >= 50, "{first}");
    assert!(first + second <= allowed, "{first} + {second} > {allowed}");
    assert_eq!(taken(&other, "b", 10).await, 10, "another key");
}

#[tokio::test]
async fn without_redis_each_broker_keeps_the_limit_itself() {
    let line = Line::to(redis_address()).await;
    let limits = limits(50, &state_key(), &redis_at(line.port)).await;
    assert_eq!(taken(&limits, "a", 10).await, 10);
    line.cut();
    assert_eq!(
        taken(&limits, "a", 200).await,
        40,
        "by a clock that stands still"
    );
}

#[tokio::test]
async fn hardening_32_a_planted_number_locks_nobody_out() {
    let key = state_key();
    let limits = limits(50, &key, &redis_url()).await;
    let place = Proofs::new(&key).name("rate", "a");
    let mut redis = raw().await;
    for planted in [
        "9000000000000000",
        "-1",
        "nan",
        "inf",
        "1e308",
        "no number",
        "",
    ] {
        redis
            .set::<_, _, ()>(&place, planted)
            .await
            .expect("planted");
        assert!(limits.take("a").await.is_ok(), "{planted}");
    }
    redis.del::<_, ()>(&place).await.expect("gone");
    redis.rpush::<_, _, ()>(&place, 1).await.expect("planted");
    assert!(limits.take("a").await.is_ok(), "of another type");
}

/// A world of two brokers that hear of each other.
async fn shared_world() -> World {
    let key = STANDARD.encode(state_key());
    let url = redis_url();
    World::start_empty(Db::Postgres, &[("REDIS_URL", &url), ("STATE_KEY", &key)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_deleted_on_one_broker_is_refused_by_the_other_before_its_cache_ends() {
    let world = shared_world().await;
    let other = world.join().await;
    let body = json!({ "name": "test", "scopes": ["providers:read"] });
    let (_, created) = world.post("/v1/api-keys", body).await;
    let secret = created["secret"].as_str().expect("a secret");
    let id = created["api_key"]["id"].as_str().expect("an id");
    let there = || other.call_as(secret, Method::GET, "/v1/providers", Value::Null);
    assert_eq!(there().await.0, StatusCode::OK);
    let kept_since = Instant::now();
    let path = format!("/v1/api-keys/{id}");
    let (status, _) = world.call(Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    while there().await.0 == StatusCode::OK {
        tokio::task::yield_now().await;
    }
    let took = kept_since.elapsed();
    assert!(
        took.as_secs() < 4,
        "only the cache's own end helped: {took:?}"
    );
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_starts_and_serves_without_its_redis() {
    let line = Line::to(redis_address()).await;
    line.cut();
    let url = redis_at(line.port);
    let key = STANDARD.encode(state_key());
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("STATE_KEY", &key),
        ("RATE_LIMIT_PER_KEY", "1000"),
    ];
    let world = World::start_empty(Db::Sqlite, &settings).await;
    world.create_provider("sim", json!({})).await;
    let id = world.connect("ada").await;
    assert_eq!(world.token(&id).await.0, StatusCode::OK);
    line.mend();
    let before = world.connect("bob").await;
    line.cut();
    let after = world.connect("eve").await;
    for id in [before, after] {
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
    }
}
