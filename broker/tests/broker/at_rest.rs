//! Secrets at rest: only as ciphertext, and only where they belong.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    database::Database,
    tokens::refresh_token,
    world::{RETURN_URL, World, both, reason},
};

/// A secret as it could be found: plain, in hex, in base64 at any offset, and
/// these again in hex, because a dump writes byte strings so.
fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let mut plain = vec![secret.as_bytes().to_vec()];
    for padding in 0..3_usize {
        let mut padded = vec![0; padding];
        padded.extend_from_slice(secret.as_bytes());
        for text in [
            STANDARD_NO_PAD.encode(&padded),
            URL_SAFE_NO_PAD.encode(&padded),
        ] {
            // Without what the neighbours' bits would change.
            let start = (padding * 8).div_ceil(6);
            let inner = &text[start..text.len() - 1];
            plain.push(inner.as_bytes().to_vec());
        }
    }
    let mut all = vec![];
    for bytes in plain {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        all.push(hex.to_uppercase().into_bytes());
        all.push(hex.into_bytes());
        all.push(bytes);
    }
    all
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

both!(plaintext_never_rests, |world: World| async move {
    let mut secrets = vec![
        (
            "the client secret",
            world.simulator.client_secret().to_owned(),
        ),
        ("an API key", world.api_key(&["connections:read"]).await),
        ("the bootstrap key", crate::world::ADMIN_KEY.to_owned()),
    ];
    let id = world.connect("marker-user").await;
    for _ in 0..2 {
        let (_, token) = world.token(&id).await;
        for name in ["access_token", "id_token"] {
            if let Some(text) = token["credentials"][name].as_str() {
                secrets.push(("a usage secret", text.to_owned()));
            }
        }
        secrets.push(("a refresh token", refresh_token(&world, &id).await));
        world.refresh(&id, json!({})).await;
    }
    // One consent is left open, one credential is revoked and its upstream
    // revocation fails, so that its sealed copy stays.
    let begun = world.request_connection("user-2").await;
    secrets.push((
        "a state",
        begun["state"].as_str().expect("a state").to_owned(),
    ));
    let auth_url = begun["auth_url"].as_str().expect("a URL");
    let handle = auth_url.rsplit('/').next().expect("a handle").to_owned();
    secrets.push(("a handle", handle));
    let gone = world.connect("user-3").await;
    secrets.push((
        "a revoked refresh token",
        refresh_token(&world, &gone).await,
    ));
    world.simulator.fail_next(
        dromos_simulator::Endpoint::Revocation,
        1,
        dromos_simulator::Failure::status(503),
    );
    world
        .post(&format!("/v1/connections/{gone}:revoke"), json!({}))
        .await;
    assert!(secrets.len() >= 9, "{}", secrets.len());

    let mut dump = Database::of(&world).await.dump().await.into_bytes();
    for name in ["dromos.db", "dromos.db-wal", "dromos.db-shm"] {
        if let Ok(bytes) = std::fs::read(world.data_dir.path().join(name)) {
            dump.extend(bytes);
        }
    }
    // The search finds what is there in plain.
    assert!(contains(&dump, b"marker-user"));
    for (what, secret) in &secrets {
        for spelling in spellings(secret) {
            assert!(
                !contains(&dump, &spelling),
                "{what} is found as {}",
                String::from_utf8_lossy(&spelling)
            );
        }
    }
});

#[test]
fn the_search_knows_every_spelling() {
    let secret = "access_0123456789abcdef";
    for around in ["", "x", "xy"] {
        let text = format!("{around}{secret} and more");
        let encoded = STANDARD_NO_PAD.encode(&text);
        let hex: String = encoded.bytes().map(|byte| format!("{byte:02x}")).collect();
        for found in [text, encoded, hex] {
            assert!(
                spellings(secret)
                    .iter()
                    .any(|spelling| contains(found.as_bytes(), spelling)),
                "{found}"
            );
        }
    }
}

