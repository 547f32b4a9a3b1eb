//! How consents end: where the browser goes, what it is told, and when.

use dromos_simulator::{
    Endpoint,
    browser::{self, Browser},
};
use reqwest::StatusCode;
use serde_json::json;
use url::Url;

use crate::{
    callback::{assert_refused, deliver, outcome},
    world::{Db, RETURN_URL, World, both, fields, on_both, query, reason},
};

on_both!(
    hardening_06_a_return_url_is_allowed_by_its_whole_origin,
    |db: Db| async move {
        let settings = [(
            "ALLOWED_RETURN_URLS",
            "https://app.example.com,http://app.example.com:8080",
        )];
        let world = World::start_empty(db, &settings).await;
        world.create_provider("sim", json!({})).await;
        let ask = async |return_url: &str| {
            let body = json!({ "user_id": "u", "provider_name": "sim", "return_url": return_url });
            world.post("/v1/request-connection", body).await
        };
        let mut id = String::new();
        for good in [
            "https://app.example.com/done?x=1#part",
            "https://app.example.com",
            "https://APP.example.com:443/",
            "http://app.example.com:8080/x",
        ] {
            let (status, begun) = ask(good).await;
            assert_eq!(status, StatusCode::OK, "{good}: {begun}");
            id = begun["connection_id"].as_str().expect("an id").to_owned();
        }
        for bad in [
            "http://app.example.com/",
            "https://app.example.com:8080/",
            "https://app.example.com.evil.test/",
            "https://evil.test/https://app.example.com/",
            "https://app.example.com@evil.test/",
            "https://user:pass@app.example.com/",
            "https://sub.app.example.com/",
            "https:///app.example.com",
            "//app.example.com/",
            "/done",
            "javascript:alert(1)//https://app.example.com",
            "data:text/html,x",
            "",
        ] {
            let (status, error) = ask(bad).await;
            let allowed_by_normalising = bad == "https:///app.example.com";
            if allowed_by_normalising {
                // The URL standard reads this as the allowed origin itself.
                assert_eq!(status, StatusCode::OK, "{bad}: {error}");
                continue;
            }
            assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
            assert_eq!(fields(&error), ["return_url"], "{bad}");
            let (status, error) = world
                .post(
                    &format!("/v1/connections/{id}:reconnect"),
                    json!({ "return_url": bad }),
                )
                .await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "reconnect: {bad}");
            assert_eq!(fields(&error), ["return_url"], "reconnect: {bad}");
        }
    }
);

both!(
    hardening_14_polling_a_pending_connection_is_no_failure,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let id = begun["connection_id"].as_str().expect("an id");
        for _ in 0..3 {
            let checked = world.check(id).await;
            assert_eq!(checked["status"], "PENDING");
            assert_eq!(checked["reason"], "");
            let (status, error) = world.token(id).await;
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::BAD_REQUEST, "CONNECTION_PENDING")
            );
            world.clock.advance(100);
        }
        // Asking did no harm: the consent still completes.
        let end = world.consent(&begun).await;
        assert_eq!(query(&end, "status").as_deref(), Some("success"));
    }
);

both!(
    a_consent_that_the_user_refuses_fails_the_connection,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let id = begun["connection_id"].as_str().expect("an id");
        let auth_url = begun["auth_url"].as_str().expect("an auth_url");
        let end = Browser::new()
            .walk(auth_url, RETURN_URL, browser::deny)
            .await
            .expect("the browser arrives");
        assert_eq!(query(&end, "status").as_deref(), Some("error"));
        assert_eq!(query(&end, "error").as_deref(), Some("access_denied"));
        assert_eq!(query(&end, "connection_id").as_deref(), Some(id));
        let checked = world.check(id).await;
        assert_eq!(checked["status"], "FAILED");
        assert_eq!(checked["reason"], "access_denied");
        let (status, error) = world.token(id).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "CONNECTION_FAILED")
        );
        // A second thought is welcome.
        let end = world.consent(&world.reconnect(id).await).await;
        assert_eq!(query(&end, "status").as_deref(), Some("success"));
        assert_eq!(world.check(id).await["status"], "ACTIVE");
    }
);

