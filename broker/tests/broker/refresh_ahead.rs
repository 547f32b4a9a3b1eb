//! The broker's own loop: what is due is refreshed ahead, once, at a pace that
//! the provider stands, and through outages of any length.

use dromos_broker::flow::{journalled, refresh::due};
use dromos_simulator::{Endpoint, Failure};
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    database::Database,
    world::{Db, World, both, on_both, reason, retry_delay},
};

async fn round(world: &World) -> usize {
    due::once(&world.core).await.expect("the store answers")
}

async fn generation(world: &World, id: &str) -> u64 {
    let (status, token) = world.token(id).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    token["generation"].as_u64().expect("a number")
}

fn token_requests(world: &World) -> u64 {
    world.simulator.counts().of(Endpoint::Token)
}

both!(
    a_token_is_refreshed_ahead_at_four_fifths_of_its_lifetime,
    |world: World| async move {
        let id = world.connect("user-1").await;
        world.clock.advance(2789);
        assert_eq!(round(&world).await, 0);
        world.clock.advance(181);
        assert_eq!(round(&world).await, 1);
        assert_eq!(round(&world).await, 0);
        assert_eq!(generation(&world, &id).await, 2);
        let events = world.audit("credential.refreshed").await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["api_key_id"], "", "nobody asked for it");
        // And so on.
        world.clock.advance(2970);
        assert_eq!(round(&world).await, 1);
        assert_eq!(generation(&world, &id).await, 3);
        assert_eq!(world.simulator.counts().refresh_reuses, 0);
    }
);

both!(
    what_cant_be_refreshed_is_never_due,
    |world: World| async move {
        world.behave(|behaviour| behaviour.issue_refresh_token = false);
        world.connect("no-refresh-token").await;
        world.behave(|behaviour| {
            behaviour.issue_refresh_token = true;
            behaviour.expires_in.seconds = 20;
        });
        world.connect("too-short").await;
        world.behave(|behaviour| behaviour.expires_in.seconds = 3600);
        let revoked = world.connect("revoked").await;
        let path = format!("/v1/connections/{revoked}:revoke");
        world.post(&path, json!({})).await;
        let refused = world.connect("refused").await;
        world
            .simulator
            .fail_next(Endpoint::Token, 1, Failure::error(400, "invalid_grant"));
        world.refresh(&refused, json!({})).await;
        world.clock.advance(100_000);
        assert_eq!(round(&world).await, 0);
    }
);

both!(
    a_failed_refresh_is_made_again_after_pauses_that_double,
    |world: World| async move {
        let id = world.connect("user-1").await;
        world.clock.advance(2970);
        world
            .simulator
            .fail_next(Endpoint::Token, 3, Failure::error(401, "invalid_client"));
        for longest in [5, 10, 20] {
            assert_eq!(round(&world).await, 1);
            assert_eq!(generation(&world, &id).await, 1, "it serves");
            world.clock.advance(longest / 2 - 1);
            assert_eq!(round(&world).await, 0, "too early");
            world.clock.advance(longest - longest / 2 + 1);
        }
        assert_eq!(round(&world).await, 1);
        assert_eq!(generation(&world, &id).await, 2);
        assert_eq!(token_requests(&world), 5);
    }
);

both!(
    a_forced_refresh_that_fails_early_makes_nothing_due,
    |world: World| async move {
        let id = world.connect("user-1").await;
        world
            .simulator
            .fail_next(Endpoint::Token, 1, Failure::status(503));
        world.refresh(&id, json!({})).await;
        world.clock.advance(600);
        assert_eq!(round(&world).await, 0);
        world.clock.advance(2370);
        assert_eq!(round(&world).await, 1);
    }
);

