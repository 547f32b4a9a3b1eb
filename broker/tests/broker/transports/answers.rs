//! What succeeds says the same on every transport.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    call::{Call, VIAS},
    table::{check, get, get_provider, refresh, request, token},
};
use crate::world::{RETURN_URL, World, both, reason};

/// The answer of a call, the same on every transport.
async fn agreed(world: &World, call: Call) -> Value {
    let mut answers = vec![];
    for via in VIAS {
        let answer = via.call(world, &call).await;
        let shown = format!("over {via:?}: {answer:?}");
        answers.push(answer.result.unwrap_or_else(|_| panic!("an error {shown}")));
    }
    assert_eq!(answers[0], answers[1], "gRPC and gRPC-Web");
    assert_eq!(answers[0], answers[2], "gRPC and REST");
    answers.remove(0)
}

fn list(rpc: &'static str, path: &str) -> Call {
    Call::new(rpc, json!({}), Method::GET, path, Value::Null)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().expect("a text")
}

both!(
    what_is_read_is_the_same_on_every_transport,
    |world: World| async move {
        let id = world.connect("ada").await;
        let pending = world.request_connection("bob").await;
        let (_, new_key) = world
        .post(
            "/v1/api-keys",
            json!({ "name": "one", "scopes": ["audit:read"], "expires_at": "2099-01-01T00:00:00Z" }),
        )
        .await;
        let workspace =
            json!({ "name": "other", "allowed_return_urls": ["https://app.example.com"] });
        let (_, workspace) = world.post("/v1/workspaces", workspace).await;

        let payload = agreed(&world, token(&id)).await;
        assert_eq!(
            payload["strategy"],
            json!({ "type": "oauth2", "config": {} })
        );
        assert_eq!(payload["generation"], 1);
        assert!(payload["credentials"]["id_token"].is_string());

        let checked = agreed(&world, check(&id)).await;
        assert_eq!(
            (text(&checked, "status"), text(&checked, "reason")),
            ("ACTIVE", "")
        );
        let checked = agreed(&world, check(text(&pending, "connection_id"))).await;
        assert_eq!(text(&checked, "status"), "PENDING");

        let one = agreed(
            &world,
            get(
                "dromos.v1.ConnectionService/GetConnection",
                "connection_id",
                "/v1/connections",
                &id,
            ),
        )
        .await;
        assert_eq!(
            (text(&one, "user_id"), text(&one, "provider_name")),
            ("ada", "sim")
        );
        assert!(one["metadata"].is_object() && one["expires_at"].is_string());
        let all = agreed(
            &world,
            list(
                "dromos.v1.ConnectionService/ListConnections",
                "/v1/connections",
            ),
        )
        .await;
        let all = all["connections"].as_array().expect("a list");
        assert!(all.len() == 2 && all.contains(&one), "{all:?}");

        let sim = agreed(&world, get_provider("sim")).await;
        assert!(sim["oauth2"].get("client_secret").is_none(), "{sim}");
        let all = agreed(
            &world,
            list("dromos.v1.ProviderService/ListProviders", "/v1/providers"),
        )
        .await;
        assert_eq!(all["providers"], json!([sim]));

        let key = get(
            "dromos.v1.AccessService/GetApiKey",
            "api_key_id",
            "/v1/api-keys",
            text(&new_key["api_key"], "id"),
        );
        let key = agreed(&world, key).await;
        assert_eq!(key, new_key["api_key"]);
        assert!(key.get("last_used_at").is_none(), "{key}");

        let other = get(
            "dromos.v1.WorkspaceService/GetWorkspace",
            "workspace_id",
            "/v1/workspaces",
            text(&workspace, "id"),
        );
        assert_eq!(agreed(&world, other).await, workspace);
        let all = agreed(
            &world,
            list(
                "dromos.v1.WorkspaceService/ListWorkspaces",
                "/v1/workspaces",
            ),
        );
        assert_eq!(all.await["workspaces"].as_array().map(Vec::len), Some(2));

        let filtered = Call::new(
            "dromos.v1.AuditService/ListAuditEvents",
            json!({ "action": "credential.read", "page_size": 2 }),
            Method::GET,
            "/v1/audit?action=credential.read&page_size=2",
            Value::Null,
        );
        let page = agreed(&world, filtered).await;
        assert_eq!(page["audit_events"].as_array().map(Vec::len), Some(2));
        assert!(!text(&page, "next_page_token").is_empty());
    }
);

