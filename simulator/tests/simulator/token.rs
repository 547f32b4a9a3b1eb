use std::time::Duration;

use dromos_simulator::{Behaviour, ClientAuth, ExpiresFormat, ExpiresIn, RequestFormat};
use serde_json::{Value, json};

use crate::support::{
    CALLBACK, FORM, VERIFIER, basic, client, encode, error, exchange_params, is, json, query,
    refresh_params, text, usual, with,
};

#[tokio::test]
async fn a_code_becomes_tokens_that_no_cache_keeps() {
    let mut client = client(|_| {}).await;
    let code = client.code().await;
    let page = client.exchange(&code).await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let tokens = json(&page);
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], json!(3600));
    assert_eq!(tokens["scope"], "openid read");
    assert!(tokens["refresh_token"].is_string() && tokens["id_token"].is_string());
    assert_eq!(client.me(text(&tokens, "access_token")).await.status, 200);
    assert_eq!(client.sim.counts().issued, 1);
}

#[tokio::test]
async fn a_code_used_twice_is_refused_and_takes_its_tokens_along() {
    let mut client = client(|_| {}).await;
    let code = client.code().await;
    let tokens = json(&client.exchange(&code).await);
    assert_eq!(
        error(&client.exchange(&code).await),
        is(400, "invalid_grant")
    );
    assert_eq!(client.me(text(&tokens, "access_token")).await.status, 401);
    assert!(client.sim.is_revoked(text(&tokens, "access_token")));
    assert_eq!(
        error(&client.refresh(text(&tokens, "refresh_token")).await),
        is(400, "invalid_grant")
    );
}

#[tokio::test]
async fn a_code_lives_for_a_minute() {
    let mut client = client(|_| {}).await;
    let (early, late) = (client.code().await, client.code().await);
    client.sim.clock().advance(Duration::from_secs(59));
    assert_eq!(client.exchange(&early).await.status, 200);
    client.sim.clock().advance(Duration::from_secs(1));
    assert_eq!(
        error(&client.exchange(&late).await),
        is(400, "invalid_grant")
    );
}

#[tokio::test]
async fn a_code_is_bound_to_its_verifier_and_its_redirect_uri() {
    let mut client = client(|_| {}).await;
    let wrong = "x".repeat(43);
    for (name, value) in [
        ("code_verifier", wrong.as_str()),
        ("code_verifier", ""),
        ("redirect_uri", "http://127.0.0.1:1/callback"),
        ("redirect_uri", ""),
        ("code", "unknown"),
    ] {
        let code = client.code().await;
        let page = client
            .post_form("/token", &with(exchange_params(&code), name, value))
            .await
            .expect("an answer");
        assert_eq!(error(&page), is(400, "invalid_grant"), "{name}={value}");
    }
}

#[tokio::test]
async fn without_a_challenge_no_verifier_is_wanted() {
    let mut client = client(|behaviour| behaviour.require_pkce = false).await;
    for (verifier, status) in [("", 200), (VERIFIER, 400)] {
        let callback = client
            .authorized(&with(usual(), "code_challenge", ""))
            .await;
        let code = query(&callback, "code").expect("a code");
        let params = with(exchange_params(&code), "code_verifier", verifier);
        assert_eq!(
            client
                .post_form("/token", &params)
                .await
                .expect("an answer")
                .status,
            status
        );
    }
}

