//! The handshake, refreshes and a revocation against a certified OpenID
//! provider, `oidc-provider` from npm, in a process of its own. It demands PKCE,
//! rotates refresh tokens and ends a grant whose spent one comes again.

mod process;

use dromos_simulator::browser::{Browser, approve_as, deny};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use self::process::OidcProvider;
use crate::world::{Db, RETURN_URL, TestClock, World, on_both, query, reason};

const SECRET: &str = "made-up secret of the tests: 50%+tax";
const AT_ONCE: usize = 8;

/// A broker on the machine's clock, and an OpenID provider that knows two
/// clients: one authenticates in the header and has a redirect URI of its own,
/// one in the body and has the shared one.
async fn start(db: Db) -> (World, OidcProvider) {
    let world = World::start_with_clock(db, TestClock::of_the_machine(), &[]).await;
    // The provider must know the redirect URIs when it starts, and they hold
    // the ids that Dromos gives; so the issuer's port is chosen first.
    let port = process::free_port();
    let mut clients = vec![];
    for (method, shared) in [("client_secret_basic", false), ("client_secret_post", true)] {
        let name = name_of(method);
        let definition = json!({
            "name": name,
            "shared_redirect_uri": shared,
            "oauth2": {
                "issuer": port.issuer(),
                "client_id": name,
                "client_secret": SECRET,
                "token_endpoint_auth_method": method,
                "scopes": ["openid", "offline_access"],
            },
            "strategy": { "type": "oauth2" },
        });
        let (status, provider) = world.post("/v1/providers", definition).await;
        assert_eq!(status, StatusCode::OK, "{provider}");
        clients.push(json!({
            "client_id": name,
            "client_secret": SECRET,
            "token_endpoint_auth_method": method,
            "redirect_uris": [provider["redirect_uri"]],
        }));
    }
    let provider = OidcProvider::start(port, &json!({ "clients": clients })).await;
    (world, provider)
}

fn name_of(method: &str) -> String {
    method.replace('_', "-")
}

/// The provider's answer to what it thinks of a token (RFC 7662).
async fn is_active(world: &World, provider: &OidcProvider, token: &str) -> bool {
    let answer = world
        .http
        .post(format!("{}/token/introspection", provider.issuer))
        .form(&[
            ("token", token),
            ("client_id", "client-secret-post"),
            ("client_secret", SECRET),
        ])
        .send()
        .await
        .expect("the provider answers");
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.expect("JSON");
    answer["active"].as_bool().expect("whether it is active")
}

fn access_token(payload: &Value) -> &str {
    payload["credentials"]["access_token"]
        .as_str()
        .expect("an access token")
}

/// From consent to revocation as one of the two clients.
async fn whole_life(world: &World, provider: &OidcProvider, client: &str) {
    let begun = world.request_connection_to(client, "ada").await;
    let id = begun["connection_id"].as_str().expect("an id");
    let auth_url = begun["auth_url"].as_str().expect("an auth_url");
    let end = Browser::new()
        .walk(auth_url, RETURN_URL, approve_as("ada"))
        .await
        .expect("the browser arrives");
    assert_eq!(query(&end, "status").as_deref(), Some("success"), "{end}");
    assert_eq!(world.check(id).await["status"], "ACTIVE");

    let (status, first) = world.token(id).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let id_token = first["credentials"]["id_token"].as_str();
    assert_eq!(id_token.map(|token| token.split('.').count()), Some(3));
    assert_eq!(first["credentials"]["token_type"], "Bearer");
    assert!(first["credentials"]["refresh_token"].is_null());
    assert!(first["expires_at"].is_string(), "{first}");
    assert!(is_active(world, provider, access_token(&first)).await);

    let last = refresh_often(world, provider, client, id, &first).await;
    assert!(is_active(world, provider, access_token(&last)).await);

    let path = format!("/v1/connections/{id}:revoke");
    let (status, revoked) = world.post(&path, json!({})).await;
    assert_eq!(
        (status, &revoked["status"]),
        (StatusCode::OK, &"REVOKED".into())
    );
    let (status, error) = world.token(id).await;
    assert_eq!(
        (status, reason(&error)),
        (StatusCode::FORBIDDEN, "CONNECTION_REVOKED")
    );
    provider.wait_for("grant.revoked", client).await;
    provider.wait_for("refresh_token.destroyed", client).await;
    assert!(!is_active(world, provider, access_token(&last)).await);
}

/// One after the other, many at once for one generation, many at once for none;
/// answers the last credential.
async fn refresh_often(
    world: &World,
    provider: &OidcProvider,
    client: &str,
    id: &str,
    first: &Value,
) -> Value {
    let mut held = first.clone();
    for _ in 0..3 {
        let (status, next) = world.refresh(id, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{next}");
        assert_eq!(
            next["generation"],
            held["generation"].as_u64().expect("one") + 1
        );
        assert_ne!(access_token(&next), access_token(&held));
        held = next;
    }
    assert_eq!(provider.count("refresh_token.consumed", client), 3);

    let known = json!({ "generation": held["generation"] });
    let answers = join_all((0..AT_ONCE).map(|_| world.refresh(id, known.clone()))).await;
    for (status, answer) in &answers {
        assert_eq!(*status, StatusCode::OK, "{answer}");
        assert_eq!(answer, &answers[0].1, "one exchange serves all");
    }
    assert_eq!(provider.count("refresh_token.consumed", client), 4);

    let answers = join_all((0..AT_ONCE).map(|_| world.refresh(id, json!({})))).await;
    for (status, answer) in &answers {
        assert_eq!(*status, StatusCode::OK, "{answer}");
    }
    let (status, last) = world.token(id).await;
    assert_eq!(status, StatusCode::OK, "{last}");
    let spent = provider.count("refresh_token.consumed", client);
    // Generation 1 came from the code; each later one spent a refresh token.
    assert_eq!(last["generation"], spent + 1);
    assert!(spent > 4, "{spent}");
    assert_eq!(provider.count("refresh_token.reused", client), 0);
    assert_eq!(provider.count("grant.error", client), 0);
    last
}

on_both!(
    a_certified_provider_is_served_from_consent_to_revocation,
    |db: Db| async move {
        let (world, provider) = start(db).await;
        for method in ["client_secret_basic", "client_secret_post"] {
            whole_life(&world, &provider, &name_of(method)).await;
        }
        world.stop().await;
    }
);

on_both!(
    a_user_who_refuses_at_a_certified_provider_ends_in_access_denied,
    |db: Db| async move {
        let (world, provider) = start(db).await;
        let client = name_of("client_secret_basic");
        let begun = world.request_connection_to(&client, "ada").await;
        let id = begun["connection_id"].as_str().expect("an id");
        let auth_url = begun["auth_url"].as_str().expect("an auth_url");
        let end = Browser::new()
            .walk(auth_url, RETURN_URL, deny)
            .await
            .expect("the browser arrives");
        assert_eq!(query(&end, "status").as_deref(), Some("error"), "{end}");
        assert_eq!(query(&end, "error").as_deref(), Some("access_denied"));
        assert_eq!(query(&end, "connection_id").as_deref(), Some(id));
        let checked = world.check(id).await;
        assert_eq!(
            (&checked["status"], &checked["reason"]),
            (&"FAILED".into(), &"access_denied".into())
        );
        let (status, error) = world
            .call(Method::GET, &format!("/v1/token/{id}"), Value::Null)
            .await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::BAD_REQUEST, "CONNECTION_FAILED")
        );
        assert_eq!(provider.count("grant.success", &client), 0);
        world.stop().await;
    }
);