both!(
    a_providers_own_words_go_no_further_than_its_error_code,
    |world: World| async move {
        for (given, told) in [
            ("access_denied", "access_denied"),
            ("<script>alert(1)</script>", "authorization_error"),
            ("made_up_code", "authorization_error"),
        ] {
            let begun = world.request_connection("user-1").await;
            let mut browser = Browser::new();
            let page = world.open(&mut browser, &begun).await;
            let provider = page.location().expect("the provider");
            let mut answer =
                Url::parse(&query(&provider, "redirect_uri").expect("one")).expect("a URL");
            answer
                .query_pairs_mut()
                .append_pair("state", &query(&provider, "state").expect("one"))
                .append_pair("error", given)
                .append_pair("error_description", "words of the provider")
                .append_pair("iss", &world.simulator.url());
            let page = deliver(&mut browser, &answer).await;
            assert_eq!(outcome(&page).as_deref(), Some(told));
            assert!(!page.header("location").expect("one").contains("words"));
        }
        let events = world.audit("connection.failed").await;
        assert_eq!(events.len(), 3);
        for event in events {
            let text = event.to_string();
            assert!(
                !text.contains("words") && !text.contains("script"),
                "{text}"
            );
        }
    }
);

both!(
    a_consent_ends_after_ten_minutes,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let id = begun["connection_id"].as_str().expect("an id");
        let mut browser = Browser::new();
        let answer = world.approved(&mut browser, &begun).await;
        world.clock.advance(599);
        assert_eq!(world.check(id).await["status"], "PENDING");
        world.clock.advance(2);
        let checked = world.check(id).await;
        assert_eq!(checked["status"], "FAILED");
        assert_eq!(checked["reason"], "consent_timeout");
        assert_eq!(checked["updated_at"], begun["expires_at"]);
        let (_, found) = world.get("/v1/connections?status=FAILED").await;
        assert_eq!(found["connections"][0]["connection_id"], id);
        let (_, found) = world.get("/v1/connections?status=PENDING").await;
        assert_eq!(found["connections"], json!([]));
        let (status, error) = world.token(id).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "CONNECTION_FAILED")
        );
        assert_refused(&deliver(&mut browser, &answer).await);
        assert_refused(&world.open(&mut browser, &begun).await);
        assert_eq!(world.simulator.counts().of(Endpoint::Token), 0);
    }
);

both!(
    a_return_url_keeps_its_query_and_fragment,
    |world: World| async move {
        let body = json!({
            "user_id": "user-1",
            "provider_name": "sim",
            "return_url": format!("{RETURN_URL}?next=%2Fhome%3Fa%3D1&status=draft#top"),
        });
        let (_, begun) = world.post("/v1/request-connection", body).await;
        let id = begun["connection_id"].as_str().expect("an id");
        let end = world.consent(&begun).await;
        assert_eq!(
            end.as_str(),
            format!(
                "{RETURN_URL}?next=%2Fhome%3Fa%3D1&status=draft&status=success&connection_id={id}#top"
            )
        );
    }
);

both!(
    a_malformed_request_for_a_connection_names_its_fields,
    |world: World| async move {
        let good = json!({ "user_id": "u", "provider_name": "sim", "return_url": RETURN_URL });
        for (change, expected) in [
            (json!({ "user_id": "" }), "user_id"),
            (json!({ "user_id": "a\u{0}b" }), "user_id"),
            (json!({ "user_id": "x".repeat(1025) }), "user_id"),
            (json!({ "return_url": "" }), "return_url"),
            (json!({ "provider_name": "" }), "provider_name"),
            (json!({ "provider_id": "x" }), "provider_id"),
            (json!({ "scopes": ["a b"] }), "scopes"),
            (json!({ "scopes": [""] }), "scopes"),
            (json!({ "request_id": "a b" }), "request_id"),
        ] {
            let mut body = good.clone();
            for (name, value) in change.as_object().expect("an object") {
                body[name] = value.clone();
            }
            let (status, error) = world.post("/v1/request-connection", body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{change}");
            assert_eq!(fields(&error), [expected], "{change}: {error}");
        }
        let (status, error) = world
            .post(
                "/v1/request-connection",
                json!({ "user_id": "u", "provider_name": "nobody", "return_url": RETURN_URL }),
            )
            .await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "PROVIDER_NOT_FOUND")
        );
        let (_, found) = world.get("/v1/connections").await;
        assert_eq!(found["connections"], json!([]));
    }
);
