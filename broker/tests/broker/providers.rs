//! Providers: third-party services, as data.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{RETURN_URL, World, both, eventually, fields, reason};

async fn patch(world: &World, path: &str, body: Value) -> (StatusCode, Value) {
    world.call(Method::PATCH, path, body).await
}

async fn delete(world: &World, path: &str) -> (StatusCode, Value) {
    world.call(Method::DELETE, path, Value::Null).await
}

both!(
    hardening_03_a_client_secret_is_never_shown,
    |world: World| async move {
        let secret = world.simulator.client_secret();
        let created = world.create_provider("acme", json!({})).await;
        let (_, read) = world.get("/v1/providers/acme").await;
        let (_, listed) = world.get("/v1/providers").await;
        let rename = json!({ "display_name": "New", "oauth2": { "client_secret": "new secret" } });
        let (_, updated) = patch(&world, "/v1/providers/acme", rename).await;
        let (_, after) = world.get("/v1/providers/acme").await;
        let (_, audit) = world.get("/v1/audit?page_size=1000").await;
        let listed_one = listed["providers"].as_array().expect("a list").iter();
        let listed_one = listed_one
            .clone()
            .find(|provider| provider["name"] == "acme");
        for provider in [
            &created,
            &read,
            listed_one.expect("it is listed"),
            &updated,
            &after,
        ] {
            assert_eq!(provider["name"], "acme");
            assert_eq!(provider["oauth2"].get("client_secret"), None);
            assert!(provider["oauth2"]["client_id"].is_string());
        }
        for answer in [created, read, listed, updated, after, audit] {
            let text = answer.to_string();
            assert!(
                !text.contains(secret) && !text.contains("new secret"),
                "{text}"
            );
        }
    }
);

both!(
    a_provider_is_created_read_listed_changed_and_deleted,
    |world: World| async move {
        let wanted = json!({
            "display_name": "Acme",
            "category": "crm",
            "description": "What sells.",
            "api_base_url": "https://api.acme.test",
        });
        let created = world.create_provider("acme", wanted.clone()).await;
        for (name, value) in wanted.as_object().expect("an object") {
            assert_eq!(&created[name], value, "{name}");
        }
        let id = created["id"].as_str().expect("an id");
        assert_eq!(
            uuid::Uuid::parse_str(id).expect("a UUID").get_version_num(),
            7
        );
        assert_eq!(
            created["redirect_uri"],
            format!("{}/auth/callback/{id}", world.public_url)
        );
        // Absent fields mean what the contract shows.
        let client = &created["oauth2"];
        for (name, value) in [
            ("token_endpoint_auth_method", json!("client_secret_basic")),
            ("grant_type", json!("authorization_code")),
            ("scope_separator", json!(" ")),
            ("pkce", json!(true)),
            ("token_request_format", json!("form")),
            ("expires_in_unit", json!("seconds")),
            ("refresh_margin", json!(300)),
            ("refresh_reuse_interval", json!(0)),
            ("refresh_token_rotation", json!(true)),
            ("authorization_params", json!({})),
        ] {
            assert_eq!(client[name], value, "{name}");
        }
        assert_eq!(
            created["strategy"],
            json!({ "type": "oauth2", "config": {} })
        );
        assert_eq!(
            world.get("/v1/providers/acme").await,
            (StatusCode::OK, created.clone())
        );

        let (_, all) = world.get("/v1/providers").await;
        assert_eq!(all["providers"].as_array().expect("a list").len(), 2);
        let (_, first) = world.get("/v1/providers?page_size=1").await;
        let token = first["next_page_token"].as_str().expect("a token");
        let (_, second) = world
            .get(&format!("/v1/providers?page_size=1&page_token={token}"))
            .await;
        let names = [&first, &second].map(|page| page["providers"][0]["name"].clone());
        assert!(
            names.contains(&json!("sim")) && names.contains(&json!("acme")),
            "{names:?}"
        );
        for bad in ["page_size=-1", "page_token=x"] {
            let (status, error) = world.get(&format!("/v1/providers?{bad}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert_eq!(fields(&error), [bad.split('=').next().expect("a name")]);
        }

        world.clock.advance(1);
        let body = json!({ "display_name": "Changed", "category": "erp" });
        let path = "/v1/providers/acme?update_mask=display_name";
        let (status, changed) = patch(&world, path, body).await;
        assert_eq!(status, StatusCode::OK, "{changed}");
        assert_eq!(changed["display_name"], "Changed");
        assert_eq!(changed["category"], "crm");
        assert_eq!(changed["created_at"], created["created_at"]);
        assert_ne!(changed["updated_at"], created["updated_at"]);
        assert_eq!(
            world.get("/v1/providers/acme").await,
            (StatusCode::OK, changed)
        );

        assert_eq!(
            delete(&world, "/v1/providers/acme").await,
            (StatusCode::OK, json!({}))
        );
        let (status, error) = world.get("/v1/providers/acme").await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "PROVIDER_NOT_FOUND")
        );
        for action in ["provider.created", "provider.updated", "provider.deleted"] {
            let events = world.audit(action).await;
            let of_acme = events
                .iter()
                .filter(|event| event["provider_name"] == "acme");
            assert_eq!(of_acme.count(), 1, "{action}");
        }
    }
);

