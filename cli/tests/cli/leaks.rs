//! A whole life of everything, with every secret known: none of them is found
//! in a log, a trace, a metric, an error, the audit, a webhook's message, Redis
//! or a file.

use std::process::{Command, Stdio};

use dromos_simulator::{Behaviour, Simulator};

use crate::{
    collector::Collector,
    support::{Place, UP, Up},
};

/// Waits for a condition, with a generous bound.
macro_rules! eventually {
    ($what:literal, $condition:block) => {{
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(10));
        let waiting = async {
            loop {
                looks.tick().await;
                if $condition {
                    break;
                }
            }
        };
        let bound = std::time::Duration::from_secs(30);
        tokio::time::timeout(bound, waiting).await.expect($what);
    }};
}

mod flows;
mod journal;
mod keys;
mod life;
mod places;
mod search;
mod webhooks;

use life::Life;
use places::{look_at_postgres, look_at_redis, look_into};
use search::Search;

const RETURN_URL: &str = "http://localhost:3000/connected";
/// Made up; they are no key of anybody.
const WRONG_KEY: &str = "marker-of-a-mistyped-key-0123456789";
const WRONG_CODE: &str = "marker-of-a-mistyped-code-0123456789";
const IN_A_BODY: &str = "marker-in-a-malformed-body";
const IN_AN_ANSWER: &str = "marker-in-the-answer-of-a-webhook";
const WORDS: &str = "marker words of the provider, and a token_0123456789";
/// Where `dromos up` keeps its keys, and nothing else may.
const KEY_FILES: [&str; 4] = ["admin.key", "service.key", "state.key", "encryption.key"];
/// What a search must find, or it finds nothing.
const KNOWN_USER: &str = "marker-user-that-is-no-secret";

/// `dromos up` with all that may be attached; its log is in a file.
struct World {
    place: Place,
    redis: String,
    traces: String,
}

impl World {
    fn up(&self, database: Option<&str>, log: &str) -> Up {
        let mut command = self.place.command(&UP);
        let log = std::fs::File::create(self.place.path().join(log)).unwrap();
        command
            .args(["--redis-url", &self.redis])
            .args(database.iter().flat_map(|url| ["--database-url", url]))
            .env("RUST_LOG", "trace")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.traces)
            .stdout(Stdio::piped())
            .stderr(log);
        self.place.up_by(command)
    }
}

async fn terminate(up: Up) {
    let stopped = tokio::task::spawn_blocking(|| up.terminate()).await;
    assert_eq!(stopped.unwrap().code(), Some(0));
}

/// A life with all that may be attached, and the search.
async fn nothing_leaks(database: Option<&str>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redis = std::env::var("TEST_REDIS_URL")
        .expect("TEST_REDIS_URL names a Redis server; `cargo xtask test` starts one and sets it");
    let collector = Collector::default();
    let world = World {
        place: Place::new(),
        redis,
        traces: collector.start().await,
    };
    let place = &world.place;
    let up = world.up(database, "up.log");
    let simulator = Simulator::start(Behaviour::default()).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's own client")]
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut life = Life {
        http,
        gateway: up.gateway(),
        key: place.key(),
        search: Search::default(),
    };
    life.search.read("the greeting", up.greeting.clone());
    for (what, secret) in [
        ("a wrong key", WRONG_KEY),
        ("a wrong code", WRONG_CODE),
        ("a malformed body", IN_A_BODY),
        ("a webhook's answer", IN_AN_ANSWER),
        ("a provider's words", WORDS),
    ] {
        life.search.met(what, secret);
    }
    for file in KEY_FILES {
        let key = std::fs::read_to_string(place.data(file)).unwrap();
        life.search.met_key(file, &key);
    }

    let hooks = life.create_webhooks().await;
    let kept = life.live(&simulator).await;
    life.confirm().await;
    life.watch().await;
    life.deliver(&hooks).await;
    life.delete().await;
    life.rotate_data_keys(place);
    life.token(&kept).await;
    if let Some(url) = database {
        life.journal(place, url, &kept).await;
    }
    life.look_at(&up).await;
    look_at_redis(&mut life.search, &world.redis);
    terminate(up).await;

    // The key-encryption key changes between two lives.
    let keks = life.add_key_encryption_key(place);
    let up = world.up(database, "up-again.log");
    life.gateway = up.gateway();
    life.rotate_key_encryption_key(place);
    life.token(&kept).await;
    life.export_audit(place);
    life.look_at(&up).await;
    terminate(up).await;
    life.verify_audit(place, &keks, database);

    for secret in simulator.secrets() {
        life.search.met("what the provider issued", &secret);
    }
    life.look_at_deliveries(&hooks);
    if let Some(url) = database {
        look_at_postgres(&mut life.search, url);
    }
    look_into(&mut life.search, &place.data(""), &KEY_FILES);
    for log in ["up.log", "up-again.log"] {
        let logged = std::fs::read(place.path().join(log)).unwrap();
        life.search.read(format!("the log {log}"), logged);
    }
    for body in collector.bodies() {
        life.search.read("a trace", body.to_vec());
    }

    // The search finds what is there, in its places.
    for (place, text) in [
        ("the log up.log", "TRACE"),
        ("the log up.log", "GetToken"),
        ("the log up-again.log", "GetToken"),
        ("a trace", "GetToken"),
        ("the metrics of the broker", "webhook_attempts_total"),
        ("/v1/audit", "webhook.secret_rotated"),
        ("the audit's export", KNOWN_USER),
        ("the file audit-heads/", "row_mac"),
        ("a message to /good", KNOWN_USER),
        ("a message to /failing", KNOWN_USER),
        ("the deliveries", "webhook_id"),
        ("the error of /v1/connections", "confirmation_code"),
        ("a watch", "credential.refreshed"),
        match database {
            Some(_) => ("the database", KNOWN_USER),
            None => ("the file dromos.db", KNOWN_USER),
        },
    ] {
        life.search.assert_holds(place, text);
    }
    if database.is_some() {
        life.search.assert_holds("the file journal/", "");
    }
    let hits = life.search.hits();
    assert!(hits.is_empty(), "{hits:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_leaks_from_the_embedded_database() {
    nothing_leaks(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_leaks_from_postgresql() {
    let server = std::env::var("TEST_POSTGRES_URL").expect(
        "TEST_POSTGRES_URL names a PostgreSQL server; `cargo xtask test` starts one and sets it",
    );
    let name = format!("leaks_{}", std::process::id());
    let psql = |statement: &str| {
        let ran = Command::new("psql")
            .args(["-qc", statement, &server])
            .output();
        let ran = ran.expect("psql comes with PostgreSQL: run `cargo xtask setup`");
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    };
    psql(&format!("create database {name}"));
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    nothing_leaks(Some(url.as_str())).await;
    psql(&format!("drop database {name} with (force)"));
}
