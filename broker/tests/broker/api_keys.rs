//! API keys: what they tell, how they end, what they may not give.

use chrono::TimeDelta;
use dromos_broker::domain::ambient::Clock;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    isolation::second_workspace,
    world::{World, both, fields, reason},
};

both!(
    an_api_keys_secret_is_shown_once_and_never_again,
    |world: World| async move {
        let (status, created) = world
            .post(
                "/v1/api-keys",
                json!({ "name": "ci", "scopes": ["connections:read", "audit:read", "audit:read"] }),
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{created}");
        let secret = created["secret"].as_str().expect("a secret").to_owned();
        assert!(secret.len() >= 43, "256 bits");
        let key = &created["api_key"];
        assert_eq!(key["name"], "ci");
        assert_eq!(key["scopes"], json!(["connections:read", "audit:read"]));
        assert!(key.get("expires_at").is_none() && key.get("last_used_at").is_none());
        assert!(!key.to_string().contains(&secret));
        let id = key["id"].as_str().expect("an id");
        let (_, one) = world.get(&format!("/v1/api-keys/{id}")).await;
        assert_eq!(&one, key);
        let (_, all) = world.get("/v1/api-keys").await;
        let keys = all["api_keys"].as_array().expect("a list");
        assert_eq!(keys.len(), 2);
        assert!(keys.contains(key), "{all}");
        let (_, audit) = world.get("/v1/audit?page_size=1000").await;
        for answer in [one, all, audit] {
            let text = answer.to_string();
            assert!(!text.contains(&secret[..24]), "{text}");
            assert!(
                !text.contains("\"secret\"") && !text.contains("hash"),
                "{text}"
            );
        }
        let deleted = world
            .call(Method::DELETE, &format!("/v1/api-keys/{id}"), Value::Null)
            .await;
        assert_eq!(deleted, (StatusCode::OK, json!({})));
    }
);

both!(
    a_malformed_api_key_request_names_its_fields,
    |world: World| async move {
        let past = (world.clock.now() - TimeDelta::seconds(1)).to_rfc3339();
        for (body, field) in [
            (json!({ "scopes": ["admin"] }), "name"),
            (json!({ "name": "k" }), "scopes"),
            (json!({ "name": "k", "scopes": ["everything"] }), "scopes"),
            (
                json!({ "name": "k", "scopes": ["admin"], "expires_at": past }),
                "expires_at",
            ),
            (
                json!({ "name": "k", "scopes": ["admin"], "workspace_id": "x" }),
                "workspace_id",
            ),
            (json!({ "name": "a\u{7}b", "scopes": ["admin"] }), "name"),
        ] {
            let (status, error) = world.post("/v1/api-keys", body.clone()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
            assert_eq!(fields(&error), [field], "{body}");
        }
        let nowhere = uuid::Uuid::now_v7().to_string();
        let (status, error) = world
            .post(
                "/v1/api-keys",
                json!({ "name": "k", "scopes": ["admin"], "workspace_id": nowhere }),
            )
            .await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "WORKSPACE_NOT_FOUND")
        );
    }
);

both!(
    an_api_key_stops_working_when_it_expires,
    |world: World| async move {
        let expires_at = (world.clock.now() + TimeDelta::seconds(60)).to_rfc3339();
        let (_, created) = world
            .post(
                "/v1/api-keys",
                json!({ "name": "short", "scopes": ["connections:read"], "expires_at": expires_at }),
            )
            .await;
        assert!(created["api_key"]["expires_at"].is_string(), "{created}");
        let key = created["secret"].as_str().expect("a secret");
        let list = async || {
            world
                .call_as(key, Method::GET, "/v1/connections", Value::Null)
                .await
                .0
        };
        assert_eq!(list().await, StatusCode::OK);
        world.clock.advance(59);
        assert_eq!(list().await, StatusCode::OK);
        // The broker has the key in its cache: that does not let it in.
        world.clock.advance(1);
        assert_eq!(list().await, StatusCode::UNAUTHORIZED);
    }
);

both!(
    a_key_tells_when_it_was_last_used,
    |world: World| async move {
        let (_, created) = world
            .post(
                "/v1/api-keys",
                json!({ "name": "k", "scopes": ["connections:read"] }),
            )
            .await;
        let (key, id) = (
            created["secret"].as_str().expect("a secret"),
            created["api_key"]["id"].as_str().expect("an id"),
        );
        let last_used_at = async || {
            // It is recorded beside the call, not on its time.
            world.core.tasks.close();
            world.core.tasks.wait().await;
            world.core.tasks.reopen();
            world.get(&format!("/v1/api-keys/{id}")).await.1["last_used_at"].clone()
        };
        assert_eq!(last_used_at().await, Value::Null);
        let used_at = world.clock.now();
        let (status, _) = world
            .call_as(key, Method::GET, "/v1/connections", Value::Null)
            .await;
        assert_eq!(status, StatusCode::OK);
        let told = last_used_at().await;
        let told: chrono::DateTime<chrono::Utc> =
            told.as_str().expect("a time").parse().expect("a time");
        assert_eq!(told, used_at);
    }
);

both!(
    a_deleted_key_is_refused_at_once_by_the_broker_that_deleted_it,
    |world: World| async move {
        let (_, created) = world
            .post("/v1/api-keys", json!({ "name": "k", "scopes": ["admin"] }))
            .await;
        let (key, id) = (
            created["secret"].as_str().expect("a secret"),
            created["api_key"]["id"].as_str().expect("an id"),
        );
        let (status, _) = world
            .call_as(key, Method::GET, "/v1/providers", Value::Null)
            .await;
        assert_eq!(status, StatusCode::OK);
        let path = format!("/v1/api-keys/{id}");
        let (status, _) = world.call(Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        let (status, error) = world
            .call_as(key, Method::GET, "/v1/providers", Value::Null)
            .await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED")
        );
        let (status, error) = world.call(Method::DELETE, &path, Value::Null).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "API_KEY_NOT_FOUND")
        );
    }
);

both!(
    an_admin_gives_no_more_than_its_workspace,
    |world: World| async move {
        let admin = world.api_key(&["admin"]).await;
        let (workspace_id, _) = second_workspace(&world).await;
        for body in [
            json!({ "name": "up", "scopes": ["operator"] }),
            json!({ "name": "up", "scopes": ["admin", "operator"] }),
            json!({ "name": "across", "scopes": ["connections:read"], "workspace_id": workspace_id }),
        ] {
            let (status, error) = world
                .call_as(&admin, Method::POST, "/v1/api-keys", body.clone())
                .await;
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::FORBIDDEN, "SCOPE_MISSING"),
                "{body}"
            );
        }
        let (status, _) = world
            .call_as(&admin, Method::GET, "/v1/workspaces", Value::Null)
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        // An operator alone is no admin of any workspace: it can't read keys.
        let operator = world.api_key(&["operator"]).await;
        let (status, _) = world
            .call_as(&operator, Method::GET, "/v1/api-keys", Value::Null)
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
);
