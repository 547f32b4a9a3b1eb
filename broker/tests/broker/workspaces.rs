//! Workspaces.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    isolation::second_workspace,
    world::{RETURN_URL, World, both, fields, reason},
};

/// The workspace that is always there.
const DEFAULT: &str = "00000000-0000-7000-8000-000000000000";

async fn patch(world: &World, path: &str, body: Value) -> (StatusCode, Value) {
    world.call(Method::PATCH, path, body).await
}

both!(
    workspaces_are_created_read_listed_changed_and_deleted,
    |world: World| async move {
        let wanted = json!({
            "name": "Acme",
            "allowed_return_urls": ["https://app.acme.test", "http://localhost:3000"],
        });
        let (status, created) = world.post("/v1/workspaces", wanted.clone()).await;
        assert_eq!(status, StatusCode::OK, "{created}");
        let id = created["id"].as_str().expect("an id");
        assert_eq!(
            uuid::Uuid::parse_str(id).expect("a UUID").get_version_num(),
            7
        );
        assert_eq!(created["name"], "Acme");
        assert_eq!(
            created["allowed_return_urls"],
            wanted["allowed_return_urls"]
        );
        let path = format!("/v1/workspaces/{id}");
        assert_eq!(world.get(&path).await, (StatusCode::OK, created.clone()));

        let (_, all) = world.get("/v1/workspaces").await;
        let ids: Vec<&str> = all["workspaces"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|workspace| workspace["id"].as_str())
            .collect();
        assert_eq!(ids, [DEFAULT, id]);
        let (_, first) = world.get("/v1/workspaces?page_size=1").await;
        let token = first["next_page_token"].as_str().expect("a token");
        let (_, second) = world
            .get(&format!("/v1/workspaces?page_size=1&page_token={token}"))
            .await;
        assert_eq!(second["workspaces"], json!([created]));
        assert_eq!(second["next_page_token"], "");

        // The mask says what changes; without one, what is set does.
        let body = json!({ "name": "Other", "allowed_return_urls": ["https://other.test"] });
        let (_, changed) = patch(&world, &format!("{path}?update_mask=name"), body.clone()).await;
        assert_eq!(changed["name"], "Other");
        assert_eq!(
            changed["allowed_return_urls"],
            wanted["allowed_return_urls"]
        );
        let mask = format!("{path}?update_mask=allowed_return_urls");
        let (_, changed) = patch(&world, &mask, json!({})).await;
        assert_eq!(changed["allowed_return_urls"], json!([]));
        assert_eq!(changed["name"], "Other");
        let (_, changed) = patch(&world, &path, json!({ "name": "Third" })).await;
        assert_eq!(changed["name"], "Third");
        assert_eq!(changed["created_at"], created["created_at"]);
        assert_eq!(world.get(&path).await, (StatusCode::OK, changed));

        let deleted = world.call(Method::DELETE, &path, Value::Null).await;
        assert_eq!(deleted, (StatusCode::OK, json!({})));
        let (status, error) = world.get(&path).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "WORKSPACE_NOT_FOUND")
        );
        for action in [
            "workspace.created",
            "workspace.updated",
            "workspace.deleted",
        ] {
            assert!(!world.audit(action).await.is_empty(), "{action}");
        }
    }
);

