//! The database goes away and comes back; brokers stop and start.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use dromos_simulator::Endpoint;

use crate::{
    network::Line,
    world::{Db, World, both, create_database, eventually, reason, retry_delay},
};

/// A world whose PostgreSQL is at the end of a line.
async fn on_a_line() -> (World, Line) {
    on_a_line_to(&create_database().await).await
}

/// A world whose database is the one of this URL, at the end of a line.
pub async fn on_a_line_to(database_url: &str) -> (World, Line) {
    let mut url: url::Url = database_url.parse().expect("a URL");
    let host = url.host_str().expect("a host").to_owned();
    let line = Line::to(format!("{host}:{}", url.port().unwrap_or(5432))).await;
    url.set_host(Some("127.0.0.1")).expect("a host");
    url.set_port(Some(line.port)).expect("a port");
    let world = World::start_empty(Db::Postgres, &[("DATABASE_URL", url.as_str())]).await;
    world.create_provider("sim", json!({})).await;
    (world, line)
}

/// Both services' `/readyz`.
pub async fn ready(world: &World) -> [StatusCode; 2] {
    let ask = async |url: &str| {
        let answer = world.http.get(format!("{url}/readyz")).send().await;
        answer.expect("an answer").status()
    };
    [ask(&world.broker_url).await, ask(&world.gateway_url).await]
}

async fn in_time<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), call)
        .await
        .expect("an answer within a bounded time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_a_broker_says_so_and_recovers_by_itself() {
    let (world, line) = on_a_line().await;
    let id = world.connect("user-1").await;
    assert_eq!(ready(&world).await[0], StatusCode::OK);

    line.cut();
    let paths = [
        (Method::GET, format!("/v1/token/{id}")),
        (Method::POST, format!("/v1/refresh/{id}")),
        (Method::GET, format!("/v1/check-connection/{id}")),
        (Method::GET, "/v1/connections".to_owned()),
        (Method::POST, format!("/v1/connections/{id}:revoke")),
    ];
    for (method, path) in &paths {
        let body = match *method {
            Method::POST => json!({}),
            _ => Value::Null,
        };
        let (status, error) = in_time(world.call(method.clone(), path, body)).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::SERVICE_UNAVAILABLE, "STORE_UNAVAILABLE"),
            "{path}: {error}"
        );
        assert!(retry_delay(&error).is_some(), "{path}: {error}");
        assert!(!error.to_string().contains("access_"), "{path}: {error}");
    }
    assert_eq!(
        in_time(ready(&world)).await[0],
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(world.simulator.counts().refreshes, 0, "nothing was sent");

    line.mend();
    // Connections that broke are found out by use: one call each at most.
    let mut answers = vec![];
    for _ in 0..17 {
        let (status, answer) = world.token(&id).await;
        answers.push(status);
        if status == StatusCode::OK {
            assert_eq!(answer["generation"], 1);
            break;
        }
        assert_eq!(reason(&answer), "STORE_UNAVAILABLE");
    }
    assert_eq!(answers.last(), Some(&StatusCode::OK), "{answers:?}");
    assert!(answers.len() <= 3, "{answers:?}");
    assert_eq!(ready(&world).await[0], StatusCode::OK);
    assert_eq!(world.check(&id).await["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_tokens_wait_for_the_database_and_are_not_lost() {
    let (world, line) = on_a_line().await;
    let id = world.connect("user-1").await;
    let gate = world.simulator.gate_answers(Endpoint::Token);
    let (answer, ()) = tokio::join!(world.refresh(&id, json!({})), async {
        gate.arrived().await;
        line.cut();
        gate.release();
        // The commit has failed at least once when the database refuses us.
        eventually("the outage is noticed", async || {
            ready(&world).await[0] == StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        line.mend();
    });
    // This caller's own wait may have ended; the tokens are what counts.
    if answer.0 == StatusCode::OK {
        assert_eq!(answer.1["generation"], 2);
    }
    eventually("the new generation", async || {
        world.token(&id).await.1["generation"] == 2
    })
    .await;
    let (status, token) = world.refresh(&id, json!({})).await;
    assert_eq!(
        (status, &token["generation"]),
        (StatusCode::OK, &json!(3)),
        "{token}"
    );
    assert_eq!(world.simulator.counts().refresh_reuses, 0);
    assert_eq!(world.check(&id).await["status"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_to_a_provider_without_a_lease() {
    let (world, line) = on_a_line().await;
    let id = world.connect("user-1").await;
    world.clock.advance(3400);
    let before = world.simulator.counts().of(Endpoint::Token);
    line.cut();
    let (status, error) = in_time(world.token(&id)).await;
    assert_eq!(
        (status, reason(&error)),
        (StatusCode::SERVICE_UNAVAILABLE, "STORE_UNAVAILABLE")
    );
    assert_eq!(world.simulator.counts().of(Endpoint::Token), before);
}

both!(
    a_broker_that_is_stopped_finishes_and_commits_its_exchange,
    |mut world: World| async move {
        let id = world.connect("user-1").await;
        let gate = world.simulator.gate_answers(Endpoint::Token);
        tokio::select! {
            answer = world.refresh(&id, json!({})) => panic!("it is held, but {answer:?}"),
            () = gate.arrived() => {}
        }
        // The caller has left; the exchange goes on while the broker stops.
        tokio::join!(world.halt(), async {
            tokio::task::yield_now().await;
            gate.release();
        });
        world.resume(&[]).await;
        let (status, token) = world.token(&id).await;
        assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(2)));
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(3)));
        assert_eq!(world.simulator.counts().refresh_reuses, 0);
    }
);

both!(a_restart_keeps_everything, |mut world: World| async move {
    let key = world
        .api_key(&["connections:read", "credentials:read"])
        .await;
    let active = world.connect("user-1").await;
    let revoked = world.connect("user-2").await;
    world
        .post(&format!("/v1/connections/{revoked}:revoke"), json!({}))
        .await;
    let begun = world.request_connection("user-3").await;
    let (_, before) = world.token(&active).await;
    let (_, provider) = world.get("/v1/providers/sim").await;

    world.halt().await;
    world.resume(&[]).await;

    let path = format!("/v1/token/{active}");
    let (status, after) = world.call_as(&key, Method::GET, &path, Value::Null).await;
    assert_eq!((status, &after), (StatusCode::OK, &before));
    assert_eq!(world.get("/v1/providers/sim").await.1, provider);
    assert_eq!(reason(&world.token(&revoked).await.1), "CONNECTION_REVOKED");
    // A consent that was begun before is completed after.
    let end = world.consent(&begun).await;
    assert_eq!(
        crate::world::query(&end, "status").as_deref(),
        Some("success")
    );
    let (status, token) = world.refresh(&active, json!({})).await;
    assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(2)));
    assert!(!world.audit("connection.activated").await.is_empty());
});
