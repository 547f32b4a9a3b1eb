//! What a provider's definition may say, and what it never may.

use dromos_simulator::{Endpoint, Simulator, SimulatorConfig, browser::Browser};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{RETURN_URL, World, both, fields, query, reason};

async fn patch(world: &World, path: &str, body: Value) -> (StatusCode, Value) {
    world.call(Method::PATCH, path, body).await
}

async fn request(world: &World, provider: &str, config: Value) -> (StatusCode, Value) {
    let body = json!({
        "user_id": "user-1",
        "provider_name": provider,
        "return_url": RETURN_URL,
        "connection_config": config,
    });
    world.post("/v1/request-connection", body).await
}

/// Endpoints that are written out, so that nothing is discovered.
fn written_out(origin: &str) -> Value {
    json!({
        "issuer": "",
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"),
        "scopes": ["read"],
    })
}

both!(
    a_malformed_definition_names_its_fields,
    |world: World| async move {
        for (changes, expected) in [
            (json!({ "oauth2": { "client_id": "" } }), "oauth2.client_id"),
            (
                json!({ "oauth2": { "client_secret": "" } }),
                "oauth2.client_secret",
            ),
            (
                json!({ "oauth2": { "token_endpoint_auth_method": "none" } }),
                "oauth2.client_secret",
            ),
            (
                json!({ "oauth2": { "token_endpoint_auth_method": "none", "client_secret": "", "pkce": false } }),
                "oauth2.pkce",
            ),
            (
                json!({ "oauth2": { "token_endpoint_auth_method": "magic" } }),
                "oauth2.token_endpoint_auth_method",
            ),
            (
                json!({ "oauth2": { "grant_type": "password" } }),
                "oauth2.grant_type",
            ),
            (
                json!({ "oauth2": { "token_request_format": "xml" } }),
                "oauth2.token_request_format",
            ),
            (
                json!({ "oauth2": { "expires_in_unit": "years" } }),
                "oauth2.expires_in_unit",
            ),
            (
                json!({ "oauth2": { "issuer": "not a url" } }),
                "oauth2.issuer",
            ),
            (
                json!({ "oauth2": { "issuer": "ftp://login.test" } }),
                "oauth2.issuer",
            ),
            (
                json!({ "oauth2": { "issuer": "https://${connection_config.x}.login.test" } }),
                "oauth2.issuer",
            ),
            (
                json!({ "oauth2": { "token_endpoint": "https://u:p@login.test/token" } }),
                "oauth2.token_endpoint",
            ),
            (
                json!({ "oauth2": { "revocation_endpoint": "/revoke" } }),
                "oauth2.revocation_endpoint",
            ),
            (json!({ "api_base_url": "api.test" }), "api_base_url"),
            (json!({ "oauth2": { "scopes": ["a b"] } }), "oauth2.scopes"),
            (
                json!({ "oauth2": { "token_params": { "client_secret": "x" } } }),
                "oauth2.token_params.client_secret",
            ),
            (
                json!({ "oauth2": { "refresh_params": { "refresh_token": "x" } } }),
                "oauth2.refresh_params.refresh_token",
            ),
            (json!({ "strategy": { "type": "magic" } }), "strategy.type"),
            (
                json!({ "strategy": { "type": "header", "config": { "header_name": "a b" } } }),
                "strategy.config.header_name",
            ),
        ] {
            let (status, error) = world.try_create_provider("bad", changes.clone()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{changes}");
            assert_eq!(fields(&error), [expected], "{changes}: {error}");
        }
        let without = json!({ "oauth2": { "issuer": "" } });
        let (_, error) = world.try_create_provider("bad", without).await;
        assert_eq!(
            fields(&error),
            ["oauth2.authorization_endpoint", "oauth2.token_endpoint"]
        );
        let (_, error) = world
            .post(
                "/v1/providers",
                json!({ "name": "bad", "strategy": { "type": "oauth2" } }),
            )
            .await;
        assert!(fields(&error).contains(&"oauth2"), "{error}");
        // No violation repeats what was given: it may be a secret in the wrong place.
        let changes = json!({ "oauth2": { "issuer": "hunter2 hunter2" } });
        let (_, error) = world.try_create_provider("bad", changes).await;
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let (status, _) = world.get("/v1/providers/bad").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
);

both!(
    an_unknown_field_is_refused_and_not_ignored,
    |world: World| async move {
        for changes in [
            json!({ "surprise": 1 }),
            json!({ "oauth2": { "clientsecret": "x" } }),
            json!({ "strategy": { "kind": "oauth2" } }),
        ] {
            let (status, error) = world.try_create_provider("bad", changes.clone()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{changes}: {error}");
        }
        let (status, _) = patch(&world, "/v1/providers/sim", json!({ "displayname": "x" })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        // Both of protobuf's spellings of a field are known.
        let (status, changed) =
            patch(&world, "/v1/providers/sim", json!({ "displayName": "x" })).await;
        assert_eq!(
            (status, &changed["display_name"]),
            (StatusCode::OK, &json!("x"))
        );
    }
);

both!(
    hardening_38_a_definition_can_not_set_what_the_handshake_sets,
    |world: World| async move {
        for name in [
            "state",
            "redirect_uri",
            "client_id",
            "nonce",
            "code_challenge",
            "code_challenge_method",
            "response_type",
            "response_mode",
            "scope",
            "request",
            "request_uri",
            "State",
        ] {
            let changes = json!({ "oauth2": { "authorization_params": { name: "x" } } });
            let (status, error) = world.try_create_provider("bad", changes).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{name}");
            let field = format!("oauth2.authorization_params.{name}");
            assert_eq!(fields(&error), [field.as_str()]);
            let endpoint = format!("{}/authorize?audience=a&{name}=x", world.simulator.url());
            let changes = json!({ "oauth2": { "authorization_endpoint": endpoint } });
            let (status, error) = world.try_create_provider("bad", changes).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{name} in the endpoint");
            assert_eq!(fields(&error), ["oauth2.authorization_endpoint"], "{error}");
        }
        let endpoint = format!("{}/authorize?audience=a%20b", world.simulator.url());
        let changes = json!({ "oauth2": {
            "authorization_endpoint": endpoint,
            "authorization_params": { "prompt": "consent", "access_type": "offline" },
        } });
        world.create_provider("good", changes).await;
        let begun = world.request_connection_to("good", "user-1").await;
        let page = world.open(&mut Browser::new(), &begun).await;
        let location = page.location().expect("the provider");
        for (name, value) in [
            ("audience", "a b"),
            ("prompt", "consent"),
            ("access_type", "offline"),
            ("response_type", "code"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(query(&location, name).as_deref(), Some(value), "{name}");
        }
        for name in [
            "state",
            "client_id",
            "redirect_uri",
            "nonce",
            "code_challenge",
        ] {
            let times = location.query_pairs().filter(|pair| pair.0 == name).count();
            assert_eq!(times, 1, "{name}");
        }
    }
);

both!(
    hardening_29_another_origin_gets_no_secret_without_the_secret,
    |world: World| async move {
        let secret = world.simulator.client_secret();
        let origin = world.simulator.url();
        let changes = json!({ "oauth2": {
            "token_endpoint": format!("{origin}/token"),
            "revocation_endpoint": format!("{origin}/revoke"),
        } });
        world.create_provider("acme", changes).await;
        for (field, url) in [
            ("issuer", "https://login.evil.test"),
            ("token_endpoint", "https://login.evil.test/token"),
            ("revocation_endpoint", "https://login.evil.test/revoke"),
            (
                "token_endpoint",
                "https://${connection_config.x}.evil.test/token",
            ),
            // Without it, discovery would say where the secret goes.
            ("token_endpoint", ""),
            ("revocation_endpoint", ""),
            // Another port is another origin, and so is another scheme.
            ("token_endpoint", "http://127.0.0.1:9/token"),
        ] {
            let path = format!("/v1/providers/acme?update_mask=oauth2.{field}");
            let (status, error) = patch(&world, &path, json!({ "oauth2": { field: url } })).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{field} {url}");
            assert_eq!(
                fields(&error),
                ["oauth2.client_secret"],
                "{field} {url}: {error}"
            );
        }
        // The same origin needs nothing, and with the secret all is possible.
        let path = "/v1/providers/acme?update_mask=oauth2.token_endpoint";
        let body = json!({ "oauth2": { "token_endpoint": format!("{origin}/token/v2") } });
        let (status, error) = patch(&world, path, body).await;
        assert_eq!(status, StatusCode::OK, "{error}");
        let path = "/v1/providers/acme?update_mask=oauth2.token_endpoint,oauth2.client_secret";
        let body = json!({ "oauth2": {
            "token_endpoint": "https://login.evil.test/token",
            "client_secret": secret,
        } });
        let (status, error) = patch(&world, path, body).await;
        assert_eq!(status, StatusCode::OK, "{error}");
    }
);

both!(
    hardening_29_a_stored_refresh_token_goes_only_where_it_came_from,
    |world: World| async move {
        let other = Simulator::start_with(SimulatorConfig::default())
            .await
            .expect("it starts");
        let origin = world.simulator.url();
        let changes = json!({ "oauth2": { "token_endpoint": format!("{origin}/token") } });
        world.create_provider("acme", changes).await;
        let id = world.connect_to("acme", "user-1").await;
        let path = "/v1/providers/acme?update_mask=oauth2.token_endpoint,oauth2.client_secret";
        let body = json!({ "oauth2": {
            "token_endpoint": format!("{}/token", other.url()),
            "client_secret": world.simulator.client_secret(),
        } });
        let (status, error) = patch(&world, path, body).await;
        assert_eq!(status, StatusCode::OK, "{error}");
        let (status, error) = world.refresh(&id, json!({})).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "PROVIDER_MISCONFIGURED")
        );
        assert_eq!(other.counts().of(Endpoint::Token), 0);
        // The grant is not to blame: the valid token is still served.
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
    }
);

both!(
    hardening_29_connection_config_never_chooses_the_domain,
    |world: World| async move {
        for url in [
            "https://${connection_config.host}/token",
            "https://${connection_config.domain}.test/token",
            "https://login.${connection_config.domain}.test/token",
            "https://login.acme.test:${connection_config.port}/token",
            "https://${host}.acme.test/token",
        ] {
            let changes = json!({ "oauth2": { "token_endpoint": url } });
            let (status, error) = world.try_create_provider("bad", changes).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{url}");
            assert_eq!(fields(&error), ["oauth2.token_endpoint"], "{url}");
        }
        let mut client = written_out("https://${connection_config.tenant}.acme.test");
        client["authorization_endpoint"] =
            json!("https://login.acme.test/${connection_config.tenant}/authorize");
        world
            .create_provider("acme", json!({ "oauth2": client }))
            .await;
        let (status, error) = request(&world, "acme", json!({})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(fields(&error), ["connection_config.tenant"]);
        for bad in [
            "evil.test/",
            "a.b",
            "a/../b",
            "a@b",
            "a:b",
            "a%2eb",
            "",
            "ä",
        ] {
            let (status, error) = request(&world, "acme", json!({ "tenant": bad })).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
            assert_eq!(fields(&error), ["connection_config.tenant"], "{bad}");
        }
        let (status, begun) = request(&world, "acme", json!({ "tenant": "big-corp" })).await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        let page = world.open(&mut Browser::new(), &begun).await;
        let location = page.location().expect("the provider");
        assert_eq!(location.host_str(), Some("login.acme.test"));
        assert_eq!(location.path(), "/big-corp/authorize");
        let id = begun["connection_id"].as_str().expect("an id");
        let (_, connection) = world.get(&format!("/v1/connections/{id}")).await;
        assert_eq!(
            connection["connection_config"],
            json!({ "tenant": "big-corp" })
        );
    }
);
