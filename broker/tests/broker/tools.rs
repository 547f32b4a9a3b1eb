//! The programs that people have: grpcurl and buf without a `.proto` file, and
//! curl with nothing but HTTP.

use std::{collections::BTreeSet, process::Command};

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN_KEY, Db, RETURN_URL, SERVICE_KEY, World, query};

/// What a program printed, and whether it succeeded.
#[derive(Debug)]
struct Printed {
    success: bool,
    out: String,
    err: String,
}

impl Printed {
    #[track_caller]
    fn json(&self) -> Value {
        assert!(self.success, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    #[track_caller]
    fn lines(&self) -> BTreeSet<String> {
        assert!(self.success, "{self:?}");
        self.out.lines().map(str::to_owned).collect()
    }
}

/// Runs the program that `variable` names.
async fn run(variable: &str, arguments: &[&str]) -> Printed {
    let program = std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} names no program; `cargo xtask test` sets it up"));
    let mut command = Command::new(program);
    command.args(arguments);
    for proxy in [
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(proxy);
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("no panic").unwrap_or_else(|error| {
        panic!("{variable} does not run ({error}); `cargo xtask test` sets it up")
    });
    Printed {
        success: output.status.success(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn authority(url: &str) -> &str {
    url.trim_start_matches("http://")
}

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}")
}

/// One method of each service of the gateway, with a request and a field of
/// its answer.
fn a_call_of_each(id: &str) -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "dromos.v1.ConnectionService/CheckConnection",
            json!({ "connection_id": id }),
            "status",
        ),
        (
            "dromos.v1.ConnectionService/GetToken",
            json!({ "connection_id": id }),
            "credentials",
        ),
        (
            "dromos.v1.ProviderService/GetProvider",
            json!({ "name": "sim" }),
            "redirectUri",
        ),
        ("dromos.v1.AccessService/ListApiKeys", json!({}), "apiKeys"),
        (
            "dromos.v1.AuditService/ListAuditEvents",
            json!({ "page_size": 1 }),
            "auditEvents",
        ),
        (
            "dromos.v1.WorkspaceService/ListWorkspaces",
            json!({}),
            "workspaces",
        ),
        (
            "dromos.v1.WebhookService/CreateWebhook",
            json!({ "webhook": { "url": "http://127.0.0.1:9/hook" } }),
            "secret",
        ),
        ("dromos.v1.KeyService/ListKeys", json!({}), "dataKeys"),
    ]
}

