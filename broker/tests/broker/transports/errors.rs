//! The contract's table of errors, row by row, on every transport.

use std::time::Duration;

use dromos_broker::domain::error::ErrorKind;
use dromos_gateway::{Config, Gateway};
use dromos_simulator::{
    Endpoint, Failure,
    browser::{Browser, deny},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::call::Call;
use super::table::{
    Row, check, create_provider, delete_provider, get, get_provider, nobody, refresh, request,
    token,
};
use crate::world::{RETURN_URL, SERVICE_KEY, World, both};

macro_rules! row {
    (
        $name:literal, $code:literal, $http:literal, $reason:literal,
        $(covers: $covers:ident,)?
        $(metadata: $metadata:expr,)? $(retry: $retry:literal,)? $(fields: $fields:expr,)?
        |$world:ident| $bring:expr
    ) => {
        Row {
            $(covers: Some(ErrorKind::$covers),)?
            $(metadata: &$metadata,)?
            $(retry: Some($retry),)?
            $(fields: &$fields,)?
            name: $name,
            code: $code,
            http: $http,
            reason: $reason,
            bring: |$world| Box::pin(async move { $bring }),
            ..NOTHING
        }
    };
}

const NOTHING: Row = Row {
    name: "",
    covers: None,
    code: 0,
    http: 0,
    reason: "",
    metadata: &[],
    retry: None,
    fields: &[],
    bring: |_| unreachable!("every row has its own"),
};

fn rows() -> Vec<Row> {
    let mut rows = refused_callers();
    rows.extend(not_found());
    rows.extend(statuses());
    rows.extend(failed_refreshes());
    rows.extend(resources());
    rows.push(too_many());
    rows.extend(faults());
    rows
}

fn refused_callers() -> Vec<Row> {
    vec![
        row!("no key", 16, 401, "UNAUTHENTICATED", covers: Unauthenticated,
            |_world| check(&nobody()).key(None)),
        row!("an unknown key", 16, 401, "UNAUTHENTICATED", covers: Unauthenticated,
            |_world| check(&nobody()).key(Some("nobody's-key-0123456789abcdef"))),
        row!("a deleted key", 16, 401, "UNAUTHENTICATED", covers: Unauthenticated,
        |world| {
            let id = world.connect("ada").await;
            let (key, secret) = api_key(world, json!({ "scopes": ["connections:read"] })).await;
            let path = format!("/v1/check-connection/{id}");
            let (before, _) = world.call_as(&secret, Method::GET, &path, Value::Null).await;
            assert_eq!(before, StatusCode::OK);
            let path = format!("/v1/api-keys/{key}");
            let (deleted, _) = world.call(Method::DELETE, &path, Value::Null).await;
            assert_eq!(deleted, StatusCode::OK);
            check(&id).key(Some(&secret))
        }),
        row!("a key without the scope", 7, 403, "SCOPE_MISSING", covers: ScopeMissing,
        metadata: [("scope", "credentials:read")],
        |world| {
            let id = world.connect("ada").await;
            token(&id).key(Some(&world.api_key(&["connections:read"]).await))
        }),
    ]
}

fn too_many() -> Row {
    row!("too many requests of one key", 8, 429, "RATE_LIMITED", covers: RateLimited, retry: 1,
    |world| {
        let limited = world.join_with(&[("RATE_LIMIT_PER_KEY", "1")]).await;
        let (first, _) = limited.call(Method::GET, "/v1/providers", Value::Null).await;
        assert_eq!(first, StatusCode::OK);
        let url = limited.gateway_url.clone();
        check(&nobody()).gateway(url).keep(limited)
    })
}

fn not_found() -> Vec<Row> {
    const KEY: &str = "dromos.v1.AccessService/GetApiKey";
    vec![
        row!("no such connection", 5, 404, "CONNECTION_NOT_FOUND", covers: ConnectionNotFound,
            |_world| token(&nobody())),
        row!("another workspace's connection", 5, 404, "CONNECTION_NOT_FOUND", covers: ConnectionNotFound,
        |world| {
            let id = world.connect("ada").await;
            token(&id).key(Some(&foreign_key(world).await))
        }),
        row!("another workspace's connection, refreshed", 5, 404, "CONNECTION_NOT_FOUND", covers: ConnectionNotFound,
        |world| {
            let id = world.connect("ada").await;
            refresh(&id).key(Some(&foreign_key(world).await))
        }),
        row!("no such provider", 5, 404, "PROVIDER_NOT_FOUND", covers: ProviderNotFound,
            |_world| get_provider("nobody")),
        row!("a connection to no such provider", 5, 404, "PROVIDER_NOT_FOUND", covers: ProviderNotFound,
        |_world| request(json!({
            "user_id": "ada", "provider_name": "nobody", "return_url": RETURN_URL,
        }))),
        row!("another workspace's provider", 5, 404, "PROVIDER_NOT_FOUND", covers: ProviderNotFound,
            |world| get_provider("sim").key(Some(&foreign_key(world).await))),
        row!("no such API key", 5, 404, "API_KEY_NOT_FOUND", covers: ApiKeyNotFound,
            |_world| get(KEY, "api_key_id", "/v1/api-keys", &nobody())),
        row!("another workspace's API key", 5, 404, "API_KEY_NOT_FOUND", covers: ApiKeyNotFound,
        |world| {
            let (id, _) = api_key(world, json!({ "scopes": ["connections:read"] })).await;
            get(KEY, "api_key_id", "/v1/api-keys", &id).key(Some(&foreign_key(world).await))
        }),
        row!("no such workspace", 5, 404, "WORKSPACE_NOT_FOUND", covers: WorkspaceNotFound,
            |_world| get("dromos.v1.WorkspaceService/GetWorkspace", "workspace_id", "/v1/workspaces", &nobody())),
        row!("no such webhook", 5, 404, "WEBHOOK_NOT_FOUND", covers: WebhookNotFound,
            |_world| get("dromos.v1.WebhookService/GetWebhook", "webhook_id", "/v1/webhooks", &nobody())),
        row!("no such delivery", 5, 404, "WEBHOOK_DELIVERY_NOT_FOUND", covers: WebhookDeliveryNotFound,
        |world| {
            let body = json!({ "url": "http://127.0.0.1:9/hook" });
            let (_, created) = world.post("/v1/webhooks", body).await;
            let id = created["webhook"]["id"].as_str().expect("an id");
            let delivery = nobody();
            Call::new(
                "dromos.v1.WebhookService/ReplayWebhookDelivery",
                json!({ "webhook_id": id, "delivery_id": delivery }),
                Method::POST,
                format!("/v1/webhooks/{id}/deliveries/{delivery}:replay"),
                json!({}),
            )
        }),
    ]
}

fn statuses() -> Vec<Row> {
    vec![
        row!("a revoked connection", 7, 403, "CONNECTION_REVOKED", covers: ConnectionRevoked,
        metadata: [("cause", "revoked")],
        |world| {
            let id = world.connect("ada").await;
            let path = format!("/v1/connections/{id}:revoke");
            assert_eq!(world.post(&path, json!({})).await.0, StatusCode::OK);
            token(&id)
        }),
        row!("a pending connection", 9, 400, "CONNECTION_PENDING", covers: ConnectionPending,
            |world| token(id_of(&world.request_connection("ada").await))),
        row!("a refused consent", 9, 400, "CONNECTION_FAILED", covers: ConnectionFailed,
        metadata: [("cause", "access_denied")],
        |world| {
            let begun = world.request_connection("ada").await;
            let auth_url = begun["auth_url"].as_str().expect("an auth_url");
            let end = Browser::new().walk(auth_url, RETURN_URL, deny).await;
            assert!(end.expect("the browser arrives").as_str().contains("status=error"));
            token(id_of(&begun))
        }),
        row!("an expired credential", 9, 400, "CONNECTION_EXPIRED", covers: ConnectionExpired,
        metadata: [("cause", "credential_expired"), ("reconnect", "true")],
        |world| {
            let id = unrefreshable(world).await;
            world.clock.advance(3601);
            token(&id)
        }),
        row!("a refused grant", 9, 400, "CONNECTION_ATTENTION_REQUIRED", covers: ConnectionAttentionRequired,
        metadata: [("cause", "invalid_grant"), ("reconnect", "true")],
        |world| {
            let id = world.connect("ada").await;
            world.simulator.revoke_grant("ada");
            refresh(&id)
        }),
        row!("a connection in ATTENTION", 9, 400, "CONNECTION_ATTENTION_REQUIRED", covers: ConnectionAttentionRequired,
        metadata: [("cause", "invalid_grant"), ("reconnect", "true")],
        |world| {
            let id = world.connect("ada").await;
            world.simulator.revoke_grant("ada");
            assert_eq!(world.refresh(&id, json!({})).await.0, StatusCode::BAD_REQUEST);
            token(&id)
        }),
    ]
}

fn failed_refreshes() -> Vec<Row> {
    vec![
        row!("no refresh token", 9, 400, "NOT_REFRESHABLE", covers: NotRefreshable,
            |world| refresh(&unrefreshable(world).await)),
        row!("a rejected client", 9, 400, "PROVIDER_MISCONFIGURED", covers: ProviderMisconfigured,
            |world| refresh(&failing(world, Failure::error(401, "invalid_client")).await)),
        row!("a provider that is down", 14, 503, "PROVIDER_UNAVAILABLE", covers: ProviderUnavailable,
            retry: 5,
            |world| refresh(&failing(world, Failure::status(503)).await)),
        row!("a provider that says when", 14, 503, "PROVIDER_UNAVAILABLE", covers: ProviderUnavailable,
            retry: 17,
            |world| refresh(&failing(world, Failure::too_many_requests(17)).await)),
        row!("a lost answer", 14, 503, "REFRESH_UNCERTAIN", covers: RefreshUncertain,
            retry: 5,
            |world| refresh(&failing(world, Failure::LoseAnswer).await)),
        row!("a provider slower than the caller waits", 4, 504, "DEADLINE_EXCEEDED", covers: DeadlineExceeded,
        |world| {
            let id = world.connect("ada").await;
            let gate = world.simulator.gate(Endpoint::Token);
            refresh(&id).timeout(Duration::from_millis(300)).keep(gate)
        }),
    ]
}

fn resources() -> Vec<Row> {
    vec![
        row!("a provider with connections", 9, 400, "PROVIDER_IN_USE", covers: ProviderInUse,
        metadata: [("connections", "1")],
        |world| {
            let name = format!("p{}", nobody());
            world.create_provider(&name, json!({})).await;
            world.connect_to(&name, "ada").await;
            delete_provider(&name)
        }),
        row!("a provider's name again", 6, 409, "PROVIDER_EXISTS", covers: ProviderExists,
        |_world| create_provider(json!({
            "name": "sim",
            "oauth2": { "issuer": "http://127.0.0.1:9", "client_id": "x", "client_secret": "y" },
            "strategy": { "type": "oauth2" },
        }))),
        row!("a request without its fields", 3, 400, "", covers: InvalidArgument,
            fields: ["user_id", "return_url", "provider_name"],
            |_world| request(json!({}))),
    ]
}

fn faults() -> Vec<Row> {
    vec![
        row!("no broker", 14, 503, "BROKER_UNAVAILABLE", covers: BrokerUnavailable, retry: 1,
            |_world| gateway_to("http://127.0.0.1:9", SERVICE_KEY).await),
        row!("a gateway whose key the broker refuses", 14, 503, "BROKER_UNAVAILABLE", retry: 1,
            |world| gateway_to(&world.broker_url, "a-service-key-of-nobody-0123").await),
        row!("a ciphertext that does not open", 13, 500, "INTERNAL", covers: Internal,
        |world| {
            let id = world.connect("ada").await;
            let zero = if world.database_url.starts_with("postgres") { "'\\x00'" } else { "x'00'" };
            world.sql(&format!("update credentials set usage = {zero}")).await;
            token(&id)
        }),
        // The last one: the database does not come back.
        row!("no database", 14, 503, "STORE_UNAVAILABLE", covers: StoreUnavailable, retry: 1,
        |world| {
            let id = nobody();
            let call = token(&id);
            match world.database_url.starts_with("postgres") {
                true => {
                    world.drop_database().await;
                    call
                }
                false => call.keep(world.lock_database().await),
            }
        }),
    ]
}

fn id_of(begun: &Value) -> &str {
    begun["connection_id"].as_str().expect("an id")
}

/// A new API key: its id and its secret.
async fn api_key(world: &World, mut changes: Value) -> (String, String) {
    changes["name"] = "test".into();
    let (status, created) = world.post("/v1/api-keys", changes).await;
    assert_eq!(status, StatusCode::OK, "{created}");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&created["api_key"]["id"]), text(&created["secret"]))
}

