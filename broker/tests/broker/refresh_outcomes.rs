//! What a failed refresh means: only the provider's own refusal of the grant
//! ends a connection, and an outcome that nobody knows stays recorded.

use reqwest::StatusCode;
use serde_json::{Value, json};

use dromos_simulator::{Endpoint, Failure};

use crate::{
    database::Database,
    network::Relay,
    refresh::{reconnect, reconnected},
    world::{World, both, reason, retry_delay},
};

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

fn fail(world: &World, n: u32, failure: Failure) {
    world.simulator.fail_next(Endpoint::Token, n, failure);
}

fn token_requests(world: &World) -> u64 {
    world.simulator.counts().of(Endpoint::Token)
}

async fn serves(world: &World, id: &str, generation: u32) {
    let (status, token) = world.token(id).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    assert_eq!(token["generation"], generation);
    assert_eq!(world.check(id).await["status"], "ACTIVE");
}

both!(
    only_the_providers_refusal_asks_for_attention_and_a_reconnect_heals_it,
    |world: World| async move {
        for error in ["invalid_grant", "interaction_required"] {
            let id = world.connect("user-1").await;
            fail(&world, 1, Failure::error(400, error));
            let (status, refused) = world.refresh(&id, json!({})).await;
            assert_eq!(
                (status, reason(&refused)),
                (StatusCode::BAD_REQUEST, "CONNECTION_ATTENTION_REQUIRED")
            );
            assert_eq!(reconnect(&refused), "true");
            let checked = world.check(&id).await;
            assert_eq!(checked["status"], "ATTENTION");
            assert_eq!(checked["reason"], error);
            let (_, refused) = world.token(&id).await;
            assert_eq!(reason(&refused), "CONNECTION_ATTENTION_REQUIRED");
            reconnected(&world, &id).await;
            serves(&world, &id, 2).await;
        }
    }
);

both!(
    hardening_10_no_outage_and_no_misconfiguration_counts_as_a_dead_grant,
    |world: World| async move {
        let failures = [
            (Failure::too_many_requests(7), "PROVIDER_UNAVAILABLE"),
            (Failure::status(500), "PROVIDER_UNAVAILABLE"),
            (Failure::status(503), "PROVIDER_UNAVAILABLE"),
            (
                Failure::error(503, "temporarily_unavailable"),
                "PROVIDER_UNAVAILABLE",
            ),
            (Failure::error(400, "server_error"), "PROVIDER_UNAVAILABLE"),
            (
                Failure::error(401, "invalid_client"),
                "PROVIDER_MISCONFIGURED",
            ),
            (
                Failure::error(400, "unauthorized_client"),
                "PROVIDER_MISCONFIGURED",
            ),
            (
                Failure::error(400, "invalid_request"),
                "PROVIDER_MISCONFIGURED",
            ),
            (Failure::status(404), "PROVIDER_MISCONFIGURED"),
            (Failure::Cut, "REFRESH_UNCERTAIN"),
        ];
        for (failure, expected) in failures {
            let id = world.connect("user-1").await;
            fail(&world, 1, failure.clone());
            let (status, error) = world.refresh(&id, json!({})).await;
            assert_eq!(reason(&error), expected, "{failure:?}: {error}");
            if status == UNAVAILABLE {
                assert!(retry_delay(&error).is_some(), "{failure:?}: {error}");
            }
            serves(&world, &id, 1).await;
        }
    }
);

both!(
    hardening_11_an_error_with_status_200_is_an_error,
    |world: World| async move {
        world.behave(|behaviour| behaviour.error_with_200 = true);
        let id = world.connect("user-1").await;
        fail(&world, 1, Failure::error(200, "invalid_client"));
        let (_, error) = world.refresh(&id, json!({})).await;
        assert_eq!(reason(&error), "PROVIDER_MISCONFIGURED");
        serves(&world, &id, 1).await;
        world.simulator.revoke_grant("ada");
        let (_, error) = world.refresh(&id, json!({})).await;
        assert_eq!(reason(&error), "CONNECTION_ATTENTION_REQUIRED");
        assert_eq!(world.check(&id).await["status"], "ATTENTION");
    }
);

both!(
    a_valid_token_is_served_while_the_provider_is_down_and_an_expired_one_is_not,
    |world: World| async move {
        let id = world.connect("user-1").await;
        fail(&world, 100, Failure::status(503));
        world.clock.advance(3400);
        serves(&world, &id, 1).await;
        assert_eq!(token_requests(&world), 2, "it was tried");
        world.clock.advance(200);
        let (status, error) = world.token(&id).await;
        assert_eq!(
            (status, reason(&error)),
            (UNAVAILABLE, "PROVIDER_UNAVAILABLE")
        );
        assert!(retry_delay(&error).is_some(), "{error}");
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        world.simulator.clear_failures();
        world.clock.advance(60);
        serves(&world, &id, 2).await;
    }
);