/// The services of `calls` are exactly those of ours that are listed.
fn covers(calls: &[(&str, Value, &str)], listed: &BTreeSet<String>) {
    let called: BTreeSet<&str> = calls
        .iter()
        .filter_map(|call| call.0.split('/').next())
        .collect();
    let ours: BTreeSet<&str> = listed
        .iter()
        .map(String::as_str)
        .filter(|service| service.starts_with("dromos."))
        .collect();
    assert_eq!(called, ours);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcurl_needs_no_proto_files() {
    const GRPCURL: &str = "TEST_GRPCURL";
    let world = World::start(Db::Sqlite).await;
    let id = world.connect("ada").await;
    let gateway = authority(&world.gateway_url);
    let broker = authority(&world.broker_url);

    let listed = run(GRPCURL, &["-plaintext", gateway, "list"]).await.lines();
    let calls = a_call_of_each(&id);
    covers(&calls, &listed);
    for every in [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(listed.contains(every), "{listed:?}");
    }
    let at_broker = run(GRPCURL, &["-plaintext", broker, "list"]).await.lines();
    assert!(
        at_broker.contains("dromos.broker.v1.ConnectionService"),
        "{at_broker:?}"
    );
    assert!(!at_broker.contains("dromos.v1.ConnectionService"));
    assert!(!listed.contains("dromos.broker.v1.ConnectionService"));

    for service in &listed {
        let described = run(GRPCURL, &["-plaintext", gateway, "describe", service]).await;
        assert!(
            described.success && described.out.contains("rpc "),
            "{described:?}"
        );
    }
    let message = [
        "-plaintext",
        gateway,
        "describe",
        "dromos.v1.CredentialPayload",
    ];
    let described = run(GRPCURL, &message).await;
    assert!(
        described
            .out
            .contains(".google.protobuf.Struct credentials = 2"),
        "{described:?}"
    );

    let key = bearer(ADMIN_KEY);
    for (method, request, field) in &calls {
        let request = request.to_string();
        let arguments = ["-plaintext", "-H", &key, "-d", &request, gateway, method];
        let answer = run(GRPCURL, &arguments).await.json();
        assert!(!answer[field].is_null(), "{method}: {answer}");

        let refused = run(GRPCURL, &["-plaintext", "-d", &request, gateway, method]).await;
        assert!(
            !refused.success && refused.err.contains("Unauthenticated"),
            "{refused:?}"
        );
        // The details are in what reflection describes, so they are shown.
        assert!(refused.err.contains("UNAUTHENTICATED"), "{refused:?}");
    }
    let health = ["-plaintext", gateway, "grpc.health.v1.Health/Check"];
    assert_eq!(run(GRPCURL, &health).await.json()["status"], "SERVING");

    let request = json!({ "connection_id": id }).to_string();
    let (service_key, own_key) = (bearer(SERVICE_KEY), format!("x-dromos-key: {ADMIN_KEY}"));
    let method = "dromos.broker.v1.ConnectionService/GetToken";
    let arguments = [
        "-plaintext",
        "-H",
        &service_key,
        "-H",
        &own_key,
        "-d",
        &request,
        broker,
        method,
    ];
    let answer = run(GRPCURL, &arguments).await.json();
    assert!(answer["credentials"]["access_token"].is_string());
    let arguments = ["-plaintext", "-H", &own_key, "-d", &request, broker, method];
    assert!(
        !run(GRPCURL, &arguments).await.success,
        "without a service key"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buf_curl_speaks_grpc_and_grpc_web_to_the_gateway() {
    const BUF: &str = "TEST_BUF";
    let world = World::start(Db::Sqlite).await;
    let id = world.connect("ada").await;
    let (gateway, key) = (world.gateway_url.as_str(), bearer(ADMIN_KEY));
    let calls = a_call_of_each(&id);
    for protocol in ["grpc", "grpcweb"] {
        let common = ["curl", "--protocol", protocol, "--http2-prior-knowledge"];
        let list = [&common[..], &["--list-services", gateway]].concat();
        let listed = run(BUF, &list).await.lines();
        covers(&calls, &listed);
        for (method, request, field) in &calls {
            let (url, request) = (format!("{gateway}/{method}"), request.to_string());
            let with_key = [&common[..], &["-H", &key, "-d", &request, &url]].concat();
            let answer = run(BUF, &with_key).await.json();
            assert!(!answer[field].is_null(), "{protocol} {method}: {answer}");
        }
        let url = format!("{gateway}/dromos.v1.ProviderService/ListProviders");
        let without = run(BUF, &[&common[..], &["-d", "{}", &url]].concat()).await;
        assert!(
            !without.success && without.err.contains("unauthenticated"),
            "{without:?}"
        );
    }
}

/// curl, with a cookie jar, as an application and its user's browser would
/// take a connection through its whole life.
struct Curl<'a> {
    world: &'a World,
    jar: String,
}

impl Curl<'_> {
    /// The HTTP status, where it redirects to, and the body.
    async fn send(&self, arguments: &[&str]) -> (u16, String, String) {
        let common = [
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--cookie",
            &self.jar,
            "--cookie-jar",
            &self.jar,
            "--write-out",
            "\n%{http_code} %{redirect_url}",
        ];
        let printed = run("TEST_CURL", &[&common[..], arguments].concat()).await;
        assert!(printed.success, "{printed:?}");
        let (body, last) = printed.out.rsplit_once('\n').expect("a last line");
        let (status, next) = last.split_once(' ').expect("a status");
        (
            status.parse().expect("a number"),
            next.to_owned(),
            body.to_owned(),
        )
    }

    async fn api(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let (url, key) = (
            format!("{}{path}", self.world.gateway_url),
            bearer(ADMIN_KEY),
        );
        let body = body.to_string();
        let mut arguments = vec!["--request", method.as_str(), "--header", &key];
        if method != Method::GET {
            arguments.extend(["--json", &body]);
        }
        arguments.push(&url);
        let (status, _, body) = self.send(&arguments).await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    /// From `auth_url` by redirects to the consent page, through its form, and
    /// by redirects on to where nothing listens any more.
    async fn consent(&self, auth_url: &str) -> url::Url {
        let (mut status, mut next, mut body) = self.send(&[auth_url]).await;
        let mut at = auth_url.to_owned();
        while status == 302 {
            at = next;
            (status, next, body) = self.send(&[&at]).await;
        }
        assert_eq!(status, 200, "the consent page: {body}");
        let attribute = |before: &str| {
            let (_, rest) = body.split_once(before).expect("a form");
            rest.split('"').next().expect("a value").to_owned()
        };
        let action = attribute("action=\"");
        let action = url::Url::parse(&at)
            .expect("a URL")
            .join(&action)
            .expect("a URL");
        let request = format!("request={}", attribute("name=\"request\" value=\""));
        let form = [
            "--data-urlencode",
            &request,
            "--data",
            "decision=approve",
            action.as_str(),
        ];
        (status, next, _) = self.send(&form).await;
        while !next.starts_with(RETURN_URL) {
            assert!(matches!(status, 302 | 303), "{status} at {next}");
            (status, next, _) = self.send(&[&next.clone()]).await;
        }
        url::Url::parse(&next).expect("a URL")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_takes_a_connection_through_its_whole_life() {
    let world = World::start_empty(Db::Sqlite, &[]).await;
    let jar = world.data_dir.path().join("cookies").display().to_string();
    let curl = Curl { world: &world, jar };

    let provider = json!({
        "name": "acme",
        "oauth2": {
            "issuer": world.simulator.url(),
            "client_id": world.simulator.client_id(),
            "client_secret": world.simulator.client_secret(),
            "scopes": ["openid", "offline_access"],
        },
        "strategy": { "type": "oauth2" },
    });
    let (status, provider) = curl.api(Method::POST, "/v1/providers", provider).await;
    assert_eq!(status, 200, "{provider}");
    let redirect_uri = provider["redirect_uri"].as_str().expect("a redirect_uri");
    world.simulator.allow_redirect_uri(redirect_uri);

    let wanted = json!({ "user_id": "ada", "provider_name": "acme", "return_url": RETURN_URL });
    let (status, begun) = curl
        .api(Method::POST, "/v1/request-connection", wanted)
        .await;
    assert_eq!(status, 200, "{begun}");
    let id = begun["connection_id"].as_str().expect("an id");
    let end = curl
        .consent(begun["auth_url"].as_str().expect("an auth_url"))
        .await;
    assert_eq!(query(&end, "status").as_deref(), Some("success"), "{end}");
    assert_eq!(query(&end, "connection_id").as_deref(), Some(id));

    let path = format!("/v1/token/{id}");
    let (status, first) = curl.api(Method::GET, &path, Value::Null).await;
    assert_eq!((status, &first["generation"]), (200, &1.into()), "{first}");
    let access_token = first["credentials"]["access_token"]
        .as_str()
        .expect("a token");
    let userinfo = format!("{}/userinfo", world.simulator.url());
    let (status, _, body) = curl
        .send(&["--header", &bearer(access_token), &userinfo])
        .await;
    assert_eq!(status, 200, "the token works: {body}");

    let refresh = format!("/v1/refresh/{id}");
    let (status, second) = curl.api(Method::POST, &refresh, json!({})).await;
    assert_eq!(
        (status, &second["generation"]),
        (200, &2.into()),
        "{second}"
    );
    let revoke = format!("/v1/connections/{id}:revoke");
    let (status, revoked) = curl.api(Method::POST, &revoke, json!({})).await;
    assert_eq!((status, &revoked["status"]), (200, &"REVOKED".into()));
    let (status, error) = curl.api(Method::GET, &path, Value::Null).await;
    assert_eq!(
        (status, crate::world::reason(&error)),
        (403, "CONNECTION_REVOKED")
    );
}
