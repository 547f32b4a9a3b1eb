//! A whole life of everything, with every secret known: none of them is found
//! in a log, a trace, a metric, an error, the audit, Redis or a file.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use aho_corasick::AhoCorasick;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use dromos_simulator::{
    Behaviour, Endpoint, Failure, Simulator,
    browser::{self, Browser},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    collector::Collector,
    support::{Place, UP, Up},
};

const RETURN_URL: &str = "http://localhost:3000/connected";
/// Made up; they are no key of anybody.
const WRONG_KEY: &str = "marker-of-a-mistyped-key-0123456789";
const IN_A_BODY: &str = "marker-in-a-malformed-body";
const WORDS: &str = "marker words of the provider, and a token_0123456789";
/// Where `dromos up` keeps its keys, and nothing else may.
const KEY_FILES: [&str; 4] = ["admin.key", "service.key", "state.key", "encryption.key"];
/// What a search must find, or it finds nothing.
const KNOWN_USER: &str = "marker-user-that-is-no-secret";

/// A secret as it could be written: plain, percent-encoded, in hex, in base64
/// at any offset, and all of these once more in hex.
fn spellings(secret: &str) -> Vec<String> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let mut all = vec![secret.to_owned(), percent.to_lowercase(), percent, form];
    for padding in 0..3_usize {
        let padded = [&[0; 2][..padding], secret.as_bytes()].concat();
        for text in [
            STANDARD_NO_PAD.encode(&padded),
            URL_SAFE_NO_PAD.encode(&padded),
        ] {
            // Without what the neighbours' bits would change.
            all.push(text[(padding * 8).div_ceil(6)..text.len() - 1].to_owned());
        }
    }
    for index in 0..all.len() {
        let encoded = hex(all[index].as_bytes());
        all.extend([encoded.to_uppercase(), encoded]);
    }
    all
}

/// What was met on the way: secrets, and everything that may be read by others.
struct Life {
    http: reqwest::Client,
    gateway: String,
    key: String,
    secrets: Vec<(String, String)>,
    readable: Vec<(String, Vec<u8>)>,
}

impl Life {
    fn met(&mut self, what: &str, secret: &str) {
        assert!(secret.len() >= 16, "{what} is too short to search for");
        self.secrets.push((what.to_owned(), secret.to_owned()));
    }

    async fn send(
        &mut self,
        key: &str,
        method: Method,
        path: &str,
        body: String,
    ) -> (StatusCode, String) {
        let request = self
            .http
            .request(method, format!("{}{path}", self.gateway))
            .bearer_auth(key);
        let request = match body.is_empty() {
            true => request,
            false => request
                .header("content-type", "application/json")
                .body(body),
        };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        if !status.is_success() {
            self.readable
                .push((format!("the error of {path}"), text.clone().into()));
        }
        (status, text)
    }

