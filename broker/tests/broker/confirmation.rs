//! ConfirmConnection: a link that was sent to somebody else binds nobody's
//! account.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    callback::held,
    world::{RETURN_URL, World, both, fields, query, reason},
};

impl World {
    /// Requests a connection that has to be confirmed.
    async fn request_with_confirmation(&self, user_id: &str) -> Value {
        let body = json!({
            "user_id": user_id, "provider_name": "sim", "return_url": RETURN_URL,
            "require_confirmation": true,
        });
        let (status, begun) = self.post("/v1/request-connection", body).await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        begun
    }

    async fn confirm(&self, id: &str, code: &str) -> (StatusCode, Value) {
        let body = json!({ "confirmation_code": code });
        self.post(&format!("/v1/connections/{id}:confirm"), body)
            .await
    }

    /// The code that the browser brought to the application.
    async fn code_of(&self, begun: &Value) -> String {
        let end = self.consent(begun).await;
        assert_eq!(query(&end, "status").as_deref(), Some("success"), "{end}");
        query(&end, "confirmation_code").expect("a code")
    }

    async fn reconnect_with_confirmation(&self, id: &str) -> Value {
        let body = json!({ "return_url": RETURN_URL, "require_confirmation": true });
        let path = format!("/v1/connections/{id}:reconnect");
        let (status, begun) = self.post(&path, body).await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        begun
    }

    async fn assert_code_is_refused(&self, id: &str, code: &str) {
        let (status, error) = self.confirm(id, code).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
        assert_eq!(fields(&error), ["confirmation_code"]);
        assert!(!error.to_string().contains(code), "{error}");
    }
}

fn id_of(begun: &Value) -> &str {
    begun["connection_id"].as_str().expect("an id")
}

both!(
    hardening_28_a_consent_serves_nobody_before_it_is_confirmed,
    |world: World| async move {
        let begun = world.request_with_confirmation("user-1").await;
        let id = id_of(&begun);
        let code = world.code_of(&begun).await;
        let checked = world.check(id).await;
        assert_eq!(
            (&checked["status"], &checked["reason"]),
            (&"PENDING".into(), &"confirmation_required".into())
        );
        let (status, error) = world.token(id).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "CONNECTION_PENDING")
        );
        let (status, connection) = world.confirm(id, &code).await;
        assert_eq!(
            (status, &connection["status"]),
            (StatusCode::OK, &"ACTIVE".into())
        );
        assert_eq!(connection["reason"], "");
        let (status, payload) = world.token(id).await;
        assert_eq!(
            (status, &payload["generation"]),
            (StatusCode::OK, &1.into())
        );
        let (status, _) = world.refresh(id, json!({})).await;
        assert_eq!(status, StatusCode::OK);
        // It works once.
        world.assert_code_is_refused(id, &code).await;
        assert_eq!(
            world.audit("connection.confirmation_requested").await.len(),
            1
        );
        assert_eq!(world.audit("connection.activated").await.len(), 1);
    }
);

both!(
    hardening_28_a_code_belongs_to_one_consent_of_one_connection,
    |world: World| async move {
        let (one, two) = (
            world.request_with_confirmation("attacker").await,
            world.request_with_confirmation("victim").await,
        );
        let (code_one, code_two) = (world.code_of(&one).await, world.code_of(&two).await);
        world.assert_code_is_refused(id_of(&one), &code_two).await;
        world.assert_code_is_refused(id_of(&two), "nonsense").await;
        // A connection without any consent that waits says the same.
        let none = world.connect("user-1").await;
        world.assert_code_is_refused(&none, &code_one).await;
        assert_eq!(
            world.confirm(id_of(&one), &code_one).await.0,
            StatusCode::OK
        );
        // A newer consent supersedes the one that waits.
        world.reconnect_with_confirmation(id_of(&two)).await;
        world.assert_code_is_refused(id_of(&two), &code_two).await;
        assert_eq!(world.check(id_of(&two)).await["status"], "PENDING");
    }
);

