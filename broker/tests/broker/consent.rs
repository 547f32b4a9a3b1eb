//! Consents: states that work once, and id_tokens that are verified.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dromos_simulator::{Endpoint, IdTokenFault, browser::Browser};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    callback::{assert_refused, cookie_of, deliver, held, outcome},
    world::{ADMIN_KEY, World, both, query, reason},
};

both!(
    hardening_04_a_state_tells_nothing_of_its_consent,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let state = begun["state"].as_str().expect("a state");
        let handle = begun["auth_url"]
            .as_str()
            .and_then(|url| url.rsplit('/').next())
            .expect("a handle");
        let bytes = [state, handle].map(|text| {
            URL_SAFE_NO_PAD
                .decode(text)
                .unwrap_or_else(|_| text.as_bytes().to_vec())
        });
        let mut told: Vec<Vec<u8>> = vec![b"user-1".to_vec(), b"sim".to_vec()];
        for id in [&begun["connection_id"], &begun["provider_id"]] {
            let id = id.as_str().expect("an id");
            told.push(id.as_bytes().to_vec());
            let id: uuid::Uuid = id.parse().expect("a UUID");
            told.push(id.as_bytes().to_vec());
            told.push(id.simple().to_string().into_bytes());
        }
        for text in bytes.iter().chain([&state.as_bytes().to_vec()]) {
            for secret in &told {
                assert!(!text.windows(secret.len()).any(|part| part == secret));
            }
        }
        // The page's address is not the state either, nor does one yield the other.
        assert_ne!(state, handle);
        let another = world.request_connection("user-1").await;
        assert_ne!(another["state"], begun["state"]);
        assert_ne!(another["auth_url"], begun["auth_url"]);
    }
);

both!(hardening_04_a_state_works_once, |world: World| async move {
    let begun = world.request_connection("user-1").await;
    let id = begun["connection_id"].as_str().expect("an id");
    let mut browser = Browser::new();
    let answer = world.approved(&mut browser, &begun).await;
    let first = deliver(&mut browser, &answer).await;
    assert_eq!(outcome(&first), None);
    let before = held(&world, id).await;
    let exchanges = world.simulator.counts().of(Endpoint::Token);
    assert_refused(&deliver(&mut browser, &answer).await);
    // Nor does its page open again.
    assert_refused(&world.open(&mut browser, &begun).await);
    assert_eq!(held(&world, id).await, before);
    assert_eq!(world.simulator.counts().of(Endpoint::Token), exchanges);
});

both!(
    hardening_04_a_state_that_comes_twice_at_once_works_once,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let mut browser = Browser::new();
        let answer = world.approved(&mut browser, &begun).await;
        let cookie = cookie_of(&world, &begun).await;
        let visit = || async {
            let page = world
                .http
                .get(answer.as_str())
                .header("cookie", &cookie)
                .send()
                .await
                .expect("a page");
            page.status().as_u16()
        };
        let (a, b, c, d) = tokio::join!(visit(), visit(), visit(), visit());
        let mut statuses = [a, b, c, d];
        statuses.sort_unstable();
        assert_eq!(statuses, [302, 400, 400, 400]);
        assert_eq!(world.simulator.counts().of(Endpoint::Token), 1);
        let id = begun["connection_id"].as_str().expect("an id");
        assert_eq!(world.check(id).await["status"], "ACTIVE");
    }
);

both!(
    hardening_04_a_forged_or_missing_state_is_refused,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let mut browser = Browser::new();
        let answer = world.approved(&mut browser, &begun).await;
        let state = query(&answer, "state").expect("a state");
        let mut flipped = state.clone().into_bytes();
        flipped[5] = if flipped[5] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped).expect("ASCII");
        for change in [
            format!("state={flipped}&code=x"),
            format!("state={}&code=x", &state[..40]),
            "state=&code=x".to_owned(),
            "code=x".to_owned(),
            String::new(),
            format!("state={state}&state={state}&code=x"),
            format!("state={state}&code=x&code=y"),
        ] {
            let mut forged = answer.clone();
            forged.set_query(Some(&change));
            assert_refused(&deliver(&mut browser, &forged).await);
        }
        // None of that spent the state.
        assert_eq!(outcome(&deliver(&mut browser, &answer).await), None);
    }
);

