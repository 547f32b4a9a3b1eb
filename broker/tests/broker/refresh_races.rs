//! Refreshes that meet each other, a reconnect, a revocation or a caller who
//! has left.

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use dromos_simulator::{Endpoint, Failure};

use crate::{
    network::Relay,
    refresh::reconnected,
    world::{ADMIN_KEY, Db, World, both, eventually, reason},
};

both!(
    concurrent_refreshes_share_one_exchange,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let gate = world.simulator.gate(Endpoint::Token);
        let calls = join_all((0..8).map(|_| world.refresh(&id, json!({ "generation": 1 }))));
        let (answers, ()) = tokio::join!(calls, async {
            gate.arrived().await;
            gate.release();
        });
        for (status, token) in answers {
            assert_eq!(
                (status, &token["generation"]),
                (StatusCode::OK, &json!(2)),
                "{token}"
            );
        }
        assert_eq!(world.simulator.counts().of(Endpoint::Token), 2);
    }
);

both!(
    concurrent_reads_inside_the_margin_share_one_exchange,
    |world: World| async move {
        let id = world.connect("user-1").await;
        world.clock.advance(3400);
        let gate = world.simulator.gate(Endpoint::Token);
        let calls = join_all((0..8).map(|_| world.token(&id)));
        let (answers, ()) = tokio::join!(calls, async {
            gate.arrived().await;
            gate.release();
        });
        for (status, token) in answers {
            assert_eq!(
                (status, &token["generation"]),
                (StatusCode::OK, &json!(2)),
                "{token}"
            );
        }
        assert_eq!(world.simulator.counts().of(Endpoint::Token), 2);
    }
);

both!(
    a_caller_who_hangs_up_mid_exchange_leaves_a_refresh_that_commits,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let gate = world.simulator.gate_answers(Endpoint::Token);
        tokio::select! {
            answer = world.refresh(&id, json!({})) => panic!("it is held, but {answer:?}"),
            () = gate.arrived() => {}
        }
        gate.release();
        eventually("the new generation", async || {
            world.token(&id).await.1["generation"] == 2
        })
        .await;
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(3)));
        assert_eq!(world.simulator.counts().refresh_reuses, 0);
    }
);

both!(
    a_reconnect_during_a_refresh_that_then_fails_keeps_the_new_credential,
    |world: World| async move {
        let relay = Relay::to(world.simulator.url()).await;
        let changes = json!({ "oauth2": { "token_endpoint": format!("{}/token", relay.url) } });
        world.create_provider("relayed", changes).await;
        let id = world.connect_to("relayed", "user-1").await;
        relay.hold_refreshes();
        let refresh = world.refresh(&id, json!({}));
        let (answer, ()) = tokio::join!(refresh, async {
            relay.arrived().await;
            reconnected(&world, &id).await;
            world
                .simulator
                .fail_next(Endpoint::Token, 1, Failure::error(400, "invalid_grant"));
            relay.release();
        });
        // Whoever asked for a fresh credential gets the user's new one.
        assert_eq!(
            (answer.0, &answer.1["generation"]),
            (StatusCode::OK, &json!(2)),
            "{}",
            answer.1
        );
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!(
            (status, &token["generation"]),
            (StatusCode::OK, &json!(3)),
            "{token}"
        );
        assert!(world.audit("connection.attention").await.is_empty());
    }
);

both!(
    a_reconnect_during_a_refresh_that_then_succeeds_keeps_the_reconnects_credential,
    |world: World| async move {
        let relay = Relay::to(world.simulator.url()).await;
        let changes = json!({ "oauth2": { "token_endpoint": format!("{}/token", relay.url) } });
        world.create_provider("relayed", changes).await;
        let id = world.connect_to("relayed", "user-1").await;
        relay.hold_refreshes();
        let refresh = world.refresh(&id, json!({}));
        let (answer, fresh) = tokio::join!(refresh, async {
            relay.arrived().await;
            reconnected(&world, &id).await;
            let fresh = world.token(&id).await.1;
            relay.release();
            fresh
        });
        assert_eq!(answer.0, StatusCode::OK, "{}", answer.1);
        let (_, token) = world.token(&id).await;
        assert_eq!(token["generation"], 2);
        assert_eq!(token["credentials"], fresh["credentials"]);
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(3)));
        assert_eq!(world.simulator.counts().refresh_reuses, 0);
    }
);

both!(
    a_revocation_during_an_exchange_stays_and_the_new_tokens_are_revoked_upstream,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let gate = world.simulator.gate_answers(Endpoint::Token);
        let refresh = world.refresh(&id, json!({}));
        let (answer, ()) = tokio::join!(refresh, async {
            gate.arrived().await;
            let path = format!("/v1/connections/{id}:revoke");
            assert_eq!(world.post(&path, json!({})).await.0, StatusCode::OK);
            eventually("the old token is revoked upstream", async || {
                world.simulator.counts().revoked == 1
            })
            .await;
            gate.release();
        });
        assert_eq!(
            (answer.0, reason(&answer.1)),
            (StatusCode::FORBIDDEN, "CONNECTION_REVOKED"),
            "{}",
            answer.1
        );
        assert_eq!(world.simulator.counts().revoked, 2);
        assert_eq!(world.check(&id).await["status"], "REVOKED");
        assert_eq!(reason(&world.token(&id).await.1), "CONNECTION_REVOKED");
    }
);