both!(
    an_update_mask_reaches_single_settings_and_leaves_the_rest,
    |world: World| async move {
        let body =
            json!({ "oauth2": { "scopes": ["email"], "pkce": false, "client_id": "other" } });
        let path = "/v1/providers/sim?update_mask=oauth2.scopes";
        let (status, changed) = patch(&world, path, body).await;
        assert_eq!(status, StatusCode::OK, "{changed}");
        assert_eq!(changed["oauth2"]["scopes"], json!(["email"]));
        assert_eq!(changed["oauth2"]["pkce"], true);
        assert_eq!(changed["oauth2"]["client_id"], world.simulator.client_id());
        // A field that is named and not set goes back to its default.
        let path = "/v1/providers/sim?update_mask=oauth2.scopes,display_name";
        let (_, changed) = patch(&world, path, json!({})).await;
        assert_eq!(changed["oauth2"]["scopes"], json!([]));
        assert_eq!(changed["display_name"], "");
        // Without a mask, what is set changes; the secret stays.
        let body = json!({ "oauth2": { "scopes": ["openid"], "pkce": false } });
        let (_, changed) = patch(&world, "/v1/providers/sim", body).await;
        assert_eq!(changed["oauth2"]["scopes"], json!(["openid"]));
        assert_eq!(changed["oauth2"]["pkce"], false);
        patch(
            &world,
            "/v1/providers/sim",
            json!({ "oauth2": { "pkce": true } }),
        )
        .await;
        world.connect("user-1").await;
        // What only Dromos sets is not to be had by asking.
        let body =
            json!({ "id": uuid::Uuid::now_v7().to_string(), "redirect_uri": "https://evil.test" });
        let (before, after) = (
            world.get("/v1/providers/sim").await.1,
            patch(&world, "/v1/providers/sim", body).await.1,
        );
        assert_eq!(before["id"], after["id"]);
        assert_eq!(before["redirect_uri"], after["redirect_uri"]);
        for bad in ["nothing", "oauth2.nothing", "name.x"] {
            let path = format!("/v1/providers/sim?update_mask={bad}");
            let (status, error) = patch(&world, &path, json!({ "display_name": "x" })).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
            assert_eq!(fields(&error), ["update_mask"], "{bad}");
        }
    }
);

both!(
    a_providers_name_is_unique_in_its_workspace,
    |world: World| async move {
        let (status, error) = world.try_create_provider("sim", json!({})).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::CONFLICT, "PROVIDER_EXISTS")
        );
        for name in ["", "Acme", "-acme", "a b", "a_b", "ä", &"a".repeat(64)] {
            let (status, error) = world.try_create_provider(name, json!({})).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{name}");
            assert!(fields(&error).contains(&"name"), "{name}: {error}");
        }
        for name in ["a", "0-9", &"a".repeat(63)] {
            world.create_provider(name, json!({})).await;
        }
    }
);