both!(
    hardening_05_there_is_no_capture_endpoint_that_a_state_opens,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let state = begun["state"].as_str().expect("a state");
        let body = json!({ "state": state, "credentials": { "access_token": "mine" } });
        for base in [&world.gateway_url, &world.broker_url, &world.public_url] {
            for (method, path) in [
                (Method::GET, format!("/v1/capture-schema?state={state}")),
                (Method::POST, "/v1/capture-credential".to_owned()),
                (Method::POST, "/capture-credential".to_owned()),
                (Method::POST, "/auth/capture".to_owned()),
            ] {
                let answer = world
                    .http
                    .request(method.clone(), format!("{base}{path}"))
                    .bearer_auth(ADMIN_KEY)
                    .json(&body)
                    .send()
                    .await
                    .expect("an answer");
                assert_eq!(
                    answer.status(),
                    StatusCode::NOT_FOUND,
                    "{method} {base}{path}"
                );
            }
        }
        let id = begun["connection_id"].as_str().expect("an id");
        assert_eq!(world.check(id).await["status"], "PENDING");
    }
);

both!(
    hardening_05_a_state_past_its_time_never_overwrites_a_live_credential,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let id = begun["connection_id"].as_str().expect("an id");
        let mut browser = Browser::new();
        let spent = world.approved(&mut browser, &begun).await;
        assert_eq!(outcome(&deliver(&mut browser, &spent).await), None);
        let before = held(&world, id).await;

        let begun = world.reconnect(id).await;
        let superseded = world.approved(&mut browser, &begun).await;
        let begun = world.reconnect(id).await;
        let expired = world.approved(&mut browser, &begun).await;
        world.clock.advance(601);
        for answer in [&spent, &superseded, &expired] {
            assert_refused(&deliver(&mut browser, answer).await);
        }
        assert_eq!(held(&world, id).await, before);
        assert_eq!(world.check(id).await["status"], "ACTIVE");
    }
);

both!(
    hardening_07_an_id_token_is_verified_against_what_was_configured,
    |world: World| async move {
        for fault in [
            IdTokenFault::WrongIssuer,
            IdTokenFault::WrongAudience,
            IdTokenFault::WrongNonce,
            IdTokenFault::Expired,
            IdTokenFault::UnknownKey,
            IdTokenFault::AlgNone,
        ] {
            world.behave(|behaviour| behaviour.id_token_fault = fault);
            let begun = world.request_connection("user-1").await;
            let end = world.consent(&begun).await;
            assert_eq!(
                query(&end, "error").as_deref(),
                Some("id_token_invalid"),
                "{fault:?}"
            );
            let id = begun["connection_id"].as_str().expect("an id");
            let checked = world.check(id).await;
            assert_eq!(checked["status"], "FAILED", "{fault:?}");
            assert_eq!(checked["reason"], "id_token_invalid", "{fault:?}");
            let (status, error) = world.token(id).await;
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::BAD_REQUEST, "CONNECTION_FAILED"),
                "{fault:?}"
            );
        }
        // `openid` was asked for, so to say nothing is wrong, too.
        world.behave(|behaviour| {
            behaviour.id_token_fault = IdTokenFault::None;
            behaviour.issue_id_token = false;
        });
        let begun = world.request_connection("user-1").await;
        let end = world.consent(&begun).await;
        assert_eq!(query(&end, "error").as_deref(), Some("id_token_missing"));
        world.behave(|behaviour| behaviour.issue_id_token = true);
        world.connect("user-1").await;
    }
);
