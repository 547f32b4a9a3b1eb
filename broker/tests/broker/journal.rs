//! What a provider answered outlives the task, and the process, that got the
//! answer: it is in the journal until it is in the database.

use dromos_broker::{domain::failpoint::Failpoint, flow::journalled};
use dromos_simulator::Failure;
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    refresh::reconnected,
    world::{World, both, eventually, reason},
};

fn entries(world: &World) -> Vec<std::path::PathBuf> {
    let folder = world.data_dir.path().join("journal");
    let files = std::fs::read_dir(folder).expect("the journal's folder");
    files.map(|file| file.expect("a file").path()).collect()
}

async fn serves(world: &World, id: &str, generation: u32) {
    let (status, token) = world.token(id).await;
    assert_eq!(
        (status, &token["generation"]),
        (StatusCode::OK, &json!(generation)),
        "{token}"
    );
    assert_eq!(world.check(id).await["status"], "ACTIVE");
}

/// The refresh token that is stored is the one that the provider expects.
async fn goes_on(world: &World, id: &str, generation: u32) {
    let (status, token) = world.refresh(id, json!({})).await;
    assert_eq!(
        (status, &token["generation"]),
        (StatusCode::OK, &json!(generation)),
        "{token}"
    );
    assert_eq!(world.simulator.counts().refresh_reuses, 0);
}

/// A refresh that comes to grief at a point.
async fn refresh_until(world: &World, id: &str, point: Failpoint) {
    world.mishaps.next(point);
    let (status, error) = world.refresh(id, json!({})).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{error}");
}

both!(
    a_journalled_refresh_is_stored_by_the_replay,
    |world: World| async move {
        for point in [Failpoint::RefreshJournalled, Failpoint::RefreshSealed] {
            let id = world.connect("user-1").await;
            refresh_until(&world, &id, point).await;
            assert_eq!(entries(&world).len(), 1, "{point:?}");
            serves(&world, &id, 1).await;
            assert_eq!(journalled::replay(&world.core).await, 0, "{point:?}");
            assert!(entries(&world).is_empty());
            serves(&world, &id, 2).await;
            goes_on(&world, &id, 3).await;
        }
    }
);

both!(
    a_journalled_refresh_is_stored_before_the_next_claim,
    |world: World| async move {
        let id = world.connect("user-1").await;
        refresh_until(&world, &id, Failpoint::RefreshJournalled).await;
        // The spent refresh token is not sent: what came for it is stored.
        let (status, token) = world.refresh(&id, json!({})).await;
        assert_eq!(
            (status, &token["generation"]),
            (StatusCode::OK, &json!(2)),
            "{token}"
        );
        goes_on(&world, &id, 3).await;
    }
);

both!(
    a_refresh_that_was_stored_is_not_stored_again,
    |world: World| async move {
        let id = world.connect("user-1").await;
        refresh_until(&world, &id, Failpoint::RefreshCommitted).await;
        assert_eq!(entries(&world).len(), 1);
        serves(&world, &id, 2).await;
        let before = world.token(&id).await.1;
        assert_eq!(journalled::replay(&world.core).await, 0);
        assert!(entries(&world).is_empty());
        assert_eq!(
            world.token(&id).await.1["credentials"],
            before["credentials"]
        );
        assert_eq!(world.audit("credential.refreshed").await.len(), 1);
        goes_on(&world, &id, 3).await;
    }
);

both!(
    a_journalled_consent_is_completed_by_the_replay,
    |world: World| async move {
        for point in [Failpoint::ConsentJournalled, Failpoint::ConsentSealed] {
            let begun = world.request_connection("user-1").await;
            let id = begun["connection_id"].as_str().expect("an id").to_owned();
            world.mishaps.next(point);
            callback_breaks(&begun).await;
            assert_eq!(world.check(&id).await["status"], "PENDING", "{point:?}");
            // However long the broker was down: the id_token is judged by the
            // time at which it came.
            world.clock.advance(2 * 86_400 / 3);
            assert_eq!(journalled::replay(&world.core).await, 0, "{point:?}");
            assert!(entries(&world).is_empty());
            assert_eq!(world.check(&id).await["status"], "ACTIVE", "{point:?}");
            goes_on(&world, &id, 2).await;
        }
    }
);

both!(
    a_consent_that_was_completed_is_not_completed_again,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let id = begun["connection_id"].as_str().expect("an id").to_owned();
        world.mishaps.next(Failpoint::ConsentCommitted);
        callback_breaks(&begun).await;
        serves(&world, &id, 1).await;
        // Meanwhile another broker refreshes it: this is what must stay.
        let elsewhere = world.core.journal.take(world.core.journal.left()[0].id);
        goes_on(&world, &id, 2).await;
        let fresh = world.token(&id).await.1;
        drop(elsewhere);
        assert_eq!(journalled::replay(&world.core).await, 0);
        assert!(entries(&world).is_empty());
        assert_eq!(
            world.token(&id).await.1["credentials"],
            fresh["credentials"]
        );
        goes_on(&world, &id, 3).await;
        assert_eq!(world.audit("connection.activated").await.len(), 1);
    }
);