both!(
    a_provider_in_use_is_deleted_only_by_force,
    |world: World| async move {
        let active = world.connect("user-1").await;
        let pending = world.request_connection("user-2").await;
        let revoked = world.connect("user-3").await;
        world
            .post(&format!("/v1/connections/{revoked}:revoke"), json!({}))
            .await;
        let (_, token) = world.token(&active).await;
        let access_token = token["credentials"]["access_token"]
            .as_str()
            .expect("a token")
            .to_owned();
        let (status, error) = delete(&world, "/v1/providers/sim").await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "PROVIDER_IN_USE")
        );
        assert_eq!(
            error["details"][0]["metadata"]["connections"], "2",
            "{error}"
        );
        assert_eq!(world.token(&active).await.0, StatusCode::OK);

        let deleted = delete(&world, "/v1/providers/sim?force=true").await;
        assert_eq!(deleted, (StatusCode::OK, json!({})));
        for id in [&active, pending["connection_id"].as_str().expect("an id")] {
            // At once, even where the row says so a little later.
            let (status, error) = world.token(id).await;
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::FORBIDDEN, "CONNECTION_REVOKED")
            );
        }
        for id in [&active, pending["connection_id"].as_str().expect("an id")] {
            eventually("the row says so", async || {
                world.check(id).await["status"] == "REVOKED"
            })
            .await;
        }
        eventually("the provider is told", async || {
            world.simulator.is_revoked(&access_token)
        })
        .await;
        // The name is free again, and the new provider is another one.
        world.create_provider("sim", json!({})).await;
        world.connect("user-1").await;
        assert_eq!(world.check(&active).await["status"], "REVOKED");
    }
);

both!(
    hardening_26_what_does_not_exist_is_not_changed_with_success,
    |world: World| async move {
        let id = uuid::Uuid::now_v7();
        let full = json!({
            "display_name": "x",
            "oauth2": { "issuer": world.simulator.url(), "client_id": "x", "client_secret": "x" },
        });
        for (method, path, body, expected) in [
            (
                Method::PATCH,
                "/v1/providers/nobody".to_owned(),
                full,
                "PROVIDER_NOT_FOUND",
            ),
            (
                Method::PATCH,
                "/v1/providers/nobody?update_mask=*".to_owned(),
                json!({}),
                "PROVIDER_NOT_FOUND",
            ),
            (
                Method::DELETE,
                "/v1/providers/nobody".to_owned(),
                Value::Null,
                "PROVIDER_NOT_FOUND",
            ),
            (
                Method::DELETE,
                "/v1/providers/nobody?force=true".to_owned(),
                Value::Null,
                "PROVIDER_NOT_FOUND",
            ),
            (
                Method::DELETE,
                format!("/v1/api-keys/{id}"),
                Value::Null,
                "API_KEY_NOT_FOUND",
            ),
            (
                Method::POST,
                format!("/v1/connections/{id}:revoke"),
                json!({}),
                "CONNECTION_NOT_FOUND",
            ),
            (
                Method::POST,
                format!("/v1/connections/{id}:reconnect"),
                json!({ "return_url": RETURN_URL }),
                "CONNECTION_NOT_FOUND",
            ),
            (
                Method::POST,
                format!("/v1/refresh/{id}"),
                json!({}),
                "CONNECTION_NOT_FOUND",
            ),
        ] {
            let (status, error) = world.call(method.clone(), &path, body).await;
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::NOT_FOUND, expected),
                "{method} {path}"
            );
        }
        let (_, all) = world.get("/v1/providers").await;
        assert_eq!(all["providers"].as_array().expect("a list").len(), 1);
    }
);