#[tokio::test]
async fn the_client_authenticates_as_it_is_told_to() {
    let mut client = client(|_| {}).await;
    let good = basic(client.sim.client_id(), client.sim.client_secret());
    let raw = "Basic c2ltLWNsaWVudDpzaW0gc2VjcmV0OjUwJSt0YXg=";
    let secret = client.sim.client_secret().to_owned();
    let in_body = vec![
        ("client_id", "sim-client"),
        ("client_secret", secret.as_str()),
    ];
    let wrong_secret = vec![("client_id", "sim-client"), ("client_secret", "wrong")];
    let stranger = vec![
        ("client_id", "stranger"),
        ("client_secret", secret.as_str()),
    ];
    let only_id = vec![("client_id", "sim-client")];
    for (method, authorization, body, expected) in [
        (ClientAuth::Any, Some(good.as_str()), vec![], 200),
        (ClientAuth::Any, None, in_body.clone(), 200),
        (ClientAuth::Any, Some(good.as_str()), in_body.clone(), 400),
        (ClientAuth::Any, Some(good.as_str()), only_id.clone(), 200),
        (ClientAuth::Any, Some(raw), vec![], 401),
        (ClientAuth::Any, None, wrong_secret.clone(), 401),
        (ClientAuth::Any, None, stranger.clone(), 401),
        (ClientAuth::Any, None, only_id.clone(), 401),
        (ClientAuth::Any, None, vec![], 401),
        (ClientAuth::Basic, Some(good.as_str()), vec![], 200),
        (ClientAuth::Basic, None, in_body.clone(), 401),
        (ClientAuth::Post, None, in_body.clone(), 200),
        (ClientAuth::Post, Some(good.as_str()), vec![], 401),
        (ClientAuth::None, None, only_id.clone(), 200),
        (ClientAuth::None, None, in_body.clone(), 401),
    ] {
        client
            .sim
            .change(|behaviour| behaviour.client_auth = method);
        let code = client.code().await;
        let mut params = exchange_params(&code);
        params.extend(&body);
        let mut headers = vec![("content-type", FORM)];
        headers.extend(authorization.map(|value| ("authorization", value)));
        let page = client
            .post("/token", &headers, encode(&params))
            .await
            .expect("an answer");
        assert_eq!(
            page.status, expected,
            "{method:?} {authorization:?} {body:?}: {}",
            page.body
        );
        let challenged = page.header("www-authenticate").is_some();
        assert_eq!(
            challenged,
            expected == 401 && authorization.is_some(),
            "{method:?} {authorization:?}"
        );
        if expected == 401 {
            assert_eq!(json(&page)["error"], "invalid_client");
        }
    }
}

#[tokio::test]
async fn a_provider_that_wants_json_takes_nothing_else() {
    let mut client = client(|behaviour| behaviour.token_request_format = RequestFormat::Json).await;
    let code = client.code().await;
    let as_form = client.exchange(&code).await;
    assert_eq!(error(&as_form), is(400, "invalid_request"));
    let body = json!({
        "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER,
        "client_id": client.sim.client_id(), "client_secret": client.sim.client_secret(),
    });
    let headers = [("content-type", "application/json; charset=utf-8")];
    let page = client
        .post("/token", &headers, body.to_string())
        .await
        .expect("an answer");
    assert_eq!(page.status, 200, "{}", page.body);
    client
        .sim
        .change(|behaviour| behaviour.token_request_format = RequestFormat::Form);
    let page = client
        .post("/token", &headers, body.to_string())
        .await
        .expect("an answer");
    assert_eq!(error(&page), is(400, "invalid_request"));
}