both!(
    a_malformed_workspace_names_its_fields,
    |world: World| async move {
        let (id, _) = second_workspace(&world).await;
        let path = format!("/v1/workspaces/{id}");
        for (body, field) in [
            (json!({ "name": "" }), "name"),
            (
                json!({ "name": "w", "allowed_return_urls": ["app.test"] }),
                "allowed_return_urls",
            ),
            (
                json!({ "name": "w", "allowed_return_urls": ["https://app.test/path"] }),
                "allowed_return_urls",
            ),
            (
                json!({ "name": "w", "allowed_return_urls": ["https://*.test"] }),
                "allowed_return_urls",
            ),
            (
                json!({ "name": "w", "allowed_return_urls": [""] }),
                "allowed_return_urls",
            ),
            (
                json!({ "name": "w", "allowed_return_urls": ["javascript:alert(1)"] }),
                "allowed_return_urls",
            ),
        ] {
            let (status, error) = world.post("/v1/workspaces", body.clone()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
            assert_eq!(fields(&error), [field], "{body}: {error}");
            let masked = format!("{path}?update_mask={field}");
            let (status, error) = patch(&world, &masked, body.clone()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
            assert_eq!(fields(&error), [field], "{body}: {error}");
        }
        let (status, error) = patch(&world, &format!("{path}?update_mask=owner"), json!({})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(fields(&error), ["update_mask"]);
        let (status, _) = world.get("/v1/workspaces/not-an-id").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
);

both!(
    hardening_26_a_workspace_that_does_not_exist_is_not_changed_with_success,
    |world: World| async move {
        let path = format!("/v1/workspaces/{}", uuid::Uuid::now_v7());
        for (method, body) in [
            (Method::GET, Value::Null),
            (Method::PATCH, json!({ "name": "x" })),
            (Method::DELETE, Value::Null),
        ] {
            let (status, error) = world.call(method.clone(), &path, body).await;
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::NOT_FOUND, "WORKSPACE_NOT_FOUND"),
                "{method}"
            );
        }
    }
);

both!(
    the_default_workspace_can_not_be_deleted,
    |world: World| async move {
        for path in [
            format!("/v1/workspaces/{DEFAULT}"),
            format!("/v1/workspaces/{DEFAULT}?force=true"),
        ] {
            let (status, error) = world.call(Method::DELETE, &path, Value::Null).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert_eq!(fields(&error), ["workspace_id"]);
            assert!(error.to_string().contains("default workspace"), "{error}");
        }
        let (status, workspace) = world.get(&format!("/v1/workspaces/{DEFAULT}")).await;
        assert_eq!(
            (status, &workspace["name"]),
            (StatusCode::OK, &json!("default"))
        );
        let (status, _) = world.get("/v1/providers/sim").await;
        assert_eq!(status, StatusCode::OK);
    }
);

/// A provider and a connection, in the workspace of this key.
async fn connect_in(world: &World, key: &str) -> String {
    let provider = json!({
        "name": "sim",
        "oauth2": {
            "issuer": world.simulator.url(),
            "client_id": world.simulator.client_id(),
            "client_secret": world.simulator.client_secret(),
            "scopes": ["openid", "offline_access"],
        },
    });
    let (status, provider) = world
        .call_as(key, Method::POST, "/v1/providers", provider)
        .await;
    assert_eq!(status, StatusCode::OK, "{provider}");
    let redirect_uri = provider["redirect_uri"].as_str().expect("one");
    world.simulator.allow_redirect_uri(redirect_uri);
    let body = json!({ "user_id": "user-1", "provider_name": "sim", "return_url": RETURN_URL });
    let (status, begun) = world
        .call_as(key, Method::POST, "/v1/request-connection", body)
        .await;
    assert_eq!(status, StatusCode::OK, "{begun}");
    let end = world.consent(&begun).await;
    assert_eq!(crate::world::query(&end, "error"), None, "{end}");
    begun["connection_id"].as_str().expect("an id").to_owned()
}

both!(
    a_workspace_has_its_own_providers_connections_and_audit,
    |world: World| async move {
        let own = world.connect("user-1").await;
        let (_, key) = second_workspace(&world).await;
        // The same provider's name and the same user, once more.
        let theirs = connect_in(&world, &key).await;
        let list = async |key: &str, path: &str, field: &str| {
            let (status, page) = world.call_as(key, Method::GET, path, Value::Null).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            page[field].as_array().expect("a list").clone()
        };
        let admin = crate::world::ADMIN_KEY;
        for (key, id) in [(admin, &own), (key.as_str(), &theirs)] {
            let found = list(key, "/v1/connections?user_id=user-1", "connections").await;
            assert_eq!(found.len(), 1);
            assert_eq!(found[0]["connection_id"], id.as_str());
            let events = list(key, "/v1/audit?action=connection.activated", "audit_events").await;
            assert_eq!(events.len(), 1);
            assert_eq!(events[0]["connection_id"], id.as_str());
            let (status, _) = world
                .call_as(key, Method::GET, &format!("/v1/token/{id}"), Value::Null)
                .await;
            assert_eq!(status, StatusCode::OK);
        }
    }
);

both!(
    deleting_a_workspace_ends_its_keys_and_all_that_is_in_it,
    |world: World| async move {
        let own = world.connect("user-1").await;
        let (id, key) = second_workspace(&world).await;
        let theirs = connect_in(&world, &key).await;
        let path = format!("/v1/workspaces/{id}");
        let (status, error) = world.call(Method::DELETE, &path, Value::Null).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "PROVIDER_IN_USE")
        );
        assert_eq!(error["details"][0]["metadata"]["connections"], "1");
        let (status, _) = world
            .call_as(
                &key,
                Method::GET,
                &format!("/v1/token/{theirs}"),
                Value::Null,
            )
            .await;
        assert_eq!(status, StatusCode::OK);

        let forced = format!("{path}?force=true");
        let (status, error) = world.call(Method::DELETE, &forced, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{error}");
        let (status, error) = world
            .call_as(
                &key,
                Method::GET,
                &format!("/v1/token/{theirs}"),
                Value::Null,
            )
            .await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED")
        );
        assert_eq!(world.token(&own).await.0, StatusCode::OK);
    }
);

both!(
    a_workspaces_own_return_urls_are_the_ones_that_count,
    |world: World| async move {
        let (id, key) = second_workspace(&world).await;
        connect_in(&world, &key).await;
        let ask = async |return_url: &str| {
            let body = json!({ "user_id": "u", "provider_name": "sim", "return_url": return_url });
            world
                .call_as(&key, Method::POST, "/v1/request-connection", body)
                .await
        };
        let (status, error) = ask("https://app.acme.test/done").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(fields(&error), ["return_url"]);
        let body = json!({ "allowed_return_urls": ["https://app.acme.test"] });
        patch(&world, &format!("/v1/workspaces/{id}"), body).await;
        let (status, begun) = ask("https://app.acme.test/done").await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        // The default workspace has not gained anything.
        let body = json!({
            "user_id": "u", "provider_name": "sim", "return_url": "https://app.acme.test/done",
        });
        let (status, _) = world.post("/v1/request-connection", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
);
