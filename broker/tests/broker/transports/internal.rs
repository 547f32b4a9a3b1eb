//! The internal listener's own REST: for a gateway with a service key, and a
//! caller with a key of their own beside it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{ADMIN_KEY, RETURN_URL, SERVICE_KEY, World, both, reason};

async fn call(
    world: &World,
    keys: [Option<&str>; 2],
    method: Method,
    path: &str,
    body: Value,
) -> (StatusCode, Value) {
    let url = format!("{}{path}", world.broker_url);
    let mut request = world.http.request(method, url);
    if let Some(service_key) = keys[0] {
        request = request.bearer_auth(service_key);
    }
    if let Some(key) = keys[1] {
        request = request.header("x-dromos-key", key);
    }
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.expect("the broker answers");
    let status = response.status();
    (status, response.json().await.expect("JSON"))
}

fn consent() -> Value {
    json!({ "user_id": "ada", "provider_name": "sim", "return_url": RETURN_URL })
}

both!(
    the_internal_api_takes_a_connection_from_consent_to_refresh,
    |world: World| async move {
        let keys = [Some(SERVICE_KEY), Some(ADMIN_KEY)];
        let (status, begun) =
            call(&world, keys, Method::POST, "/auth/consent-spec", consent()).await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        assert_eq!(begun["scopes"], json!(["openid", "offline_access"]));
        world.consent(&begun).await;
        let id = begun["connection_id"].as_str().expect("an id");

        let path = format!("/connections/{id}/token");
        let (status, first) = call(&world, keys, Method::GET, &path, Value::Null).await;
        assert_eq!((status, &first["generation"]), (StatusCode::OK, &1.into()));
        assert_eq!(world.token(id).await.1, first, "as through the gateway");

        let path = format!("/connections/{id}/refresh");
        let (status, second) = call(&world, keys, Method::POST, &path, json!({})).await;
        assert_eq!((status, &second["generation"]), (StatusCode::OK, &2.into()));
        assert_ne!(
            first["credentials"]["access_token"],
            second["credentials"]["access_token"]
        );
    }
);

both!(
    the_internal_api_refuses_who_lacks_one_of_the_two_keys,
    |world: World| async move {
        let id = world.connect("ada").await;
        let calls = [
            (Method::POST, "/auth/consent-spec".to_owned(), consent()),
            (Method::GET, format!("/connections/{id}/token"), Value::Null),
            (
                Method::POST,
                format!("/connections/{id}/refresh"),
                json!({}),
            ),
        ];
        let nobody = Some("nobody's-key-0123456789abcdef");
        for (method, path, body) in calls {
            for keys in [
                [None, None],
                [Some(SERVICE_KEY), None],
                [None, Some(ADMIN_KEY)],
                [nobody, Some(ADMIN_KEY)],
                [Some(SERVICE_KEY), nobody],
                // Each is good, but not for the other's place.
                [Some(ADMIN_KEY), Some(SERVICE_KEY)],
                [Some(ADMIN_KEY), Some(ADMIN_KEY)],
                [Some(SERVICE_KEY), Some(SERVICE_KEY)],
            ] {
                let (status, error) = call(&world, keys, method.clone(), &path, body.clone()).await;
                assert_eq!(
                    (status, reason(&error)),
                    (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
                    "{path} with {keys:?}"
                );
                assert!(error.get("credentials").is_none());
            }
        }
        let (_, all) = world.get("/v1/connections").await;
        assert_eq!(all["connections"].as_array().map(Vec::len), Some(1));
        assert_eq!(world.token(&id).await.1["generation"], 1);
    }
);

both!(
    the_internal_api_checks_the_callers_scope_too,
    |world: World| async move {
        let id = world.connect("ada").await;
        let reader = world.api_key(&["connections:read"]).await;
        let path = format!("/connections/{id}/token");
        let keys = [Some(SERVICE_KEY), Some(reader.as_str())];
        let (status, error) = call(&world, keys, Method::GET, &path, Value::Null).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::FORBIDDEN, "SCOPE_MISSING")
        );
    }
);
