//! A request as a collector of traces sees it, from the agent to the provider.

use dromos_simulator::{
    Behaviour, Simulator,
    browser::{Browser, approve},
};
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value as Attribute},
    trace::v1::{Span, span::SpanKind},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{collector::Collector, support::Place};

const RETURN_URL: &str = "http://localhost:3000/connected";
/// What an agent of ours would send: its own trace and span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const AGENT: &str = "b7ad6b7169203331";
/// Made up; it must not be in a trace.
const IN_A_QUERY: &str = "marker-in-a-query";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = |attribute: &&KeyValue| attribute.key == name;
    let attribute = span.attributes.iter().find(found)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Attribute::StringValue(text) => Some(text.clone()),
        Attribute::IntValue(number) => Some(number.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

/// The one span of this kind and name below `parent`.
fn child<'a>(spans: &'a [Span], parent: &str, kind: SpanKind, name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| {
        hex(&span.parent_span_id) == parent && span.kind() == kind && span.name == name
    });
    let span = found.next();
    let all = || -> Vec<String> {
        let line = |span: &Span| {
            format!(
                "{} {:?} below {}",
                span.name,
                span.kind(),
                hex(&span.parent_span_id)
            )
        };
        spans.iter().map(line).collect()
    };
    let span = span.unwrap_or_else(|| panic!("no {kind:?} {name} below {parent}: {:#?}", all()));
    assert!(found.next().is_none(), "two {name} below {parent}");
    span
}

struct Agent {
    http: reqwest::Client,
    gateway: String,
    key: String,
}

impl Agent {
    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.gateway))
            .bearer_auth(&self.key)
            .header("traceparent", format!("00-{TRACE}-{AGENT}-01"));
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "a test's own client")]
async fn a_trace_leads_from_the_agent_to_the_provider_and_holds_no_secret() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let place = Place::new();
    let up = place.up_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    let simulator = Simulator::start(Behaviour::default()).await.unwrap();
    let agent = Agent {
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        gateway: up.gateway(),
        key: place.key(),
    };
    let provider = json!({
        "name": "acme", "display_name": "Acme",
        "oauth2": {
            "issuer": simulator.url(), "client_id": simulator.client_id(),
            "client_secret": simulator.client_secret(), "scopes": ["openid", "offline_access"] },
        "strategy": { "type": "oauth2" } });
    let provider = agent.call(Method::POST, "/v1/providers", provider).await;
    simulator.allow_redirect_uri(provider["redirect_uri"].as_str().unwrap());
    let wanted = json!({ "user_id": "ada", "provider_name": "acme", "return_url": RETURN_URL });
    let begun = agent
        .call(Method::POST, "/v1/request-connection", wanted)
        .await;
    let auth_url = begun["auth_url"].as_str().unwrap();
    Browser::new()
        .walk(auth_url, RETURN_URL, approve)
        .await
        .unwrap();
    let id = begun["connection_id"].as_str().unwrap();
    let token = agent
        .call(Method::GET, &format!("/v1/token/{id}"), Value::Null)
        .await;
    let list = format!("/v1/connections?user_id={IN_A_QUERY}");
    agent.call(Method::GET, &list, Value::Null).await;
    let refresh = format!("/v1/refresh/{id}");
    let refreshed = agent.call(Method::POST, &refresh, json!({})).await;
    // What was not sent yet is sent at the end.
    assert_eq!(
        tokio::task::spawn_blocking(|| up.terminate())
            .await
            .unwrap()
            .code(),
        Some(0)
    );

    let all = collector.spans();
    let ours: Vec<Span> = all
        .iter()
        .filter(|span| hex(&span.trace_id) == TRACE)
        .cloned()
        .collect();
    let (public, internal) = (
        "dromos.v1.ConnectionService/RefreshConnection",
        "dromos.broker.v1.ConnectionService/RefreshConnection",
    );
    let gateway = child(&ours, AGENT, SpanKind::Server, public);
    assert_eq!(attribute(gateway, "rpc.system").as_deref(), Some("grpc"));
    assert_eq!(
        attribute(gateway, "rpc.method").as_deref(),
        Some("RefreshConnection")
    );
    assert_eq!(
        attribute(gateway, "rpc.grpc.status_code").as_deref(),
        Some("0")
    );
    assert_eq!(
        attribute(gateway, "dromos.transport").as_deref(),
        Some("rest")
    );
    let call = child(&ours, &hex(&gateway.span_id), SpanKind::Client, internal);
    assert_eq!(
        attribute(call, "rpc.grpc.status_code").as_deref(),
        Some("0")
    );
    let broker = child(&ours, &hex(&call.span_id), SpanKind::Server, internal);
    let exchange = child(&ours, &hex(&broker.span_id), SpanKind::Client, "POST");
    assert_eq!(
        attribute(exchange, "server.address").as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(
        attribute(exchange, "http.response.status_code").as_deref(),
        Some("200")
    );
    assert!(exchange.start_time_unix_nano >= broker.start_time_unix_nano);
    assert!(exchange.end_time_unix_nano <= broker.end_time_unix_nano);

    // The user's browser has no trace of its own: the callback begins one.
    let callback = "GET /auth/callback/{provider_id}";
    let callback = child(&all, "", SpanKind::Server, callback);
    child(&all, &hex(&callback.span_id), SpanKind::Client, "POST");

    let end = |url: &Value| url.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let secrets = [
        agent.key.clone(),
        simulator.client_secret().to_owned(),
        token["credentials"]["access_token"]
            .as_str()
            .unwrap()
            .to_owned(),
        refreshed["credentials"]["access_token"]
            .as_str()
            .unwrap()
            .to_owned(),
        begun["state"].as_str().unwrap().to_owned(),
        end(&begun["auth_url"]),
        IN_A_QUERY.to_owned(),
        id.to_owned(),
    ];
    for body in collector.bodies() {
        let body = String::from_utf8_lossy(&body).into_owned();
        for secret in &secrets {
            assert!(!body.contains(secret.as_str()), "{secret} is in a trace");
        }
    }
}