#[tokio::test]
async fn unsound_requests_are_named() {
    let mut client = client(|_| {}).await;
    let code = client.code().await;
    let mut repeated = exchange_params(&code);
    repeated.push(("code", "again"));
    for (params, expected) in [
        (repeated, "invalid_request"),
        (
            with(exchange_params(&code), "grant_type", ""),
            "invalid_request",
        ),
        (
            with(exchange_params(&code), "grant_type", "password"),
            "unsupported_grant_type",
        ),
        (
            with(exchange_params(&code), "grant_type", "client_credentials"),
            "unsupported_grant_type",
        ),
        (with(exchange_params(&code), "code", ""), "invalid_request"),
    ] {
        let page = client
            .post_form("/token", &params)
            .await
            .expect("an answer");
        assert_eq!(error(&page), is(400, expected), "{params:?}");
        assert_eq!(page.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn errors_can_come_with_status_200() {
    let mut client = client(|behaviour| behaviour.error_with_200 = true).await;
    assert_eq!(
        error(&client.exchange("unknown").await),
        is(200, "invalid_grant")
    );
    let page = client
        .post("/token", &[("content-type", FORM)], String::new())
        .await
        .expect("an answer");
    assert_eq!(error(&page), is(200, "invalid_client"));
}

#[tokio::test]
async fn the_expiry_is_written_in_every_way() {
    let mut client = client(|_| {}).await;
    for (format, expires_in, expires_at) in [
        (ExpiresFormat::Number, json!(90), Value::Null),
        (ExpiresFormat::String, json!("90"), Value::Null),
        (ExpiresFormat::Milliseconds, json!(90_000), Value::Null),
        (
            ExpiresFormat::Date,
            Value::Null,
            json!("2027-01-15T08:01:30Z"),
        ),
        (ExpiresFormat::Absent, Value::Null, Value::Null),
    ] {
        client.sim.change(|behaviour| {
            behaviour.expires_in = ExpiresIn {
                seconds: 90,
                format,
            }
        });
        let tokens = client.tokens().await;
        assert_eq!(
            (&tokens["expires_in"], &tokens["expires_at"]),
            (&expires_in, &expires_at),
            "{format:?}"
        );
    }
}

#[tokio::test]
async fn the_answer_can_be_shaped() {
    let mut client = client(|behaviour| {
        let declared = json!({
            "extra_token_fields": { "instance_url": "https://eu.example" },
            "token_response_pointers": {
                "access_token": "/authed_user/access_token", "expires_in": "/authed_user/ttl", "refresh_token": "/renew~1with",
            },
            "token_type": "user",
            "issue_id_token": false,
            "scope_separator": ",",
        });
        *behaviour = serde_json::from_value(declared).expect("a behaviour");
    })
    .await;
    let callback = client
        .authorized(&with(usual(), "scope", "openid,read"))
        .await;
    let tokens = json(
        &client
            .exchange(&query(&callback, "code").expect("a code"))
            .await,
    );
    assert_eq!(tokens["instance_url"], "https://eu.example");
    assert_eq!(tokens["authed_user"]["ttl"], json!(3600));
    assert_eq!(tokens["scope"], "openid,read");
    assert_eq!(tokens["token_type"], "user");
    assert!(tokens["renew/with"].is_string());
    assert_eq!(
        (tokens.get("access_token"), tokens.get("id_token")),
        (None, None)
    );
    let page = client
        .me(text(&tokens["authed_user"], "access_token"))
        .await;
    assert_eq!(json(&page)["scope"], "openid read");
}

#[tokio::test]
async fn a_provider_can_insist_on_parameters_and_headers() {
    let mut client = client(|behaviour| {
        behaviour
            .required_token_params
            .insert("audience".to_owned(), "api".to_owned());
        behaviour
            .required_refresh_params
            .insert("tenant".to_owned(), "42".to_owned());
        behaviour
            .required_token_headers
            .insert("x-version".to_owned(), "2".to_owned());
    })
    .await;
    let authorization = basic(client.sim.client_id(), client.sim.client_secret());
    let plain = [
        ("authorization", authorization.as_str()),
        ("content-type", FORM),
    ];
    let versioned = [plain[0], plain[1], ("x-version", "2")];
    let code = client.code().await;
    let params = with(exchange_params(&code), "audience", "api");
    let page = client
        .post("/token", &plain, encode(&params))
        .await
        .expect("an answer");
    assert_eq!(error(&page), is(400, "invalid_request"));
    let page = client
        .post("/token", &versioned, encode(&exchange_params(&code)))
        .await
        .expect("an answer");
    assert_eq!(error(&page), is(400, "invalid_request"));
    let tokens = json(
        &client
            .post("/token", &versioned, encode(&params))
            .await
            .expect("an answer"),
    );
    let refresh_token = text(&tokens, "refresh_token");
    let page = client
        .post("/token", &versioned, encode(&refresh_params(refresh_token)))
        .await
        .expect("an answer");
    assert_eq!(error(&page), is(400, "invalid_request"));
    let params = with(refresh_params(refresh_token), "tenant", "42");
    assert_eq!(
        client
            .post("/token", &versioned, encode(&params))
            .await
            .expect("an answer")
            .status,
        200
    );
}

#[tokio::test]
async fn a_client_can_be_granted_access_itself() {
    let mut client = client(|behaviour| behaviour.client_credentials = true).await;
    let params = vec![("grant_type", "client_credentials"), ("scope", "read")];
    let tokens = json(
        &client
            .post_form("/token", &params)
            .await
            .expect("an answer"),
    );
    assert_eq!(tokens.get("refresh_token"), None);
    let me = json(&client.me(text(&tokens, "access_token")).await);
    assert_eq!(
        me,
        json!({ "sub": "sim-client", "scope": "read", "token_generation": 1 })
    );
}

#[tokio::test]
async fn another_user_can_sign_in() {
    let mut client = client(|_| {}).await;
    let ada = client.tokens().await;
    client.sim.set_subject("grace");
    let grace = client.tokens().await;
    assert_eq!(
        json(&client.me(text(&ada, "access_token")).await)["sub"],
        "ada"
    );
    assert_eq!(
        json(&client.me(text(&grace, "access_token")).await)["sub"],
        "grace"
    );
    client.sim.set_behaviour(Behaviour::default());
    assert_eq!(client.sim.behaviour().subject, "ada");
}