    async fn good(&mut self, method: Method, path: &str, body: Value) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let key = self.key.clone();
        let (status, text) = self.send(&key, method, path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn bad(&mut self, key: &str, method: Method, path: &str, body: &str) {
        let (status, text) = self.send(key, method, path, body.to_owned()).await;
        assert!(!status.is_success(), "{path}: {text}");
    }

    /// A consent from its beginning to the user's return.
    async fn consent(&mut self, begun: &Value) {
        let auth_url = begun["auth_url"].as_str().unwrap();
        self.met("a state", begun["state"].as_str().unwrap());
        self.met("a handle", auth_url.rsplit('/').next().unwrap());
        let mut browser = Browser::new();
        let _ = browser
            .walk(auth_url, RETURN_URL, browser::approve)
            .await
            .unwrap();
    }

    async fn token(&mut self, id: &str) {
        let token = self
            .good(Method::GET, &format!("/v1/token/{id}"), Value::Null)
            .await;
        for name in ["access_token", "id_token"] {
            self.met(name, token["credentials"][name].as_str().unwrap());
        }
    }

    /// Everything that happens to a connection, good and bad.
    async fn live(&mut self, simulator: &Simulator) {
        self.met("the client secret", simulator.client_secret());
        let provider = json!({
            "name": "acme", "display_name": "Acme",
            "oauth2": {
                "issuer": simulator.url(), "client_id": simulator.client_id(),
                "client_secret": simulator.client_secret(), "scopes": ["openid", "offline_access"] },
            "strategy": { "type": "oauth2" } });
        let provider = self.good(Method::POST, "/v1/providers", provider).await;
        simulator.allow_redirect_uri(provider["redirect_uri"].as_str().unwrap());
        let created = json!({ "name": "one", "scopes": ["connections:read"] });
        let created = self.good(Method::POST, "/v1/api-keys", created).await;
        self.met("an API key", created["secret"].as_str().unwrap());

        let wanted =
            json!({ "user_id": KNOWN_USER, "provider_name": "acme", "return_url": RETURN_URL });
        let begun = self
            .good(Method::POST, "/v1/request-connection", wanted.clone())
            .await;
        self.consent(&begun).await;
        let id = begun["connection_id"].as_str().unwrap().to_owned();
        let refresh = format!("/v1/refresh/{id}");
        for _ in 0..2 {
            self.token(&id).await;
            self.good(Method::POST, &refresh, json!({})).await;
        }
        let again = json!({ "return_url": RETURN_URL });
        let again = self
            .good(
                Method::POST,
                &format!("/v1/connections/{id}:reconnect"),
                again,
            )
            .await;
        self.consent(&again).await;
        self.token(&id).await;

        let key = self.key.clone();
        simulator.fail_next(Endpoint::Token, 1, Failure::error(400, WORDS));
        self.bad(&key, Method::POST, &refresh, "{}").await;
        simulator.fail_next(Endpoint::Token, 1, Failure::Cut);
        self.bad(&key, Method::POST, &refresh, "{}").await;
        self.bad(WRONG_KEY, Method::GET, &format!("/v1/token/{id}"), "")
            .await;
        for malformed in [
            format!("{{\"user_id\": \"{IN_A_BODY}"),
            format!("{{\"return_url\": \"javascript:{IN_A_BODY}\"}}"),
        ] {
            self.bad(&key, Method::POST, "/v1/request-connection", &malformed)
                .await;
        }
        simulator.fail_next(Endpoint::Revocation, 1, Failure::error(503, WORDS));
        self.good(
            Method::POST,
            &format!("/v1/connections/{id}:revoke"),
            json!({}),
        )
        .await;
        self.bad(&key, Method::GET, &format!("/v1/token/{id}"), "")
            .await;

        // One stays open, one stays in use.
        let open = self
            .good(Method::POST, "/v1/request-connection", wanted.clone())
            .await;
        self.met("an open state", open["state"].as_str().unwrap());
        let kept = self
            .good(Method::POST, "/v1/request-connection", wanted)
            .await;
        self.consent(&kept).await;
        self.token(kept["connection_id"].as_str().unwrap()).await;
    }

    async fn look_at(&mut self, up: &Up) {
        for path in [
            "/v1/audit?page_size=1000",
            "/v1/connections",
            "/v1/providers",
            "/v1/api-keys",
        ] {
            let answer = self.good(Method::GET, path, Value::Null).await;
            self.readable
                .push((path.to_owned(), answer.to_string().into()));
        }
        for (name, url) in [
            ("gateway", self.gateway.clone()),
            ("broker", up.address("Broker, internal")),
        ] {
            let metrics = self
                .http
                .get(format!("{url}/metrics"))
                .send()
                .await
                .unwrap();
            assert_eq!(metrics.status(), StatusCode::OK);
            let metrics = metrics.text().await.unwrap();
            self.readable
                .push((format!("the metrics of the {name}"), metrics.into()));
        }
    }

    fn look_into(&mut self, folder: &Path, keys: &[&str]) {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                self.look_into(&path, keys);
            } else if !keys.contains(&name.as_str()) {
                let bytes = std::fs::read(&path).unwrap();
                self.readable.push((format!("the file {name}"), bytes));
            }
        }
    }

    /// Every key of Redis and what it holds.
    fn look_at_redis(&mut self, url: &str) {
        let cli = |arguments: &[&str]| {
            let ran = Command::new("redis-cli")
                .args(["-u", url, "--no-auth-warning"])
                .args(arguments)
                .output();
            let ran = ran.expect("redis-cli comes with Redis: run `cargo xtask setup`");
            assert!(ran.status.success());
            ran.stdout
        };
        let keys = String::from_utf8(cli(&["--scan"])).unwrap();
        assert!(!keys.is_empty(), "nothing was kept in Redis");
        for key in keys.lines() {
            self.readable.push((
                format!("Redis' {key}"),
                [key.as_bytes(), &cli(&["--raw", "get", key])].concat(),
            ));
        }
    }

    fn look_at_postgres(&mut self, url: &str) {
        let ran = Command::new("pg_dump").args(["--inserts", url]).output();
        let ran = ran.expect("pg_dump comes with PostgreSQL: run `cargo xtask setup`");
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        self.readable.push(("the database".to_owned(), ran.stdout));
    }

    /// Searches everything for everything; what was found, where.
    fn hits(&self) -> Vec<String> {
        let mut names = vec![];
        let mut patterns = vec![];
        for (what, secret) in &self.secrets {
            for spelling in spellings(secret) {
                names.push(what);
                patterns.push(spelling);
            }
        }
        let search = AhoCorasick::new(&patterns).unwrap();
        let mut hits: Vec<String> = vec![];
        let mut bytes = 0;
        for (place, content) in &self.readable {
            bytes += content.len();
            for found in search.find_iter(content) {
                let from = found.start().saturating_sub(120);
                let around = &content[from..(found.end() + 40).min(content.len())];
                let what = names[found.pattern().as_usize()];
                hits.push(format!(
                    "{what} in {place}: {}",
                    String::from_utf8_lossy(around)
                ));
            }
        }
        println!(
            "{} secrets in {} spellings, {} places with {bytes} bytes: {} hits",
            self.secrets.len(),
            patterns.len(),
            self.readable.len(),
            hits.len()
        );
        hits
    }
}

