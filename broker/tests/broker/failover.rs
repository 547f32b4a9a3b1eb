//! What a broker does with a PostgreSQL that was demoted. The failover of a
//! whole cluster is played by `cargo xtask bench failover`.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    database::Database,
    outages::{on_a_line_to, ready},
    world::{Db, World, create_database, eventually, reason},
};

/// From the next audit row on, the session that wrote it refuses writes, as
/// every session does with a primary that was demoted.
const DEMOTE: &str = "
    create function demote() returns trigger language plpgsql as
        $$begin perform set_config('default_transaction_read_only', 'on', false); return null; end$$;
    create trigger demote after insert on audit_events execute function demote();";

fn is_store_unavailable(answer: &(StatusCode, Value)) -> bool {
    answer.0 == StatusCode::SERVICE_UNAVAILABLE && reason(&answer.1) == "STORE_UNAVAILABLE"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_with_a_demoted_server_are_left_after_one_refusal() {
    let world = World::start(Db::Postgres).await;
    let id = world.connect("user-1").await;
    let mut database = Database::of(&world).await;
    database.execute(DEMOTE).await;
    // Many at once, so that the pool has many sessions and they are demoted.
    let calls: Vec<_> = (0..16).map(|_| world.token(&id)).collect();
    futures_util::future::join_all(calls).await;
    database
        .execute("drop trigger demote on audit_events")
        .await;

    let mut refused = 0;
    for _ in 0..40 {
        let answer = world.token(&id).await;
        if answer.0 != StatusCode::OK {
            assert!(is_store_unavailable(&answer), "{answer:?}");
            refused += 1;
        }
    }
    // The two lanes of the audit may each have met one.
    assert!(refused <= 2, "{refused} of 40 calls met a demoted server");
    let (status, token) = world.refresh(&id, json!({})).await;
    assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(2)));
    assert_eq!(world.simulator.counts().refresh_reuses, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_is_not_connected_to() {
    let url = create_database().await;
    let name = url.rsplit('/').next().expect("a name");
    let (world, line) = on_a_line_to(&url).await;
    let id = world.connect("user-1").await;
    // A session that is older than the change, and so can undo it.
    let mut database = Database::open(&url).await;
    let attribute = "default_transaction_read_only";
    database
        .execute(&format!("alter database {name} set {attribute} = on"))
        .await;
    line.cut();
    eventually("its sessions are gone", async || {
        ready(&world).await[0] == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    line.mend();

    // Not even a read is answered by a server that may be behind.
    assert!(is_store_unavailable(&world.token(&id).await));
    let path = format!("/v1/check-connection/{id}");
    assert!(is_store_unavailable(&world.get(&path).await));

    database
        .execute(&format!("alter database {name} reset {attribute}"))
        .await;
    eventually("a server that takes writes", async || {
        world.token(&id).await.0 == StatusCode::OK
    })
    .await;
}
