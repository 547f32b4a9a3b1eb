use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dromos_simulator::{API_KEY, API_USER, ExpiresFormat, ExpiresIn};
use serde_json::{Value, json};

use crate::support::{client, json, text};

#[tokio::test]
async fn an_access_token_works_until_it_expires_whatever_the_answer_said() {
    let lifetime = ExpiresIn {
        seconds: 10,
        format: ExpiresFormat::Absent,
    };
    let mut client = client(|behaviour| behaviour.expires_in = lifetime).await;
    let tokens = client.tokens().await;
    let access_token = text(&tokens, "access_token");
    client.sim.clock().advance(Duration::from_secs(9));
    assert_eq!(client.me(access_token).await.status, 200);
    client.sim.clock().advance(Duration::from_secs(1));
    let page = client.me(access_token).await;
    assert_eq!(page.status, 401);
    assert_eq!(
        page.header("www-authenticate"),
        Some("Bearer error=\"invalid_token\"")
    );
    assert!(
        !client.sim.is_revoked(access_token),
        "expired is not revoked"
    );
}

#[tokio::test]
async fn without_a_token_the_challenge_names_no_error() {
    let mut client = client(|_| {}).await;
    for path in ["/api/me", "/api/echo", "/userinfo"] {
        let page = client.get_with(path, &[]).await;
        assert_eq!(
            (page.status, page.header("www-authenticate")),
            (401, Some("Bearer")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn userinfo_tells_about_the_user() {
    let mut client = client(|behaviour| {
        behaviour.claims.insert("name".to_owned(), json!("Ada"));
    })
    .await;
    let tokens = client.tokens().await;
    let authorization = format!("Bearer {}", text(&tokens, "access_token"));
    let page = client
        .get_with("/userinfo", &[("authorization", &authorization)])
        .await;
    assert_eq!(json(&page), json!({ "sub": "ada", "name": "Ada" }));
}

#[tokio::test]
async fn echo_tells_the_request_back() {
    let mut client = client(|_| {}).await;
    let headers = [("x-api-key", API_KEY), ("x-twice", "1"), ("x-twice", "2")];
    let page = client
        .post("/api/echo?a=1%202&a=3", &headers, "the body".to_owned())
        .await
        .expect("an answer");
    let told = json(&page);
    assert_eq!(told["method"], "POST");
    assert_eq!(told["path"], "/api/echo");
    assert_eq!(told["query"], "a=1%202&a=3");
    assert_eq!(told["body"], "the body");
    let values = |name: &str| -> Vec<Value> {
        let headers = told["headers"].as_array().expect("headers").iter();
        headers
            .filter(|header| header["name"] == name)
            .map(|header| header["value"].clone())
            .collect()
    };
    assert_eq!(values("x-twice"), ["1", "2"]);
    assert_eq!(values("x-api-key"), [API_KEY]);
}

#[tokio::test]
async fn echo_takes_every_kind_of_credential_and_refuses_wrong_ones() {
    let mut client = client(|_| {}).await;
    let tokens = client.tokens().await;
    let bearer = format!("bearer {}", text(&tokens, "access_token"));
    let basic =
        |user: &str, key: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{key}")));
    let (right, wrong) = (basic(API_USER, API_KEY), basic(API_USER, "wrong"));
    for (path, headers, status) in [
        ("/api/echo", vec![("authorization", bearer.as_str())], 200),
        ("/api/echo", vec![("authorization", right.as_str())], 200),
        ("/api/echo?api_key=sim-key", vec![], 200),
        ("/api/echo", vec![("authorization", wrong.as_str())], 401),
        ("/api/echo", vec![("authorization", "Bearer wrong")], 401),
        ("/api/echo", vec![("x-api-key", "wrong")], 401),
        ("/api/echo?api_key=wrong", vec![], 401),
    ] {
        assert_eq!(
            client.get_with(path, &headers).await.status,
            status,
            "{path} {headers:?}"
        );
    }
}