/// A life with all that may be attached, and the search.
async fn nothing_leaks(database: Option<&str>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redis = std::env::var("TEST_REDIS_URL")
        .expect("TEST_REDIS_URL names a Redis server; `cargo xtask test` starts one and sets it");
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let place = Place::new();
    let log = place.path().join("up.log");
    let mut command = place.command(&UP);
    command
        .args(["--redis-url", &redis])
        .args(database.iter().flat_map(|url| ["--database-url", url]))
        .env("RUST_LOG", "trace")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap());
    let up = place.up_by(command);
    let simulator = Simulator::start(Behaviour::default()).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's own client")]
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut life = Life {
        http,
        gateway: up.gateway(),
        key: place.key(),
        secrets: vec![],
        readable: vec![("the greeting".to_owned(), up.greeting.clone().into())],
    };
    for (what, secret) in [
        ("a wrong key", WRONG_KEY.to_owned()),
        ("a malformed body", IN_A_BODY.to_owned()),
        ("a provider's words", WORDS.to_owned()),
    ] {
        life.met(what, &secret);
    }
    for file in KEY_FILES {
        let key = std::fs::read_to_string(place.data(file)).unwrap();
        life.met(file, key.trim());
    }
    life.live(&simulator).await;
    for secret in simulator.secrets() {
        life.met("what the provider issued", &secret);
    }
    life.look_at(&up).await;
    life.look_at_redis(&redis);
    if let Some(url) = database {
        life.look_at_postgres(url);
    }
    let stopped = tokio::task::spawn_blocking(|| up.terminate())
        .await
        .unwrap();
    assert_eq!(stopped.code(), Some(0));
    life.look_into(&place.data(""), &KEY_FILES);
    life.readable
        .push(("the log".to_owned(), std::fs::read(&log).unwrap()));
    for body in collector.bodies() {
        life.readable.push(("a trace".to_owned(), body.to_vec()));
    }

    // The search finds what is there, in its places.
    let everywhere: Vec<u8> = life
        .readable
        .iter()
        .flat_map(|place| place.1.clone())
        .collect();
    let everywhere = String::from_utf8_lossy(&everywhere);
    assert!(everywhere.contains(KNOWN_USER));
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("TRACE") && log.contains("GetToken"), "{log}");
    assert!(!collector.bodies().is_empty(), "nothing was traced");
    let hits = life.hits();
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

#[test]
fn the_search_knows_every_spelling() {
    let secret = "marker-secret/+?=0123456789";
    #[expect(clippy::disallowed_methods, reason = "it is never used")]
    let life = |content: String| Life {
        http: reqwest::Client::new(),
        gateway: String::new(),
        key: String::new(),
        secrets: vec![("it".to_owned(), secret.to_owned())],
        readable: vec![("here".to_owned(), content.into())],
    };
    for around in ["", "x", "xy"] {
        let text = format!("{around}{secret} and more");
        let encoded = STANDARD_NO_PAD.encode(&text);
        let hex: String = encoded.bytes().map(|byte| format!("{byte:02x}")).collect();
        let percent: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        for found in [text, encoded, hex.to_uppercase(), percent] {
            assert_eq!(life(found.clone()).hits().len(), 1, "{found}");
        }
    }
    assert!(life("marker-secret".to_owned()).hits().is_empty());
}
