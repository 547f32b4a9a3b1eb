use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dromos_simulator::IdTokenFault;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::support::{Client, client, json, text};

fn decode(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).expect("base64url")
}

struct Jwt {
    header: Value,
    claims: Value,
    signed: String,
    signature: Vec<u8>,
}

fn jwt(token: &str) -> Jwt {
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let (header, claims) = signed.split_once('.').expect("three parts");
    let parse = |part| serde_json::from_slice(&decode(part)).expect("JSON");
    Jwt {
        header: parse(header),
        claims: parse(claims),
        signed: signed.to_owned(),
        signature: decode(signature),
    }
}

async fn jwks(client: &mut Client) -> Vec<Value> {
    let url = client.at("/jwks");
    let jwks = json(&client.browser.get(url.as_str()).await.expect("an answer"));
    jwks["keys"].as_array().expect("keys").clone()
}

/// Whether the published key of that `kid` made this signature.
async fn verifies(client: &mut Client, token: &Jwt) -> bool {
    let keys = jwks(client).await;
    let key = keys
        .iter()
        .find(|key| key["kid"] == token.header["kid"])
        .expect("the key");
    let mut point = vec![4];
    point.extend(decode(text(key, "x")));
    point.extend(decode(text(key, "y")));
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(token.signed.as_bytes(), &token.signature)
        .is_ok()
}

#[tokio::test]
async fn an_id_token_says_who_and_for_whom_and_is_signed() {
    let mut client = client(|behaviour| {
        behaviour
            .claims
            .insert("email".to_owned(), json!("ada@sim.example"));
    })
    .await;
    let tokens = client.tokens().await;
    let token = jwt(text(&tokens, "id_token"));
    let now = client
        .now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let expected = json!({
        "iss": client.sim.url(), "sub": "ada", "aud": "sim-client", "iat": now, "exp": now + 300,
        "nonce": "the nonce", "email": "ada@sim.example",
    });
    assert_eq!(token.claims, expected);
    assert_eq!(token.header["alg"], "ES256");
    assert!(verifies(&mut client, &token).await);
}

#[tokio::test]
async fn a_refresh_gives_an_id_token_without_the_nonce() {
    let mut client = client(|_| {}).await;
    let tokens = client.tokens().await;
    let refreshed = json(&client.refresh(text(&tokens, "refresh_token")).await);
    let token = jwt(text(&refreshed, "id_token"));
    assert_eq!(
        (&token.claims["sub"], token.claims.get("nonce")),
        (&json!("ada"), None)
    );
}

#[tokio::test]
async fn claims_can_be_wrong_under_a_good_signature() {
    let mut client = client(|_| {}).await;
    let good = jwt(text(&client.tokens().await, "id_token")).claims;
    for (fault, claim) in [
        (IdTokenFault::WrongIssuer, "iss"),
        (IdTokenFault::WrongAudience, "aud"),
        (IdTokenFault::WrongNonce, "nonce"),
        (IdTokenFault::Expired, "exp"),
    ] {
        client
            .sim
            .change(|behaviour| behaviour.id_token_fault = fault);
        let token = jwt(text(&client.tokens().await, "id_token"));
        assert_ne!(token.claims[claim], good[claim], "{fault:?}");
        for other in ["iss", "aud", "nonce", "exp", "sub"]
            .iter()
            .filter(|other| **other != claim)
        {
            assert_eq!(
                token.claims[*other], good[*other],
                "{fault:?} leaves {other}"
            );
        }
        assert!(verifies(&mut client, &token).await, "{fault:?}");
        if fault == IdTokenFault::Expired {
            assert!(token.claims["exp"].as_u64() < good["iat"].as_u64());
        }
    }
}

#[tokio::test]
async fn the_signature_can_be_from_an_unknown_key_or_missing() {
    let mut client = client(|behaviour| behaviour.id_token_fault = IdTokenFault::UnknownKey).await;
    let token = jwt(text(&client.tokens().await, "id_token"));
    assert!(!verifies(&mut client, &token).await);
    client
        .sim
        .change(|behaviour| behaviour.id_token_fault = IdTokenFault::AlgNone);
    let token = jwt(text(&client.tokens().await, "id_token"));
    assert_eq!(token.header["alg"], "none");
    assert!(token.signature.is_empty());
}

#[tokio::test]
async fn after_a_rotation_a_new_key_signs_and_the_one_before_stays_published() {
    let mut client = client(|_| {}).await;
    let before = jwt(text(&client.tokens().await, "id_token"));
    client.sim.rotate_signing_key();
    let after = jwt(text(&client.tokens().await, "id_token"));
    assert_ne!(before.header["kid"], after.header["kid"]);
    assert!(verifies(&mut client, &before).await && verifies(&mut client, &after).await);
    client.sim.rotate_signing_key();
    let published = jwks(&mut client).await;
    assert_eq!(published.len(), 2);
    assert!(
        published
            .iter()
            .all(|key| key["kid"] != before.header["kid"])
    );
}
