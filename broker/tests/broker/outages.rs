//! The database goes away and comes back; brokers stop and start.

use std::{
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::Duration,
};

use dromos_broker::flow::journalled;
use dromos_simulator::Endpoint;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    database::Database,
    network::Line,
    postgres::{self, Programs},
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

/// How long PostgreSQL is away, in seconds of real time: longer than callers,
/// and the task that holds the new tokens in memory, wait for it.
const AWAY: Duration = Duration::from_secs(32);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_during_500_refreshes_loses_no_rotated_token() {
    const CONNECTIONS: usize = 50;
    const REFRESHES: u32 = 10;
    let programs = Programs::find().await;
    let folder = postgres::folder();
    let data = programs.init(folder.path(), "data");
    let mut server = programs.serve(&data, &[]).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
    let world = World::start_empty(Db::Postgres, &[("DATABASE_URL", &url)]).await;
    world.create_provider("sim", json!({})).await;
    let mut ids = vec![];
    for n in 0..CONNECTIONS {
        ids.push(world.connect(&format!("user-{n}")).await);
    }
    let done = AtomicU32::new(0);
    let refreshing = join_all(ids.iter().map(|id| {
        let (world, done) = (&world, &done);
        async move {
            for generation in 2..2 + REFRESHES {
                // As a client does: until it has what it wants.
                let held = json!({ "generation": generation - 1 });
                while world.refresh(id, held.clone()).await.0 != StatusCode::OK {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                done.fetch_add(1, Ordering::SeqCst);
            }
        }
    }));
    let most_left = AtomicUsize::new(0);
    let outage = async {
        eventually("the refreshes are under way", async || {
            done.load(Ordering::SeqCst) >= 100
        })
        .await;
        // At work at the provider, all of them; their answers find no database.
        let gate = world.simulator.gate_answers(Endpoint::Token);
        gate.arrivals(20).await;
        server.crash();
        gate.release();
        tokio::time::sleep(AWAY).await;
        let journal = world.data_dir.path().join("journal");
        let waiting = std::fs::read_dir(journal).expect("a folder").count();
        most_left.store(waiting, Ordering::SeqCst);
        server.start();
        eventually("the journal is replayed", async || {
            journalled::replay(&world.core).await == 0
        })
        .await;
    };
    tokio::join!(refreshing, outage);

    let mut lost = 0;
    for id in &ids {
        let active = world.check(id).await["status"] == "ACTIVE";
        let (status, _) = world.refresh(id, json!({})).await;
        lost += usize::from(!active || status != StatusCode::OK);
    }
    let counts = world.simulator.counts();
    println!(
        "{} refreshes of {CONNECTIONS} connections, PostgreSQL away for {AWAY:?}: {} answers waited in the journal, \
         {lost} rotated tokens lost, {} reuses",
        done.load(Ordering::SeqCst),
        most_left.load(Ordering::SeqCst),
        counts.refresh_reuses
    );
    assert_eq!((lost, counts.refresh_reuses), (0, 0), "{counts:?}");
    assert!(most_left.load(Ordering::SeqCst) >= 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_cut_off_after_the_answer_still_commits_although_another_claimed() {
    let (world, line) = on_a_line().await;
    let settings = world.settings();
    let ours = settings.iter().find(|entry| entry.0 == "DATABASE_URL");
    let mut direct: url::Url = ours.expect("it is set").1.parse().expect("a URL");
    let server: url::Url = std::env::var("TEST_POSTGRES_URL")
        .expect("a server")
        .parse()
        .expect("a URL");
    direct
        .set_port(Some(server.port().unwrap_or(5432)))
        .expect("a port");
    let other = world.join_with(&[("DATABASE_URL", direct.as_str())]).await;
    let id = world.connect("user-1").await;
    let gate = world.simulator.gate_answers(Endpoint::Token);
    let (_, ()) = tokio::join!(world.refresh(&id, json!({})), async {
        gate.arrived().await;
        line.cut();
        gate.release();
        eventually("the outage is noticed", async || {
            ready(&world).await[0] == StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        // Its lease runs out, and the other broker takes one.
        let mut database = Database::open(direct.as_str()).await;
        database
            .execute(
                "update credentials set lease_until = '2020-01-01' where lease_until is not null",
            )
            .await;
        let (_, error) = other.refresh(&id, json!({})).await;
        assert_eq!(reason(&error), "REFRESH_UNCERTAIN", "{error}");
        assert_eq!(other.token(&id).await.1["generation"], 1, "it serves");
        line.mend();
    });
    eventually("the answer is stored", async || {
        other.token(&id).await.1["generation"] == 2
    })
    .await;
    let (status, token) = other.refresh(&id, json!({})).await;
    assert_eq!(
        (status, &token["generation"]),
        (StatusCode::OK, &json!(3)),
        "{token}"
    );
    assert_eq!(world.simulator.counts().refresh_reuses, 0);
    other.stop().await;
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