both!(
    what_a_broker_took_and_did_not_finish_is_due_again,
    |world: World| async move {
        let id = world.connect("user-1").await;
        world.clock.advance(2970);
        let at = world.core.ambient.now();
        let taken = world.core.store.take_due(at, 10).await.expect("it answers");
        assert_eq!(taken.len(), 1);
        assert_eq!(round(&world).await, 0, "somebody has it");
        world.clock.advance(66);
        assert_eq!(round(&world).await, 1);
        assert_eq!(generation(&world, &id).await, 2);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_share_what_is_due_and_nothing_is_refreshed_twice() {
    let world = World::start(Db::Postgres).await;
    let other = world.join().await;
    let ids = join_all((0..12).map(|n| {
        let world = &world;
        async move { world.connect(&format!("user-{n}")).await }
    }))
    .await;
    world.clock.advance(2970);
    let mut made = 0;
    for _ in 0..4 {
        let (here, there) = tokio::join!(due::once(&world.core), due::once(&other.core));
        made += here.expect("it answers") + there.expect("it answers");
    }
    assert_eq!(made, ids.len());
    let counts = world.simulator.counts();
    assert_eq!(
        (counts.refreshes, counts.refresh_reuses),
        (ids.len() as u64, 0)
    );
    for id in &ids {
        assert_eq!(generation(&world, id).await, 2);
    }
    other.stop().await;
}

both!(
    an_open_breaker_answers_for_the_provider,
    |world: World| async move {
        let mut ids = vec![];
        for n in 0..6 {
            ids.push(world.connect(&format!("user-{n}")).await);
        }
        world
            .simulator
            .fail_next(Endpoint::Token, 100, Failure::status(503));
        for id in &ids[..5] {
            world.refresh(id, json!({})).await;
        }
        let before = token_requests(&world);
        let (status, error) = world.refresh(&ids[5], json!({})).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::SERVICE_UNAVAILABLE, "PROVIDER_UNAVAILABLE")
        );
        assert_eq!(retry_delay(&error), Some("5s"), "{error}");
        assert_eq!(token_requests(&world), before, "nothing was sent");
        assert_eq!(generation(&world, &ids[5]).await, 1, "it serves");
        // A user who consents gets through, and says that the provider is back.
        world.simulator.clear_failures();
        world.connect("user-7").await;
        world.clock.advance(1);
        let (status, token) = world.refresh(&ids[5], json!({})).await;
        assert_eq!(status, StatusCode::OK, "{token}");
    }
);

on_both!(
    ten_minutes_of_outage_cost_the_provider_little_and_nobody_their_connection,
    |db: Db| async move {
        const CONNECTIONS: usize = 40;
        let world = World::start_empty(db, &[("REFRESH_RATE_PER_PROVIDER", "8")]).await;
        world.create_provider("sim", json!({})).await;
        let mut ids = vec![];
        for n in 0..CONNECTIONS {
            ids.push(world.connect(&format!("user-{n}")).await);
        }
        world.clock.advance(2880);
        world
            .simulator
            .fail_next(Endpoint::Token, u32::MAX, Failure::status(503));
        let before = token_requests(&world);
        for second in 0..600 {
            round(&world).await;
            world.clock.advance(1);
            let id = &ids[second % CONNECTIONS];
            assert_eq!(generation(&world, id).await, 1, "it serves");
        }
        let during = token_requests(&world) - before;
        for id in &ids {
            assert_eq!(world.check(id).await["status"], "ACTIVE");
        }
        // At first 8 a second, until the breaker opens, and then its probes.
        assert!((5..=40).contains(&during), "{during} requests");

        world.simulator.clear_failures();
        let mut by_second = vec![];
        while world.simulator.counts().refreshes < CONNECTIONS as u64 {
            assert!(by_second.len() < 180, "not in time: {by_second:?}");
            let before = token_requests(&world);
            round(&world).await;
            by_second.push(token_requests(&world) - before);
            world.clock.advance(1);
        }
        let back = by_second
            .iter()
            .position(|made| *made > 0)
            .expect("a probe");
        for (second, made) in by_second[back..].iter().enumerate() {
            let budget = 1 << (second / 10).min(3);
            assert!(*made <= budget, "{made} in second {second}: {by_second:?}");
        }
        for id in &ids {
            assert_eq!(generation(&world, id).await, 2);
            assert_eq!(world.check(id).await["status"], "ACTIVE");
        }
        println!(
            "{db:?}: {CONNECTIONS} connections, 600 s of 503: {during} requests, 0 connections out of ACTIVE; \
             back after {back} s, all refreshed {} s later, by second {:?}",
            by_second.len() - back,
            &by_second[back..]
        );
    }
);

