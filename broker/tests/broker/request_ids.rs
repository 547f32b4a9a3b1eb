//! Mutations that are safe to repeat (AIP-155).

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    database::Database,
    world::{RETURN_URL, World, both, fields, reason},
};

fn wanted(user_id: &str, request_id: &str) -> Value {
    json!({
        "user_id": user_id,
        "provider_name": "sim",
        "return_url": RETURN_URL,
        "request_id": request_id,
    })
}

async fn connections(world: &World) -> usize {
    let (_, page) = world.get("/v1/connections?page_size=1000").await;
    page["connections"].as_array().expect("a list").len()
}

both!(
    hardening_35_the_same_request_id_gives_the_same_answer_and_one_effect,
    |world: World| async move {
        let path = "/v1/request-connection";
        let (status, first) = world.post(path, wanted("user-1", "r-1")).await;
        assert_eq!(status, StatusCode::OK, "{first}");
        world.clock.advance(30);
        let again = world.post(path, wanted("user-1", "r-1")).await;
        assert_eq!(again, (StatusCode::OK, first.clone()));
        assert_eq!(connections(&world).await, 1);
        assert_eq!(world.audit("connection.requested").await.len(), 1);

        let id = first["connection_id"].as_str().expect("an id");
        world.consent(&first).await;
        let reconnect = format!("/v1/connections/{id}:reconnect");
        let body = json!({ "return_url": RETURN_URL, "request_id": "r-1" });
        // The same id with another method is another request.
        let (status, begun) = world.post(&reconnect, body.clone()).await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        assert_ne!(begun["state"], first["state"]);
        assert_eq!(world.post(&reconnect, body).await.1, begun);

        let provider = json!({ "display_name": "Renamed", "oauth2": {} });
        let path = "/v1/providers/sim?update_mask=display_name&request_id=r-1";
        let (status, updated) = world.call(Method::PATCH, path, provider.clone()).await;
        assert_eq!(status, StatusCode::OK, "{updated}");
        world.clock.advance(1);
        let again = world.call(Method::PATCH, path, provider).await;
        assert_eq!(again, (StatusCode::OK, updated));

        let path = "/v1/providers/sim?force=true&request_id=r-1";
        for _ in 0..2 {
            let deleted = world.call(Method::DELETE, path, Value::Null).await;
            assert_eq!(deleted, (StatusCode::OK, json!({})));
        }
        assert_eq!(world.audit("provider.deleted").await.len(), 1);
    }
);

both!(
    hardening_35_a_request_id_stands_for_one_request_only,
    |world: World| async move {
        let path = "/v1/request-connection";
        let (status, _) = world.post(path, wanted("user-1", "r-1")).await;
        assert_eq!(status, StatusCode::OK);
        let (status, error) = world.post(path, wanted("user-2", "r-1")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(fields(&error), ["request_id"]);
        assert_eq!(connections(&world).await, 1);
        // After a day it is new again.
        world.clock.advance(24 * 3600);
        let (status, error) = world.post(path, wanted("user-2", "r-1")).await;
        assert_eq!(status, StatusCode::OK, "{error}");
        for bad in ["two words", "é", &"x".repeat(129)] {
            let (status, error) = world.post(path, wanted("user-3", bad)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
            assert_eq!(fields(&error), ["request_id"], "{bad}");
        }
    }
);

both!(
    hardening_35_the_order_of_a_requests_maps_does_not_make_it_another_one,
    |world: World| async move {
        let mut body = wanted("user-1", "r-1");
        for n in 0..20 {
            body["metadata"][format!("key-{n}")] = json!(format!("value-{n}"));
            body["connection_config"][format!("c{n}")] = json!("x");
        }
        let (status, first) = world.post("/v1/request-connection", body.clone()).await;
        assert_eq!(status, StatusCode::OK, "{first}");
        for _ in 0..10 {
            let again = world.post("/v1/request-connection", body.clone()).await;
            assert_eq!(again, (StatusCode::OK, first.clone()));
        }
    }
);

both!(
    hardening_35_requests_that_come_at_once_have_one_effect,
    |world: World| async move {
        let ask = || world.post("/v1/request-connection", wanted("user-1", "r-1"));
        let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
        assert_eq!(a.0, StatusCode::OK, "{a:?}");
        assert_eq!(connections(&world).await, 1);
        assert!(b == a && c == a && d == a, "{a:?} {b:?} {c:?} {d:?}");
    }
);

both!(
    hardening_35_an_answer_is_for_the_key_that_asked,
    |world: World| async move {
        let path = "/v1/request-connection";
        let other = world.api_key(&["connections:write"]).await;
        let (_, first) = world.post(path, wanted("user-1", "r-1")).await;
        let (status, second) = world
            .call_as(&other, Method::POST, path, wanted("user-1", "r-1"))
            .await;
        assert_eq!(status, StatusCode::OK, "{second}");
        assert_ne!(first["connection_id"], second["connection_id"]);
        assert_ne!(first["state"], second["state"]);
        assert_eq!(connections(&world).await, 2);
    }
);

both!(
    hardening_35_an_error_is_not_kept,
    |world: World| async move {
        let mut body = wanted("user-1", "r-1");
        body["provider_name"] = json!("later");
        let path = "/v1/request-connection";
        let (status, error) = world.post(path, body.clone()).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "PROVIDER_NOT_FOUND")
        );
        world.create_provider("later", json!({})).await;
        let (status, begun) = world.post(path, body).await;
        assert_eq!(status, StatusCode::OK, "{begun}");
    }
);

both!(
    hardening_35_a_kept_answer_is_ciphertext_and_never_a_secret,
    |world: World| async move {
        let (_, begun) = world
            .post("/v1/request-connection", wanted("user-1", "r-1"))
            .await;
        world.consent(&begun).await;
        let id = begun["connection_id"].as_str().expect("an id");
        // What answers a secret takes no request_id.
        let (status, error) = world
            .post(
                "/v1/api-keys",
                json!({ "name": "k", "scopes": ["admin"], "request_id": "r-2" }),
            )
            .await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
        let (status, error) = world.get(&format!("/v1/token/{id}?request_id=r-3")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
        let (status, error) = world.refresh(id, json!({ "request_id": "r-4" })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
        world.api_key(&["admin"]).await;
        world.token(id).await;

        let dump = Database::of(&world).await.dump().await;
        let kept: Vec<&str> = dump
            .lines()
            .filter(|line| line.starts_with("answers: "))
            .collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(kept[0].contains("/dromos.v1.ConnectionService/RequestConnection"));
        assert!(kept[0].len() > 600, "an answer is kept: {}", kept[0]);
        let row = kept[0].to_ascii_lowercase();
        for part in ["state", "auth_url", "connection_id"] {
            let text = begun[part].as_str().expect("a text");
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!kept[0].contains(text) && !row.contains(&hex), "{part}");
        }
    }
);