both!(
    a_mutation_with_a_request_id_is_made_once_for_all_transports,
    |world: World| async move {
        let metadata: Value = (0..20)
            .map(|n| (format!("k{n}"), format!("v{n}")))
            .collect();
        let wanted = json!({
            "user_id": "ada", "provider_name": "sim", "return_url": RETURN_URL,
            "metadata": metadata, "request_id": "request",
        });
        let begun = agreed(&world, request(wanted)).await;
        let id = text(&begun, "connection_id");
        let (_, all) = world.get("/v1/connections").await;
        assert_eq!(all["connections"].as_array().map(Vec::len), Some(1));
        assert_eq!(all["connections"][0]["metadata"], metadata);
        world.consent(&begun).await;

        let again = json!({ "connection_id": id, "return_url": RETURN_URL, "request_id": "again" });
        let reconnect = Call::new(
            "dromos.v1.ConnectionService/ReconnectConnection",
            again.clone(),
            Method::POST,
            format!("/v1/connections/{id}:reconnect"),
            json!({ "return_url": RETURN_URL, "request_id": "again" }),
        );
        assert_eq!(text(&agreed(&world, reconnect).await, "connection_id"), id);

        let (status, _) = world.refresh(id, json!({})).await;
        assert_eq!(status, StatusCode::OK);
        let stored = Call::new(
            "dromos.v1.ConnectionService/RefreshConnection",
            json!({ "connection_id": id, "generation": 1 }),
            Method::POST,
            format!("/v1/refresh/{id}"),
            json!({ "generation": 1 }),
        );
        assert_eq!(agreed(&world, stored).await["generation"], 2);

        let revoke = Call::new(
            "dromos.v1.ConnectionService/RevokeConnection",
            json!({ "connection_id": id, "request_id": "revoke" }),
            Method::POST,
            format!("/v1/connections/{id}:revoke"),
            json!({ "request_id": "revoke" }),
        );
        assert_eq!(text(&agreed(&world, revoke).await, "status"), "REVOKED");
        assert_eq!(world.audit("connection.revoked").await.len(), 1);
    }
);

both!(
    a_resource_is_created_changed_and_deleted_alike_on_every_transport,
    |world: World| async move {
        let provider = json!({
            "name": "acme",
            "oauth2": {
                "issuer": "http://127.0.0.1:9", "client_id": "x", "client_secret": "y",
                "authorization_params": { "prompt": "consent", "audience": "api" },
            },
            "strategy": { "type": "header", "config": {
                "header_name": "Authorization", "value_prefix": "Bearer ",
                "credential_field": "access_token",
            } },
        });
        let create = Call::new(
            "dromos.v1.ProviderService/CreateProvider",
            json!({ "provider": provider, "request_id": "create" }),
            Method::POST,
            "/v1/providers?request_id=create",
            provider.clone(),
        );
        let created = agreed(&world, create).await;
        assert_eq!(created["strategy"], provider["strategy"]);
        assert_eq!(created["oauth2"]["pkce"], true);

        let update = Call::new(
            "dromos.v1.ProviderService/UpdateProvider",
            json!({
                "provider": { "name": "acme", "display_name": "Acme" },
                "update_mask": "displayName", "request_id": "update",
            }),
            Method::PATCH,
            "/v1/providers/acme?update_mask=display_name&request_id=update",
            json!({ "display_name": "Acme" }),
        );
        let updated = agreed(&world, update).await;
        assert_eq!(text(&updated, "display_name"), "Acme");
        assert_eq!(updated["oauth2"], created["oauth2"]);

        let delete = Call::new(
            "dromos.v1.ProviderService/DeleteProvider",
            json!({ "name": "acme", "request_id": "delete" }),
            Method::DELETE,
            "/v1/providers/acme?request_id=delete",
            Value::Null,
        );
        assert_eq!(agreed(&world, delete).await, json!({}));

        let workspace = json!({ "name": "one", "allowed_return_urls": [] });
        let create = Call::new(
            "dromos.v1.WorkspaceService/CreateWorkspace",
            json!({ "workspace": workspace, "request_id": "create" }),
            Method::POST,
            "/v1/workspaces?request_id=create",
            workspace,
        );
        let created = agreed(&world, create).await;
        let id = text(&created, "id");
        let update = Call::new(
            "dromos.v1.WorkspaceService/UpdateWorkspace",
            json!({
                "workspace": { "id": id, "name": "two" },
                "update_mask": "name", "request_id": "update",
            }),
            Method::PATCH,
            format!("/v1/workspaces/{id}?update_mask=name&request_id=update"),
            json!({ "name": "two" }),
        );
        assert_eq!(text(&agreed(&world, update).await, "name"), "two");
        let delete = Call::new(
            "dromos.v1.WorkspaceService/DeleteWorkspace",
            json!({ "workspace_id": id, "request_id": "delete" }),
            Method::DELETE,
            format!("/v1/workspaces/{id}?request_id=delete"),
            Value::Null,
        );
        assert_eq!(agreed(&world, delete).await, json!({}));
    }
);