/// The secret of a key that may do everything in a workspace of its own.
async fn foreign_key(world: &World) -> String {
    let (status, workspace) = world
        .post("/v1/workspaces", json!({ "name": "other" }))
        .await;
    assert_eq!(status, StatusCode::OK, "{workspace}");
    let wanted = json!({ "scopes": ["admin"], "workspace_id": workspace["id"] });
    api_key(world, wanted).await.1
}

/// An ACTIVE connection without a refresh token.
async fn unrefreshable(world: &World) -> String {
    world.behave(|behaviour| behaviour.issue_refresh_token = false);
    let id = world.connect("ada").await;
    world.behave(|behaviour| behaviour.issue_refresh_token = true);
    id
}

/// An ACTIVE connection whose next refresh fails like this.
async fn failing(world: &World, failure: Failure) -> String {
    let id = world.connect("ada").await;
    world.simulator.fail_next(Endpoint::Token, 1, failure);
    id
}

/// A call to another gateway, which has this broker and this service key.
async fn gateway_to(broker: &str, service_key: &str) -> Call {
    let gateway = Gateway::bind(Config::new("127.0.0.1:0", broker, service_key));
    let gateway = gateway.await.expect("the gateway starts");
    let url = format!("http://{}", gateway.local_addr());
    let running = Running(tokio::spawn(gateway.run(std::future::pending())));
    check(&nobody()).gateway(url).keep(running)
}

struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

both!(
    an_error_is_the_same_on_every_transport,
    |world: World| async move {
        for row in rows() {
            row.check(&world).await;
        }
    }
);

#[test]
fn every_kind_of_error_has_a_row() {
    for kind in ErrorKind::ALL {
        let rows = rows();
        let row = rows.iter().find(|row| row.covers == Some(*kind));
        let row = row.unwrap_or_else(|| panic!("{kind:?} has no row"));
        assert_eq!(row.code, kind.grpc_code(), "{kind:?}");
        assert_eq!(row.http, kind.http_status(), "{kind:?}");
        if *kind != ErrorKind::InvalidArgument {
            assert_eq!(row.reason, kind.reason());
        }
    }
}