both!(revocation_is_immediate, |world: World| async move {
    let id = world.connect("user-1").await;
    let (_, token) = world.token(&id).await;
    let path = format!("/v1/connections/{id}:revoke");
    assert_eq!(world.post(&path, json!({})).await.0, StatusCode::OK);
    for (status, error) in [world.token(&id).await, world.refresh(&id, json!({})).await] {
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::FORBIDDEN, "CONNECTION_REVOKED")
        );
    }
    let access_token = token["credentials"]["access_token"]
        .as_str()
        .expect("a token");
    eventually("the provider is told", async || {
        world.simulator.is_revoked(access_token)
    })
    .await;
});

/// One process owns an SQLite file; brokers share a PostgreSQL.
mod two_brokers {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn hardening_09_refresh_the_same_connections_without_one_reuse() {
        let world = World::start(Db::Postgres).await;
        let other = world.join().await;
        let mut ids = vec![];
        for user in 0..5 {
            ids.push(world.connect(&format!("user-{user}")).await);
        }
        for round in 1..=5_u32 {
            let here = ids.iter().map(|id| world.refresh(id, json!({})));
            let there = ids.iter().map(|id| other.refresh(id, json!({})));
            let held = json!({ "generation": round });
            let once_more = ids.iter().map(|id| other.refresh(id, held.clone()));
            let (here, there, once_more) =
                tokio::join!(join_all(here), join_all(there), join_all(once_more));
            for (status, token) in here.into_iter().chain(there).chain(once_more) {
                assert_eq!(status, StatusCode::OK, "{token}");
                assert!(token["generation"].as_u64() > Some(round.into()), "{token}");
            }
        }
        let counts = world.simulator.counts();
        assert_eq!(counts.refresh_reuses, 0, "{counts:?}");
        for id in &ids {
            assert_eq!(world.check(id).await["status"], "ACTIVE");
            let (_, here) = world.token(id).await;
            let (_, there) = other.token(id).await;
            assert_eq!(here["credentials"], there["credentials"]);
        }
        other.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn hardening_09_the_second_waits_for_the_firsts_slow_exchange() {
        let world = World::start(Db::Postgres).await;
        let other = world.join().await;
        let id = world.connect("user-1").await;
        let gate = world.simulator.gate(Endpoint::Token);
        let (first, second) = tokio::join!(world.refresh(&id, json!({})), async {
            gate.arrived().await;
            // Longer than this caller wants to wait, and nothing was sent.
            let url = format!("{}/v1/refresh/{id}", other.gateway_url);
            let request = world.http.post(url).bearer_auth(ADMIN_KEY).json(&json!({}));
            let answer = request.header("x-request-timeout", "1").send().await;
            let answer = answer.expect("the gateway answers");
            assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
            assert_eq!(world.simulator.counts().of(Endpoint::Token), 2);
            gate.release();
            other.refresh(&id, json!({ "generation": 1 })).await
        });
        for (status, token) in [first, second] {
            assert_eq!(
                (status, &token["generation"]),
                (StatusCode::OK, &json!(2)),
                "{token}"
            );
        }
        let counts = world.simulator.counts();
        assert_eq!((counts.refreshes, counts.refresh_reuses), (1, 0));
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        other.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_broker_that_holds_the_lease_keeps_the_other_from_sending() {
        let world = World::start(Db::Postgres).await;
        let other = world.join().await;
        let id = world.connect("user-1").await;
        let gate = world.simulator.gate(Endpoint::Token);
        let (first, ()) = tokio::join!(world.refresh(&id, json!({})), async {
            gate.arrived().await;
            // Asked straight, the second broker gets no lease either.
            let key = dromos_broker::domain::id::WorkspaceId::DEFAULT;
            let claim = dromos_broker::store::Claim {
                workspace_id: key,
                connection_id: id.parse().expect("an id"),
                generation: 1,
                owner: uuid::Uuid::nil(),
                at: other.core.ambient.now(),
                forced: true,
            };
            let claimed = other.core.store.claim_refresh(claim).await;
            assert_eq!(claimed.expect("the store answers"), None);
            gate.release();
        });
        assert_eq!(first.0, StatusCode::OK, "{}", first.1);
        other.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_revocation_through_one_is_immediate_through_the_other() {
        let world = World::start(Db::Postgres).await;
        let other = world.join().await;
        let id = world.connect("user-1").await;
        assert_eq!(other.token(&id).await.0, StatusCode::OK);
        let path = format!("/v1/connections/{id}:revoke");
        assert_eq!(world.post(&path, json!({})).await.0, StatusCode::OK);
        let (status, error): (StatusCode, Value) = other.token(&id).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::FORBIDDEN, "CONNECTION_REVOKED")
        );
        other.stop().await;
    }
}