both!(
    every_transport_creates_and_deletes_api_keys,
    |world: World| async move {
        for via in VIAS {
            let wanted = json!({ "name": "one", "scopes": ["connections:read", "audit:read"] });
            let create = Call::new(
                "dromos.v1.AccessService/CreateApiKey",
                wanted.clone(),
                Method::POST,
                "/v1/api-keys",
                wanted,
            );
            let created = via.call(&world, &create).await.result.expect("a key");
            let (id, secret) = (text(&created["api_key"], "id"), text(&created, "secret"));
            let audit = || world.call_as(secret, Method::GET, "/v1/audit", Value::Null);
            assert_eq!(audit().await.0, StatusCode::OK, "{via:?}");
            let delete = Call::new(
                "dromos.v1.AccessService/DeleteApiKey",
                json!({ "api_key_id": id }),
                Method::DELETE,
                format!("/v1/api-keys/{id}"),
                Value::Null,
            );
            assert_eq!(via.call(&world, &delete).await.result, Ok(json!({})));
            let (status, error) = audit().await;
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED")
            );
        }
    }
);

both!(
    answers_with_a_credential_are_not_to_be_stored_on_any_transport,
    |world: World| async move {
        let id = world.connect("ada").await;
        for via in VIAS {
            for call in [token(&id), refresh(&id)] {
                let answer = via.call(&world, &call).await;
                assert!(answer.result.is_ok(), "{answer:?}");
                assert_eq!(answer.headers["cache-control"], "no-store", "{via:?}");
            }
        }
    }
);

both!(
    hardening_13_a_token_error_is_an_error_on_every_transport,
    |world: World| async move {
        let begun = world.request_connection("ada").await;
        for via in VIAS {
            let answer = via
                .call(&world, &token(text(&begun, "connection_id")))
                .await;
            let shown = format!("{via:?}: {answer:?}");
            let refusal = answer.result.expect_err("no credential, no success");
            assert_eq!(
                (refusal.code, refusal.reason()),
                (9, "CONNECTION_PENDING"),
                "{shown}"
            );
            assert!(answer.http.is_none_or(|http| http == 400), "{shown}");
        }
    }
);

both!(
    hardening_14_polling_a_pending_connection_is_no_failure,
    |world: World| async move {
        let begun = world.request_connection("ada").await;
        let id = text(&begun, "connection_id");
        for via in VIAS {
            for _ in 0..3 {
                let answer = via.call(&world, &check(id)).await;
                assert!(answer.http.is_none_or(|http| http == 200), "{answer:?}");
                let checked = answer.result.expect("polling is no error");
                assert_eq!(text(&checked, "status"), "PENDING", "{via:?}");
            }
        }
        world.consent(&begun).await;
        assert_eq!(agreed(&world, check(id)).await["status"], "ACTIVE");
    }
);
