//! A second consent for the same connection, and consents that come too late.

use dromos_simulator::{
    Endpoint,
    browser::{self, Browser},
};
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    callback::{assert_refused, deliver, held, outcome},
    world::{RETURN_URL, World, both, query, reason},
};

both!(
    hardening_33_reconnecting_to_another_subject_changes_nothing,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let before = held(&world, &id).await;
        world.simulator.set_subject("mallory");
        let begun = world.reconnect(&id).await;
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        let end = world.consent(&begun).await;
        assert_eq!(query(&end, "status").as_deref(), Some("error"));
        assert_eq!(query(&end, "error").as_deref(), Some("subject_mismatch"));
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        assert_eq!(held(&world, &id).await, before);
        let failed = world.audit("connection.failed").await;
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0]["reason"], "subject_mismatch");
        assert_eq!(failed[0]["connection_id"], id.as_str());

        world.simulator.set_subject("ada");
        world.consent(&world.reconnect(&id).await).await;
        assert_eq!(held(&world, &id).await.0, 2);
    }
);

both!(
    hardening_34_a_newer_consent_ends_the_older_one,
    |world: World| async move {
        let first = world.request_connection("user-1").await;
        let id = first["connection_id"].as_str().expect("an id");
        let mut browser = Browser::new();
        let older = world.approved(&mut browser, &first).await;
        let second = world.reconnect(id).await;
        assert_refused(&world.open(&mut browser, &first).await);
        assert_refused(&deliver(&mut browser, &older).await);
        assert_eq!(world.check(id).await["status"], "PENDING");
        let newer = world.approved(&mut browser, &second).await;
        assert_eq!(outcome(&deliver(&mut browser, &newer).await), None);
        assert_eq!(world.check(id).await["status"], "ACTIVE");
    }
);

both!(
    hardening_34_the_latest_consent_completes_whatever_the_clocks_say,
    |world: World| async move {
        // Another broker, whose clock is behind, begins the newer consents.
        let first = world.request_connection("user-1").await;
        let id = first["connection_id"].as_str().expect("an id");
        for _ in 0..4 {
            let begun = world.reconnect(id).await;
            let end = world.consent(&begun).await;
            assert_eq!(query(&end, "error"), None, "{end}");
            world.clock.advance(-2);
        }
        assert_eq!(held(&world, id).await.0, 4);
    }
);

both!(
    hardening_34_a_consent_that_is_being_exchanged_yields_to_a_newer_one,
    |world: World| async move {
        for behind in [0, 2] {
            let first = world.request_connection("user-1").await;
            let id = first["connection_id"].as_str().expect("an id");
            let mut browser = Browser::new();
            let older = world.approved(&mut browser, &first).await;
            let gate = world.simulator.gate_answers(Endpoint::Token);
            let exchanging = async { deliver(&mut browser, &older).await };
            let meanwhile = async {
                gate.arrived().await;
                world.clock.advance(-behind);
                let begun = world.reconnect(id).await;
                gate.release();
                begun
            };
            let (page, second) = tokio::join!(exchanging, meanwhile);
            assert_eq!(outcome(&page).as_deref(), Some("superseded"));
            // It still waits for the newer one.
            assert_eq!(world.check(id).await["status"], "PENDING");
            let end = world.consent(&second).await;
            assert_eq!(query(&end, "error"), None, "{end}");
            assert_eq!(held(&world, id).await.0, 1);
        }
    }
);

both!(
    hardening_34_a_consent_begun_before_a_revocation_never_completes,
    |world: World| async move {
        // It waits for the user.
        let begun = world.request_connection("user-1").await;
        let id = begun["connection_id"].as_str().expect("an id");
        let mut browser = Browser::new();
        let answer = world.approved(&mut browser, &begun).await;
        revoke(&world, id).await;
        assert_refused(&world.open(&mut browser, &begun).await);
        assert_refused(&deliver(&mut browser, &answer).await);
        assert_eq!(world.check(id).await["status"], "REVOKED");
        // Its code is being exchanged.
        let begun = world.request_connection("user-2").await;
        let id = begun["connection_id"].as_str().expect("an id");
        let answer = world.approved(&mut browser, &begun).await;
        let gate = world.simulator.gate_answers(Endpoint::Token);
        let exchanging = async { deliver(&mut browser, &answer).await };
        let meanwhile = async {
            gate.arrived().await;
            revoke(&world, id).await;
            gate.release();
        };
        let (page, ()) = tokio::join!(exchanging, meanwhile);
        assert_eq!(outcome(&page).as_deref(), Some("superseded"));
        assert_eq!(world.check(id).await["status"], "REVOKED");
        // What the exchange yielded lives on nowhere.
        assert_eq!(world.simulator.counts().revoked, 1);
        let (status, error) = world.token(id).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::FORBIDDEN, "CONNECTION_REVOKED")
        );
        let (status, error) = world
            .post(
                &format!("/v1/connections/{id}:reconnect"),
                json!({ "return_url": RETURN_URL }),
            )
            .await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::FORBIDDEN, "CONNECTION_REVOKED")
        );
    }
);

both!(
    reconnecting_keeps_the_id_and_the_status_until_it_succeeds,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let before = held(&world, &id).await;
        let begun = world.reconnect(&id).await;
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        assert_eq!(held(&world, &id).await, before);
        // Refused by the user: nothing changes.
        let auth_url = begun["auth_url"].as_str().expect("an auth_url");
        let end = Browser::new()
            .walk(auth_url, RETURN_URL, browser::deny)
            .await
            .expect("the browser arrives");
        assert_eq!(query(&end, "error").as_deref(), Some("access_denied"));
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        assert_eq!(held(&world, &id).await, before);
        // Not taken up at all: nothing changes either.
        world.reconnect(&id).await;
        world.clock.advance(601);
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        // From ATTENTION it leads back to ACTIVE.
        world.simulator.revoke_grant("ada");
        let (status, error) = world.refresh(&id, json!({})).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "CONNECTION_ATTENTION_REQUIRED")
        );
        let begun = world.reconnect(&id).await;
        assert_eq!(world.check(&id).await["status"], "ATTENTION");
        world.consent(&begun).await;
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        let after = held(&world, &id).await;
        assert_eq!(after.0, 2);
        assert_ne!(after.1, before.1);
    }
);

async fn revoke(world: &World, id: &str) {
    let (status, revoked) = world
        .post(&format!("/v1/connections/{id}:revoke"), json!({}))
        .await;
    assert_eq!(status, StatusCode::OK, "{revoked}");
    assert_eq!(revoked["status"], "REVOKED");
}