/// What a lost answer costs with a provider of this definition and behaviour.
async fn after_a_lost_answer(world: &World, name: &str) -> String {
    let id = world.connect_to(name, "user-1").await;
    world
        .simulator
        .fail_next(Endpoint::Token, 1, Failure::LoseAnswer);
    let (_, error) = world.refresh(&id, json!({})).await;
    assert_eq!(reason(&error), "REFRESH_UNCERTAIN");
    id
}

both!(
    within_the_reuse_interval_a_refresh_token_is_sent_again,
    |world: World| async move {
        world.behave(|behaviour| behaviour.refresh_reuse_interval = 60);
        let changes = json!({ "oauth2": { "refresh_reuse_interval": 60 } });
        world.create_provider("lenient", changes).await;
        let id = after_a_lost_answer(&world, "lenient").await;
        world.clock.advance(30);
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!(
            (status, &token["generation"]),
            (StatusCode::OK, &json!(2)),
            "{token}"
        );

        // Later, it would look stolen.
        let id = after_a_lost_answer(&world, "lenient").await;
        world.clock.advance(61);
        let before = token_requests(&world);
        let (_, error) = world.refresh(&id, json!({})).await;
        assert_eq!(reason(&error), "REFRESH_UNCERTAIN");
        assert_eq!(token_requests(&world), before);
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        assert_eq!(world.simulator.counts().refresh_reuses, 0);
    }
);

both!(
    a_refresh_token_that_never_rotates_is_simply_sent_again,
    |world: World| async move {
        world.behave(|behaviour| behaviour.omit_refresh_token_on_refresh = true);
        let changes = json!({ "oauth2": { "refresh_token_rotation": false } });
        world.create_provider("steady", changes).await;
        let id = after_a_lost_answer(&world, "steady").await;
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!(
            (status, &token["generation"]),
            (StatusCode::OK, &json!(2)),
            "{token}"
        );
    }
);

both!(
    the_loop_lets_a_refresh_token_rest_until_its_access_token_has_expired,
    |world: World| async move {
        let id = world.connect("user-1").await;
        world.clock.advance(2970);
        world
            .simulator
            .fail_next(Endpoint::Token, 1, Failure::status(502));
        assert_eq!(round(&world).await, 1);
        for _ in 0..6 {
            world.clock.advance(100);
            assert_eq!(round(&world).await, 0);
        }
        world.clock.advance(30);
        assert_eq!(round(&world).await, 1);
        assert_eq!(generation(&world, &id).await, 2);
    }
);

both!(
    a_lease_that_ran_out_is_recorded_as_an_unknown_outcome,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let mut database = Database::of(&world).await;
        let (row, past) = (database.id(&id), database.time("2020-01-01 00:00:00"));
        database
            .execute(&format!(
                "update credentials set lease_owner = {row}, lease_epoch = lease_epoch + 1, \
                 lease_until = {past} where connection_id = {row}"
            ))
            .await;
        let (_, error) = world.refresh(&id, json!({})).await;
        assert_eq!(reason(&error), "REFRESH_UNCERTAIN");
        let recorded = format!(
            "select 'yes' as line from credentials where connection_id = {row} \
             and uncertain_since < {past} and lease_until is null"
        );
        assert_eq!(database.lines(&recorded).await, ["yes"]);
        let events = world.audit("credential.refreshed").await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["reason"], "refresh_uncertain");
        // Once is enough.
        world.refresh(&id, json!({})).await;
        assert_eq!(world.audit("credential.refreshed").await.len(), 1);
        assert_eq!(token_requests(&world), 1);
        assert_eq!(journalled::replay(&world.core).await, 0);
    }
);