both!(
    a_failed_refresh_is_tried_again_only_when_it_is_due,
    |world: World| async move {
        let id = world.connect("user-1").await;
        world.clock.advance(3400);
        fail(&world, 1, Failure::too_many_requests(30));
        serves(&world, &id, 1).await;
        assert_eq!(token_requests(&world), 2);
        for _ in 0..3 {
            world.clock.advance(9);
            serves(&world, &id, 1).await;
        }
        assert_eq!(token_requests(&world), 2, "the provider wants 30 seconds");
        world.clock.advance(3);
        serves(&world, &id, 2).await;
        assert_eq!(token_requests(&world), 3);
    }
);

both!(
    a_forced_refresh_does_not_wait_for_the_next_attempt,
    |world: World| async move {
        let id = world.connect("user-1").await;
        fail(&world, 1, Failure::status(503));
        let (status, error) = world.refresh(&id, json!({})).await;
        assert_eq!(
            (status, reason(&error)),
            (UNAVAILABLE, "PROVIDER_UNAVAILABLE")
        );
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!(
            (status, &token["generation"]),
            (StatusCode::OK, &json!(2)),
            "{token}"
        );
    }
);

both!(
    a_lost_answer_is_recorded_and_the_refresh_token_rests_until_expiry,
    |world: World| async move {
        let lost = [
            (Failure::LoseAnswer, true),
            (Failure::Truncate, true),
            (Failure::status(502), false),
            (Failure::status(504), false),
        ];
        for (failure, spent) in lost {
            let id = world.connect("user-1").await;
            let before = token_requests(&world);
            fail(&world, 1, failure.clone());
            for _ in 0..2 {
                let (status, error) = world.refresh(&id, json!({})).await;
                assert_eq!(
                    (status, reason(&error)),
                    (UNAVAILABLE, "REFRESH_UNCERTAIN"),
                    "{failure:?}"
                );
                assert!(retry_delay(&error).is_some(), "{error}");
            }
            world.clock.advance(3500);
            serves(&world, &id, 1).await;
            assert_eq!(token_requests(&world), before + 1, "{failure:?}: sent once");

            world.clock.advance(100);
            let (status, answer) = world.token(&id).await;
            assert_eq!(
                token_requests(&world),
                before + 2,
                "{failure:?}: sent again"
            );
            if spent {
                assert_eq!(reason(&answer), "CONNECTION_ATTENTION_REQUIRED", "{answer}");
                let checked = world.check(&id).await;
                assert_eq!(checked["status"], "ATTENTION");
                assert_eq!(checked["reason"], "refresh_outcome_unknown");
            } else {
                assert_eq!((status, &answer["generation"]), (StatusCode::OK, &json!(2)));
                // The uncertainty ended with the answer.
                let (status, token) = world.refresh(&id, json!({})).await;
                assert_eq!(status, StatusCode::OK, "{token}");
            }
        }
    }
);

both!(
    a_lease_that_ran_out_unreleased_is_an_unknown_outcome,
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
        let (status, error) = world.refresh(&id, json!({})).await;
        assert_eq!((status, reason(&error)), (UNAVAILABLE, "REFRESH_UNCERTAIN"));
        world.clock.advance(3400);
        serves(&world, &id, 1).await;
        assert_eq!(token_requests(&world), 1, "whoever died may have sent it");
        world.clock.advance(200);
        serves(&world, &id, 2).await;
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(3)));
    }
);

both!(
    a_refresh_token_is_not_sent_to_a_token_endpoint_on_another_origin,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let relay = Relay::to(world.simulator.url()).await;
        let moved = json!({ "oauth2": {
            "token_endpoint": format!("{}/token", relay.url),
            "client_secret": world.simulator.client_secret(),
        } });
        let (status, changed) = world
            .call(
                reqwest::Method::PATCH,
                "/v1/providers/sim?update_mask=oauth2.token_endpoint,oauth2.client_secret",
                moved,
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{changed}");
        let (status, error) = world.refresh(&id, json!({})).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "PROVIDER_MISCONFIGURED")
        );
        world.clock.advance(3400);
        serves(&world, &id, 1).await;
        world.clock.advance(200);
        let (_, error) = world.token(&id).await;
        assert_eq!(reason(&error), "PROVIDER_MISCONFIGURED");
        assert!(relay.seen().is_empty(), "{:?}", relay.seen());

        // What the new origin issued itself goes there.
        reconnected(&world, &id).await;
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!((status, &token["generation"]), (StatusCode::OK, &json!(3)));
        assert_eq!(relay.seen().len(), 2);
    }
);

both!(
    a_failure_is_audited_with_a_word_of_ours_and_never_with_the_providers_text,
    |world: World| async move {
        let id = world.connect("user-1").await;
        fail(
            &world,
            1,
            Failure::error(400, "text-of-the-provider with details"),
        );
        let (_, error) = world.refresh(&id, json!({})).await;
        assert_eq!(reason(&error), "PROVIDER_MISCONFIGURED");
        assert!(!error.to_string().contains("text-of-the-provider"));
        let events = Value::from(world.audit("credential.refreshed").await);
        assert!(
            !events.to_string().contains("text-of-the-provider"),
            "{events}"
        );
        assert_eq!(events[0]["reason"], "provider_misconfigured", "{events}");
    }
);
