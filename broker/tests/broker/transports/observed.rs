//! What operators see of a call: metrics, log lines and the audit.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tracing::Dispatch;
use tracing_subscriber::{Registry, fmt::MakeWriter};

use super::{
    call::{VIAS, Via},
    table::token,
};
use crate::world::{Db, World, both};

/// What the contract names, as far as a whole flow counts it.
const BROKER_METRICS: [&str; 14] = [
    "oauth_consents_created_total{provider=\"sim\"}",
    "oauth_token_exchanges_total{status=\"",
    "oauth_exchange_duration_seconds_bucket{",
    "oauth_token_get_total{provider=\"sim\",has_id_token=\"true\"}",
    "oidc_discovery_total{result=\"",
    "oidc_verifications_total{result=\"",
    "oauth_refreshes_total{outcome=\"refreshed\"}",
    "connections{status=\"revoked\"}",
    "refresh_lag_seconds",
    "vault_operations_total{operation=\"",
    "store_pool_connections",
    "store_pool_idle_connections",
    "data_key_age_seconds",
    "broker_requests_total{rpc=\"/dromos.broker.v1.ConnectionService/GetToken\",transport=\"grpc\",code=\"OK\"}",
];

const GATEWAY_METRICS: [&str; 3] = [
    "gateway_requests_total{rpc=\"/dromos.v1.ConnectionService/GetToken\",transport=\"rest\",code=\"OK\"}",
    "gateway_request_duration_seconds_bucket{rpc=\"/dromos.v1.ConnectionService/GetToken\",transport=\"rest\",le=\"",
    "gateway_requests_total{rpc=\"/dromos.v1.ConnectionService/GetToken\",transport=\"rest\",code=\"PERMISSION_DENIED\"}",
];

async fn metrics(world: &World, base: &str) -> String {
    let answer = world.http.get(format!("{base}/metrics")).send().await;
    let answer = answer.expect("metrics need no key");
    assert_eq!(answer.status(), StatusCode::OK);
    answer.text().await.expect("text")
}

both!(
    a_flow_is_counted_and_no_label_holds_an_id,
    |world: World| async move {
        let user = "user-whom-no-metric-names";
        let id = world.connect(user).await;
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
        assert_eq!(world.refresh(&id, json!({})).await.0, StatusCode::OK);
        let path = format!("/v1/connections/{id}:revoke");
        assert_eq!(world.post(&path, json!({})).await.0, StatusCode::OK);
        assert_eq!(world.token(&id).await.0, StatusCode::FORBIDDEN);
        dromos_broker::flow::upkeep::once(&world.core)
            .await
            .expect("gauges are set");

        let of_the_broker = metrics(&world, &world.broker_url).await;
        for name in BROKER_METRICS {
            assert!(
                of_the_broker.contains(name),
                "{name} is missing in\n{of_the_broker}"
            );
        }
        let of_the_gateway = metrics(&world, &world.gateway_url).await;
        for name in GATEWAY_METRICS {
            assert!(
                of_the_gateway.contains(name),
                "{name} is missing in\n{of_the_gateway}"
            );
        }
        for text in [&of_the_broker, &of_the_gateway] {
            let secrets = [
                id.as_str(),
                user,
                crate::world::ADMIN_KEY,
                crate::world::SERVICE_KEY,
            ];
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} is in\n{text}");
            }
            let ids = text
                .split(['"', '/'])
                .filter(|part| uuid::Uuid::parse_str(part).is_ok());
            assert_eq!(ids.collect::<Vec<_>>(), Vec::<&str>::new());
        }
    }
);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn of(&self, request_id: &str) -> Vec<Value> {
        let bytes = self.0.lock().expect("the lines").clone();
        let lines = String::from_utf8(bytes).expect("text");
        let parsed = lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        parsed
            .filter(|line: &Value| line["request_id"] == request_id)
            .collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the lines").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// On one thread, so that this thread's log is everything's.
async fn a_request_id_joins_answer_logs_and_audit(db: Db) {
    // While there is only one subscriber, a log statement that another thread
    // meets first is switched off for all of them.
    static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Registry::default()));
    LazyLock::force(&ANOTHER);
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(lines.clone())
        .finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let world = World::start(db).await;
    let id = world.connect("ada").await;
    for via in VIAS {
        let request_id = format!("trace-{}", super::table::nobody());
        let call = token(&id).header("x-request-id", &request_id);
        let answer = via.call(&world, &call).await;
        assert_eq!(answer.headers["x-request-id"], *request_id, "{via:?}");
        assert!(answer.result.is_ok(), "{answer:?}");

        for (route, transport) in [
            ("/dromos.v1.ConnectionService/GetToken", name_of(via)),
            ("/dromos.broker.v1.ConnectionService/GetToken", "grpc"),
        ] {
            let logged = || {
                let own = |line: &Value| line["route"] == route && line["transport"] == transport;
                lines.of(&request_id).iter().any(own)
            };
            // A line is written once the answer has been sent, which may be a
            // moment after it has arrived.
            let written = async {
                while !logged() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), written)
                .await
                .unwrap_or_else(|_| panic!("{route} is not in {:?}", lines.of(&request_id)));
        }
        let events = world.audit("credential.read").await;
        let named = events
            .iter()
            .filter(|event| event["request_id"] == *request_id);
        assert_eq!(named.count(), 1, "{events:?}");
    }

    // What is no safe id is replaced, not repeated.
    let url = format!("{}/v1/check-connection/{id}", world.gateway_url);
    let answer = world
        .http
        .request(Method::GET, url)
        .bearer_auth(crate::world::ADMIN_KEY)
        .header("x-request-id", "two words")
        .send()
        .await
        .expect("an answer");
    let given = answer.headers()["x-request-id"].to_str().expect("text");
    assert!(uuid::Uuid::parse_str(given).is_ok(), "{given}");
    world.stop().await;
}

fn name_of(via: Via) -> &'static str {
    match via {
        Via::Grpc => "grpc",
        Via::GrpcWeb => "grpc_web",
        Via::Rest => "rest",
    }
}

mod a_request_id_is_in_the_answer_in_both_logs_and_in_the_audit {
    use crate::world::Db;

    #[tokio::test]
    async fn sqlite() {
        super::a_request_id_joins_answer_logs_and_audit(Db::Sqlite).await;
    }

    #[tokio::test]
    async fn postgres() {
        super::a_request_id_joins_answer_logs_and_audit(Db::Postgres).await;
    }
}