both!(
    hardening_28_wrong_codes_are_counted_and_time_runs_out,
    |world: World| async move {
        let begun = world.request_with_confirmation("user-1").await;
        let code = world.code_of(&begun).await;
        for n in 0..5 {
            world
                .assert_code_is_refused(id_of(&begun), &format!("guess-{n}"))
                .await;
        }
        world.assert_code_is_refused(id_of(&begun), &code).await;

        let late = world.request_with_confirmation("user-2").await;
        let code = world.code_of(&late).await;
        world.clock.advance(600);
        world.assert_code_is_refused(id_of(&late), &code).await;
        assert_eq!(world.check(id_of(&late)).await["status"], "FAILED");
        // Upkeep forgets both, and tells the provider.
        let upkeep = dromos_broker::flow::upkeep::once(&world.core).await;
        upkeep.expect("upkeep");
        for begun in [&begun, &late] {
            let id = id_of(begun);
            let held = world
                .core
                .store
                .confirmation(
                    dromos_broker::domain::id::WorkspaceId::DEFAULT,
                    id.parse().expect("an id"),
                )
                .await;
            assert_eq!(held.expect("the store answers"), None);
        }
        assert_eq!(world.audit("connection.revoked_upstream").await.len(), 2);
    }
);

both!(
    hardening_28_a_reconnect_leaves_the_old_credential_in_use_until_confirmed,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let before = held(&world, &id).await;
        let begun = world.reconnect_with_confirmation(&id).await;
        let code = world.code_of(&begun).await;
        assert_eq!(held(&world, &id).await, before);
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        let (status, _) = world.confirm(&id, &code).await;
        assert_eq!(status, StatusCode::OK);
        let (_, payload) = world.token(&id).await;
        assert_eq!(payload["generation"], 2);
        assert_ne!(held(&world, &id).await, before);
    }
);

both!(
    hardening_28_a_code_that_comes_twice_at_once_works_once,
    |world: World| async move {
        let begun = world.request_with_confirmation("user-1").await;
        let (id, code) = (id_of(&begun), world.code_of(&begun).await);
        let (a, b, c) = tokio::join!(
            world.confirm(id, &code),
            world.confirm(id, &code),
            world.confirm(id, &code)
        );
        let good = [&a, &b, &c]
            .iter()
            .filter(|answer| answer.0 == StatusCode::OK)
            .count();
        assert_eq!(good, 1, "{a:?} {b:?} {c:?}");
        let (_, payload) = world.token(id).await;
        assert_eq!(payload["generation"], 1);
    }
);

both!(
    hardening_28_a_revoked_connection_is_not_confirmed_and_keeps_nothing,
    |world: World| async move {
        let begun = world.request_with_confirmation("user-1").await;
        let (id, code) = (id_of(&begun), world.code_of(&begun).await);
        world
            .post(&format!("/v1/connections/{id}:revoke"), json!({}))
            .await;
        let (status, error) = world.confirm(id, &code).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::FORBIDDEN, "CONNECTION_REVOKED")
        );
        let upstream = world.audit("connection.revoked_upstream").await;
        assert_eq!(upstream.len(), 1, "the provider is told of what waited");
        assert_eq!(upstream[0]["outcome"], "success");
    }
);

both!(
    a_confirmation_may_be_repeated_by_its_request_id,
    |world: World| async move {
        let begun = world.request_with_confirmation("user-1").await;
        let (id, code) = (id_of(&begun), world.code_of(&begun).await);
        let body = json!({ "confirmation_code": code, "request_id": "r-1" });
        let path = format!("/v1/connections/{id}:confirm");
        let first = world.post(&path, body.clone()).await;
        assert_eq!(first.0, StatusCode::OK, "{}", first.1);
        assert_eq!(world.post(&path, body).await, first);
    }
);