async fn callback_breaks(begun: &serde_json::Value) {
    let mut browser = dromos_simulator::browser::Browser::new();
    let walked = browser
        .walk(
            begun["auth_url"].as_str().expect("an auth_url"),
            crate::world::RETURN_URL,
            dromos_simulator::browser::approve,
        )
        .await;
    assert!(walked.is_err(), "the callback came to grief");
}

both!(
    replayed_tokens_of_a_revoked_connection_are_revoked_upstream,
    |world: World| async move {
        let id = world.connect("user-1").await;
        refresh_until(&world, &id, Failpoint::RefreshJournalled).await;
        let path = format!("/v1/connections/{id}:revoke");
        assert_eq!(world.post(&path, json!({})).await.0, StatusCode::OK);
        eventually("the old token is revoked upstream", async || {
            world.simulator.counts().revoked == 1
        })
        .await;
        assert_eq!(journalled::replay(&world.core).await, 0);
        assert_eq!(world.simulator.counts().revoked, 2);
        assert_eq!(world.check(&id).await["status"], "REVOKED");
        assert_eq!(reason(&world.token(&id).await.1), "CONNECTION_REVOKED");
        assert!(entries(&world).is_empty());
    }
);

both!(
    a_reconnect_wins_over_a_refresh_that_is_replayed_later,
    |world: World| async move {
        let id = world.connect("user-1").await;
        refresh_until(&world, &id, Failpoint::RefreshJournalled).await;
        reconnected(&world, &id).await;
        let fresh = world.token(&id).await.1;
        assert_eq!(journalled::replay(&world.core).await, 0);
        assert_eq!(
            world.token(&id).await.1["credentials"],
            fresh["credentials"]
        );
        goes_on(&world, &id, 3).await;
    }
);

both!(
    replayed_tokens_heal_a_connection_whose_old_refresh_token_was_refused_meanwhile,
    |world: World| async move {
        let id = world.connect("user-1").await;
        refresh_until(&world, &id, Failpoint::RefreshJournalled).await;
        // The lease runs out and, once the token has expired, another broker
        // sends the old refresh token, which is spent.
        let entry = world.core.journal.left().remove(0);
        let elsewhere = world.core.journal.take(entry.id);
        let row = crate::database::Database::of(&world).await;
        let (key, past) = (row.id(&id), row.time("2020-01-01 00:00:00"));
        world
            .sql(&format!(
                "update credentials set lease_until = {past} where connection_id = {key}"
            ))
            .await;
        world.clock.advance(3700);
        world.simulator.fail_next(
            dromos_simulator::Endpoint::Token,
            1,
            Failure::error(400, "invalid_grant"),
        );
        let (_, error) = world.token(&id).await;
        assert_eq!(reason(&error), "CONNECTION_ATTENTION_REQUIRED", "{error}");
        let checked = world.check(&id).await;
        assert_eq!(checked["reason"], "refresh_outcome_unknown");

        drop(elsewhere);
        assert_eq!(journalled::replay(&world.core).await, 0);
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        // What was issued then has expired since; its refresh token is good.
        let (status, token) = world.token(&id).await;
        assert_eq!(
            (status, &token["generation"]),
            (StatusCode::OK, &json!(3)),
            "{token}"
        );
        assert_eq!(world.simulator.counts().refresh_reuses, 0);
    }
);

both!(
    a_journal_that_cant_be_written_keeps_nobody_from_refreshing,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let folder = world.data_dir.path().join("journal");
        std::fs::remove_dir_all(&folder).expect("it goes");
        std::fs::write(&folder, "a file in its place").expect("a file");
        goes_on(&world, &id, 2).await;
        serves(&world, &id, 2).await;
        assert!(world.core.journal.left().is_empty());
    }
);

both!(
    plaintext_never_rests_in_the_journal,
    |world: World| async move {
        let id = world.connect("user-1").await;
        refresh_until(&world, &id, Failpoint::RefreshJournalled).await;
        let entry = entries(&world).remove(0);
        let text = std::fs::read_to_string(entry).expect("an entry");
        assert!(text.contains(&id), "an operator sees whose it is: {text}");
        journalled::replay(&world.core).await;
        let (_, token) = world.token(&id).await;
        let access_token = token["credentials"]["access_token"].as_str();
        let access_token = access_token.expect("a token");
        assert!(!text.contains(access_token));
        for word in ["access_token", "refresh_token", "Bearer"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
);

both!(
    an_entry_that_was_moved_to_another_connection_opens_nowhere,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let other = world.connect("user-2").await;
        refresh_until(&world, &id, Failpoint::RefreshJournalled).await;
        let entry = world.core.journal.left().remove(0);
        world
            .core
            .journal
            .take(entry.id)
            .expect("free")
            .settled()
            .await;
        let moved = dromos_broker::journal::Entry {
            connection_id: other.parse().expect("an id"),
            ..entry
        };
        drop(world.core.journal.append(moved).await.expect("written"));
        assert_eq!(journalled::replay(&world.core).await, 1, "it stays");
        serves(&world, &other, 1).await;
        // After a day it is put aside for a person, and not deleted.
        world.clock.advance(90_000);
        assert_eq!(journalled::replay(&world.core).await, 0);
        let left = entries(&world).remove(0);
        assert_eq!(left.extension().expect("an end"), "unreadable");
    }
);