/// What a caller gets who meets a ciphertext that does not open.
fn is_closed(answer: &(StatusCode, Value)) {
    let (status, error) = answer;
    assert_eq!(
        (*status, reason(error)),
        (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        "{error}"
    );
    for inside in ["credentials.", "usage", "refresh", "open", "AES", "key id"] {
        assert!(!error["message"].to_string().contains(inside), "{error}");
    }
    assert!(error.get("credentials").is_none(), "{error}");
}

both!(
    a_ciphertext_opens_in_its_own_row_field_and_generation_only,
    |world: World| async move {
        let mut ids = vec![];
        for user in ["user-1", "user-2", "user-3", "user-4", "bystander"] {
            ids.push(world.connect(user).await);
        }
        let mut database = Database::of(&world).await;
        let at: Vec<String> = ids.iter().map(|id| database.id(id)).collect();
        let moves = [
            // Another row's.
            format!(
                "update credentials set usage = (select c.usage from credentials c \
                 where c.connection_id = {}) where connection_id = {}",
                at[4], at[0]
            ),
            // Another field's.
            format!(
                "update credentials set usage = refresh where connection_id = {}",
                at[1]
            ),
            // Another generation's.
            format!(
                "update credentials set generation = generation + 1 where connection_id = {}",
                at[2]
            ),
        ];
        for (index, moved) in moves.iter().enumerate() {
            assert_eq!(world.token(&ids[index]).await.0, StatusCode::OK);
            database.execute(moved).await;
            is_closed(&world.token(&ids[index]).await);
        }
        // A refresh token of another row is sent nowhere.
        database
            .execute(&format!(
                "update credentials set refresh = (select c.refresh from credentials c \
                 where c.connection_id = {}) where connection_id = {}",
                at[4], at[3]
            ))
            .await;
        let before = world.simulator.counts();
        is_closed(&world.refresh(&ids[3], json!({})).await);
        assert_eq!(world.simulator.counts(), before);
        // The others are as they were.
        assert_eq!(world.token(&ids[4]).await.0, StatusCode::OK);
        assert_eq!(world.refresh(&ids[4], json!({})).await.0, StatusCode::OK);
    }
);

both!(
    a_connection_whose_credential_does_not_open_can_be_revoked,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let mut database = Database::of(&world).await;
        let at = database.id(&id);
        database
            .execute(&format!(
                "update credentials set usage = refresh, refresh = usage where connection_id = {at}"
            ))
            .await;
        is_closed(&world.token(&id).await);
        let path = format!("/v1/connections/{id}:revoke");
        let (status, revoked) = world.post(&path, json!({})).await;
        assert_eq!(
            (status, &revoked["status"]),
            (StatusCode::OK, &json!("REVOKED"))
        );
    }
);

both!(
    a_ciphertext_of_one_workspace_does_not_open_in_another,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let (status, workspace) = world
            .post("/v1/workspaces", json!({ "name": "other" }))
            .await;
        assert_eq!(status, StatusCode::OK, "{workspace}");
        let (status, created) = world
            .post(
                "/v1/api-keys",
                json!({ "name": "other", "scopes": ["admin"], "workspace_id": workspace["id"] }),
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{created}");
        let key = created["secret"].as_str().expect("a secret").to_owned();
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
            .call_as(&key, Method::POST, "/v1/providers", provider)
            .await;
        assert_eq!(status, StatusCode::OK, "{provider}");
        world
            .simulator
            .allow_redirect_uri(provider["redirect_uri"].as_str().expect("a URI"));
        let body = json!({ "user_id": "u", "provider_name": "sim", "return_url": RETURN_URL });
        let (status, begun) = world
            .call_as(&key, Method::POST, "/v1/request-connection", body)
            .await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        world.consent(&begun).await;
        let theirs = begun["connection_id"].as_str().expect("an id");
        let path = format!("/v1/token/{theirs}");
        let read = async || world.call_as(&key, Method::GET, &path, Value::Null).await;
        assert_eq!(read().await.0, StatusCode::OK);

        let mut database = Database::of(&world).await;
        database.unguarded().await;
        let (ours_at, theirs_at) = (database.id(&id), database.id(theirs));
        database
            .execute(&format!(
                "update credentials set usage = (select c.usage from credentials c \
                 where c.connection_id = {ours_at}) where connection_id = {theirs_at}"
            ))
            .await;
        is_closed(&read().await);
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
    }
);
