//! The caches keep the same promises, and Redis is believed nothing.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use dromos_broker::{
    cache::{Cache, Entry, Layered, memory::Memory, proofs::Proofs, redis::RedisCache},
    domain::ambient::Ambient,
};
use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::{
    network::Trap,
    shared::{PATIENT, link, raw, redis_url, state_key},
    world::{Db, RETURN_URL, TestClock, World},
};

fn ambient(clock: &TestClock) -> Ambient {
    Ambient {
        clock: Arc::new(clock.clone()),
        ..Ambient::system()
    }
}

async fn redis_cache(key: &[u8; 32], clock: &TestClock) -> RedisCache {
    let proofs = Arc::new(Proofs::new(key));
    let (link, _) = link(&redis_url(), &proofs, PATIENT).await;
    RedisCache::new(link, proofs, ambient(clock))
}

/// What every cache promises.
async fn conforms(name: &str, cache: &dyn Cache, clock: &TestClock) {
    let now = || ambient(clock).now();
    let entry = |value: &str, seconds| Entry {
        value: value.as_bytes().to_vec(),
        until: now() + TimeDelta::seconds(seconds),
    };
    assert_eq!(cache.get("a").await, None, "{name}: empty at first");
    let first = entry("first", 60);
    cache.put("a", first.clone()).await;
    assert_eq!(cache.get("a").await, Some(first.clone()), "{name}");
    assert_eq!(cache.get_newest("a").await, Some(first), "{name}");
    assert_eq!(cache.get("b").await, None, "{name}: each name its own");

    let second = entry("second", 60);
    cache.put("a", second.clone()).await;
    assert_eq!(
        cache.get("a").await,
        Some(second),
        "{name}: the last counts"
    );
    cache.put("b", entry("", 30)).await;
    assert_eq!(
        cache.get("b").await,
        Some(entry("", 30)),
        "{name}: empty is a value"
    );

    cache.put("late", entry("late", 0)).await;
    assert_eq!(cache.get("late").await, None, "{name}: born expired");
    clock.advance(30);
    assert_eq!(cache.get("b").await, None, "{name}: expired");
    assert!(cache.get("a").await.is_some(), "{name}: not yet");
    cache.forget("a").await;
    cache.forget("never there").await;
    assert_eq!(cache.get("a").await, None, "{name}: forgotten");
    assert_eq!(cache.get_newest("a").await, None, "{name}: forgotten");
}

#[tokio::test]
async fn every_cache_keeps_the_same_promises() {
    let clock = TestClock::new();
    conforms("memory", &Memory::new(ambient(&clock)), &clock).await;
    let redis = redis_cache(&state_key(), &clock).await;
    conforms("redis", &redis, &clock).await;
    let far = Arc::new(redis_cache(&state_key(), &clock).await);
    let layered = Layered::new(Memory::new(ambient(&clock)), far);
    conforms("layered", &layered, &clock).await;
}

#[tokio::test]
async fn memory_is_bounded_and_keeps_what_expires_last() {
    let clock = TestClock::new();
    let memory = Memory::new(ambient(&clock));
    let entry = |seconds| Entry {
        value: vec![0; 1 << 20],
        until: ambient(&clock).now() + TimeDelta::seconds(seconds),
    };
    for n in 0..64 {
        memory.put(&n.to_string(), entry(100 + n)).await;
    }
    let mut kept = 0;
    for n in 0..64 {
        kept += usize::from(memory.get(&n.to_string()).await.is_some());
    }
    assert!((8..=16).contains(&kept), "{kept} MiB");
    assert!(memory.get("63").await.is_some());
    assert!(memory.get("0").await.is_none());
}

