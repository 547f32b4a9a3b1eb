//! The main job, from consent to revocation.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::{World, both, reason};

both!(
    a_connection_goes_from_consent_to_token_to_refresh_to_revocation,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let id = begun["connection_id"].as_str().expect("an id");
        assert_eq!(world.check(id).await["status"], "PENDING");
        let (status, error) = world.token(id).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "CONNECTION_PENDING")
        );

        world.consent(&begun).await;
        assert_eq!(world.check(id).await["status"], "ACTIVE");
        let (status, first) = world.token(id).await;
        assert_eq!(status, StatusCode::OK, "{first}");
        assert_eq!(first["strategy"]["type"], "oauth2");
        assert_eq!(first["generation"], 1);
        assert!(first["credentials"]["refresh_token"].is_null());

        let (status, second) = world.refresh(id, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{second}");
        assert_eq!(second["generation"], 2);
        assert_ne!(
            first["credentials"]["access_token"],
            second["credentials"]["access_token"]
        );

        let (status, revoked) = world
            .post(&format!("/v1/connections/{id}:revoke"), json!({}))
            .await;
        assert_eq!(
            (status, &revoked["status"]),
            (StatusCode::OK, &Value::from("REVOKED"))
        );
        let (status, error) = world.token(id).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::FORBIDDEN, "CONNECTION_REVOKED")
        );
        let actions: Vec<Value> =
            world.get(&format!("/v1/audit?connection_id={id}")).await.1["audit_events"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|event| event["action"].clone())
                .collect();
        for action in [
            "connection.requested",
            "connection.activated",
            "credential.read",
            "credential.refreshed",
            "connection.revoked",
        ] {
            assert!(actions.contains(&action.into()), "{action} in {actions:?}");
        }
    }
);
