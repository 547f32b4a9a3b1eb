//! Workspaces are sealed off from each other, whoever asks.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{ADMIN_KEY, RETURN_URL, SERVICE_KEY, World, both, reason};

const DEFAULT_WORKSPACE: &str = "00000000-0000-7000-8000-000000000000";

both!(
    hardening_31_no_header_chooses_the_workspace_or_the_key,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let (workspace_id, stranger) = second_workspace(&world).await;
        assert_ne!(workspace_id, DEFAULT_WORKSPACE);
        let tricks = [
            ("x-dromos-key", ADMIN_KEY),
            ("x-dromos-workspace", DEFAULT_WORKSPACE),
            ("x-workspace-id", DEFAULT_WORKSPACE),
            ("x-forwarded-user", "admin"),
            ("grpc-metadata-x-dromos-key", ADMIN_KEY),
            ("x-forwarded-authorization", "Bearer admin"),
        ];
        for (name, value) in tricks {
            let answer = world
                .http
                .get(format!("{}/v1/token/{id}", world.gateway_url))
                .bearer_auth(&stranger)
                .header(name, value)
                .send()
                .await
                .expect("an answer");
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{name}");
            // Not even a gateway, which has the service key, can say who calls.
            if name != "x-dromos-key" {
                let answer = world
                    .http
                    .get(format!("{}/connections/{id}/token", world.broker_url))
                    .bearer_auth(SERVICE_KEY)
                    .header("x-dromos-key", &stranger)
                    .header(name, value)
                    .send()
                    .await
                    .expect("an answer");
                assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{name}");
            }
        }
    }
);

both!(
    hardening_31_another_workspaces_things_do_not_exist,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let (_, keys) = world.get("/v1/api-keys").await;
        let key_id = keys["api_keys"][0]["id"].as_str().expect("an id");
        let (_, provider) = world.get("/v1/providers/sim").await;
        let provider_id = provider["id"].as_str().expect("an id");
        let (_, stranger) = second_workspace(&world).await;
        let back = json!({ "return_url": RETURN_URL });
        let nothing = json!({});
        for (method, path, body, expected) in [
            (
                Method::GET,
                format!("/v1/check-connection/{id}"),
                Value::Null,
                "CONNECTION",
            ),
            (
                Method::GET,
                format!("/v1/connections/{id}"),
                Value::Null,
                "CONNECTION",
            ),
            (
                Method::GET,
                format!("/v1/token/{id}"),
                Value::Null,
                "CONNECTION",
            ),
            (
                Method::POST,
                format!("/v1/refresh/{id}"),
                nothing.clone(),
                "CONNECTION",
            ),
            (
                Method::POST,
                format!("/v1/connections/{id}:reconnect"),
                back,
                "CONNECTION",
            ),
            (
                Method::POST,
                format!("/v1/connections/{id}:revoke"),
                nothing.clone(),
                "CONNECTION",
            ),
            (
                Method::GET,
                "/v1/providers/sim".to_owned(),
                Value::Null,
                "PROVIDER",
            ),
            (
                Method::PATCH,
                "/v1/providers/sim".to_owned(),
                json!({ "display_name": "Mine" }),
                "PROVIDER",
            ),
            (
                Method::DELETE,
                "/v1/providers/sim?force=true".to_owned(),
                Value::Null,
                "PROVIDER",
            ),
            (
                Method::POST,
                "/v1/request-connection".to_owned(),
                json!({ "user_id": "u", "provider_id": provider_id, "return_url": RETURN_URL }),
                "PROVIDER",
            ),
            (
                Method::GET,
                format!("/v1/api-keys/{key_id}"),
                Value::Null,
                "API_KEY",
            ),
            (
                Method::DELETE,
                format!("/v1/api-keys/{key_id}"),
                Value::Null,
                "API_KEY",
            ),
        ] {
            let (status, error) = world.call_as(&stranger, method.clone(), &path, body).await;
            assert_eq!(
                (status, reason(&error)),
                (
                    StatusCode::NOT_FOUND,
                    format!("{expected}_NOT_FOUND").as_str()
                ),
                "{method} {path}: {error}"
            );
        }
        for (path, field) in [
            ("/v1/connections", "connections"),
            ("/v1/providers", "providers"),
        ] {
            let (status, page) = world
                .call_as(&stranger, Method::GET, path, Value::Null)
                .await;
            assert_eq!(
                (status, &page[field]),
                (StatusCode::OK, &json!([])),
                "{path}"
            );
        }
        let (_, page) = world
            .call_as(
                &stranger,
                Method::GET,
                "/v1/audit?page_size=1000",
                Value::Null,
            )
            .await;
        for event in page["audit_events"].as_array().expect("a list") {
            // What it did in vain is its own; what was done to the others is not.
            assert_ne!(event["outcome"], "success", "{event}");
            assert_eq!(event["user_id"], "", "{event}");
        }
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
    }
);

/// A workspace beside the default one: its id, and an admin's key in it.
pub async fn second_workspace(world: &World) -> (String, String) {
    let (status, workspace) = world
        .post("/v1/workspaces", json!({ "name": "second" }))
        .await;
    assert_eq!(status, StatusCode::OK, "{workspace}");
    let id = workspace["id"].as_str().expect("an id").to_owned();
    let (status, created) = world
        .post(
            "/v1/api-keys",
            json!({ "name": "admin", "scopes": ["admin"], "workspace_id": id }),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{created}");
    assert_eq!(created["api_key"]["workspace_id"], id.as_str());
    (id, created["secret"].as_str().expect("a secret").to_owned())
}