#[tokio::test]
async fn hardening_32_an_entry_counts_only_unchanged_under_its_name_its_key_and_in_its_time() {
    let (clock, key) = (TestClock::new(), state_key());
    let proofs = Proofs::new(&key);
    let cache = redis_cache(&key, &clock).await;
    let mut redis = raw().await;
    let entry = Entry {
        value: b"{\"keys\":[]}".to_vec(),
        until: ambient(&clock).now() + TimeDelta::seconds(60),
    };
    let place = |name: &str| proofs.name("cache", name);
    cache.put("jwks:a", entry.clone()).await;
    let sealed: Vec<u8> = redis.get(place("jwks:a")).await.expect("it lies there");
    assert_eq!(cache.get("jwks:a").await, Some(entry.clone()));

    // Under another name.
    redis
        .set::<_, _, ()>(place("jwks:b"), &sealed)
        .await
        .expect("planted");
    assert_eq!(cache.get("jwks:b").await, None);
    // With any byte changed, cut short, or as no broker writes it.
    for index in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[index] ^= 1;
        redis
            .set::<_, _, ()>(place("jwks:a"), changed)
            .await
            .expect("planted");
        assert_eq!(cache.get("jwks:a").await, None, "byte {index}");
    }
    for planted in [&sealed[..sealed.len() - 1], &entry.value, b"", b"\x01"] {
        redis
            .set::<_, _, ()>(place("jwks:a"), planted)
            .await
            .expect("planted");
        assert_eq!(cache.get("jwks:a").await, None);
    }
    // Sealed by another deployment.
    let foreign = Proofs::new(&state_key()).seal_entry("jwks:a", &entry);
    redis
        .set::<_, _, ()>(place("jwks:a"), foreign)
        .await
        .expect("planted");
    assert_eq!(cache.get("jwks:a").await, None);
    // Of another type.
    redis.del::<_, ()>(place("jwks:a")).await.expect("gone");
    redis
        .rpush::<_, _, ()>(place("jwks:a"), 1)
        .await
        .expect("planted");
    assert_eq!(cache.get("jwks:a").await, None);
    // The true one, kept by Redis beyond its time.
    redis
        .set::<_, _, ()>(place("jwks:a"), &sealed)
        .await
        .expect("planted");
    assert_eq!(cache.get("jwks:a").await, Some(entry));
    clock.advance(60);
    assert_eq!(cache.get("jwks:a").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardening_32_a_planted_token_endpoint_gets_no_secret() {
    let key = state_key();
    let settings = [
        ("REDIS_URL", redis_url()),
        ("STATE_KEY", STANDARD.encode(key)),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let world = World::start_empty(Db::Sqlite, &settings).await;
    let trap = Trap::set().await;
    let issuer = world.simulator.url();
    let planted = |url: &str| -> Value {
        json!({ "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": url, "jwks_uri": url, "revocation_endpoint": url })
    };
    let trapped = planted(&format!("http://127.0.0.1:{}/token", trap.port));
    let now = ambient(&world.clock).now();
    let until = now + TimeDelta::hours(1);
    let document = json!({ "body": trapped.to_string(), "fetched_at": now, "fresh_until": until });
    let entry = Entry {
        value: document.to_string().into_bytes(),
        until,
    };
    let ours = Proofs::new(&key);
    let name = format!("discovery:{issuer}");
    let mut redis = raw().await;
    for forged in [
        document.to_string().into_bytes(),
        Proofs::new(&state_key()).seal_entry(&name, &entry),
        ours.seal_entry("discovery:https://another.example.com", &entry),
    ] {
        let place = ours.name("cache", &name);
        redis.set::<_, _, ()>(place, forged).await.expect("planted");
        world
            .core
            .discovery
            .metadata(&issuer)
            .await
            .expect("the true document");
    }
    world.create_provider("sim", json!({})).await;
    let begun = world.request_connection("ada").await;
    world.consent(&begun).await;
    let id = begun["connection_id"].as_str().expect("an id");
    assert_eq!(world.check(id).await["status"], "ACTIVE");
    assert_eq!(trap.calls(), 0);
    assert!(begun["auth_url"].as_str().is_some() && !RETURN_URL.is_empty());

    // The same entry, had this deployment sealed it, would be believed: so the
    // seal is what keeps the others out.
    let place = ours.name("cache", &name);
    redis
        .set::<_, _, ()>(place, ours.seal_entry(&name, &entry))
        .await
        .expect("planted");
    let other = world.join().await;
    let metadata = other
        .core
        .discovery
        .metadata(&issuer)
        .await
        .expect("a document");
    assert!(metadata.token_endpoint.as_ref().expect("one").port() == Some(trap.port));
    other.stop().await;
}
