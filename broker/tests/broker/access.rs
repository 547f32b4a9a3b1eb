//! Who gets in: service keys, callers' keys and scopes, on every transport.

use dromos_proto::{
    ACCESS,
    v1::{
        GetTokenRequest, RefreshConnectionRequest,
        connection_service_client::ConnectionServiceClient,
    },
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tonic::{Code, Request, transport::Channel};

use crate::{
    grpc::{call_empty, methods},
    world::{ADMIN_KEY, SERVICE_KEY, World, both, reason},
};

/// Every scope that there is.
const SCOPES: [&str; 9] = [
    "connections:read",
    "connections:write",
    "credentials:read",
    "credentials:refresh",
    "providers:read",
    "providers:write",
    "audit:read",
    "admin",
    "operator",
];
const UNKNOWN_KEY: &str = "dromos_a-key-that-was-never-given-out-0123456789";
const UNAUTHENTICATED: (Code, &str) = (Code::Unauthenticated, "UNAUTHENTICATED");

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn channel(url: &str) -> Channel {
    Channel::from_shared(url.to_owned())
        .expect("a URL")
        .connect_lazy()
}

/// A gRPC-Web call of a connection's method: its headers, and the code.
async fn grpc_web(
    world: &World,
    method: &str,
    key: Option<&str>,
    id: &str,
) -> (http::HeaderMap, i32) {
    use prost::Message;
    let message = GetTokenRequest {
        connection_id: id.to_owned(),
    }
    .encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
    body.extend(message);
    let mut call = world
        .http
        .post(format!(
            "{}/dromos.v1.ConnectionService/{method}",
            world.gateway_url
        ))
        .header("content-type", "application/grpc-web+proto")
        .body(body);
    if let Some(key) = key {
        call = call.bearer_auth(key);
    }
    let answer = call.send().await.expect("the gateway answers");
    let headers = answer.headers().clone();
    let bytes = answer.bytes().await.expect("a body");
    let in_headers = headers.get("grpc-status").map(|code| code.as_bytes());
    let text = String::from_utf8_lossy(&bytes);
    let in_trailers = text
        .lines()
        .find_map(|line| Some(line.split_once("grpc-status:")?.1.trim().to_owned()));
    let code = in_headers
        .map(|code| String::from_utf8_lossy(code).into_owned())
        .or(in_trailers)
        .expect("a grpc-status");
    (headers, code.parse().expect("a number"))
}

both!(
    hardening_01_a_connection_id_alone_yields_no_token_anywhere,
    |world: World| async move {
        let id = world.connect("user-1").await;
        for key in [None, Some(UNKNOWN_KEY)] {
            let mut rest = world
                .http
                .get(format!("{}/v1/token/{id}", world.gateway_url));
            if let Some(key) = key {
                rest = rest.bearer_auth(key);
            }
            let rest = rest.send().await.expect("an answer");
            assert_eq!(rest.status(), StatusCode::UNAUTHORIZED, "{key:?}");
            let body: Value = rest.json().await.expect("JSON");
            assert_eq!(reason(&body), "UNAUTHENTICATED");

            let (_, code) = grpc_web(&world, "GetToken", key, &id).await;
            assert_eq!(code, Code::Unauthenticated as i32, "{key:?}");

            let mut request = Request::new(GetTokenRequest {
                connection_id: id.clone(),
            });
            if let Some(key) = key {
                let value = bearer(key).parse().expect("a header");
                request.metadata_mut().insert("authorization", value);
            }
            let refused = ConnectionServiceClient::new(channel(&world.gateway_url))
                .get_token(request)
                .await
                .expect_err("no token");
            assert_eq!(refused.code(), Code::Unauthenticated, "{key:?}");
        }
        // The broker itself wants both keys; the public listener has no such page.
        let at_broker = format!("{}/connections/{id}/token", world.broker_url);
        for (service, caller) in [
            (None, None),
            (Some(SERVICE_KEY), None),
            (None, Some(ADMIN_KEY)),
            (Some(ADMIN_KEY), Some(ADMIN_KEY)),
            (Some(SERVICE_KEY), Some(SERVICE_KEY)),
            (Some(UNKNOWN_KEY), Some(ADMIN_KEY)),
        ] {
            let mut call = world.http.get(&at_broker);
            if let Some(key) = service {
                call = call.bearer_auth(key);
            }
            if let Some(key) = caller {
                call = call.header("x-dromos-key", key);
            }
            let answer = call.send().await.expect("an answer");
            assert_eq!(
                answer.status(),
                StatusCode::UNAUTHORIZED,
                "{service:?} {caller:?}"
            );
        }
        for path in [
            format!("/connections/{id}/token"),
            format!("/v1/token/{id}"),
            "/metrics".to_owned(),
        ] {
            let answer = world
                .http
                .get(format!("{}{path}", world.public_url))
                .bearer_auth(SERVICE_KEY)
                .header("x-dromos-key", ADMIN_KEY)
                .send()
                .await
                .expect("an answer");
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let allowed = world
            .http
            .get(&at_broker)
            .bearer_auth(SERVICE_KEY)
            .header("x-dromos-key", ADMIN_KEY)
            .send()
            .await
            .expect("an answer");
        assert_eq!(allowed.status(), StatusCode::OK);
    }
);

both!(
    every_method_of_the_broker_fails_closed,
    |world: World| async move {
        let mut keys = vec![];
        for scope in SCOPES {
            keys.push((scope, world.api_key(&[scope]).await));
        }
        let service = bearer(SERVICE_KEY);
        let methods = methods(|service| service != "dromos.v1.ConnectionService");
        assert!(methods.len() > 20, "{methods:?}");
        for path in &methods {
            let needed = ACCESS.get(path).expect("an access rule").as_str();
            let call = async |headers: &[(&str, &str)]| {
                let (code, reason) = call_empty(&world.broker_url, path, headers).await;
                assert_ne!(code, Code::Unimplemented, "{path} is not served");
                (code, reason)
            };
            let refused = |answer: (Code, String), of: &str| {
                assert_eq!(
                    (answer.0, answer.1.as_str()),
                    UNAUTHENTICATED,
                    "{path}: {of}"
                );
            };
            let (authorization, caller) = ("authorization", "x-dromos-key");
            refused(call(&[]).await, "no key");
            refused(call(&[(caller, ADMIN_KEY)]).await, "no service key");
            let wrong = bearer(ADMIN_KEY);
            let answer = call(&[(authorization, &wrong), (caller, ADMIN_KEY)]).await;
            refused(answer, "a wrong service key");
            refused(call(&[(authorization, &service)]).await, "no caller's key");
            let answer = call(&[(authorization, &service), (caller, UNKNOWN_KEY)]).await;
            refused(answer, "an unknown caller's key");
            for (scope, key) in &keys {
                let answer = call(&[(authorization, &service), (caller, key)]).await;
                let lets_in = *scope == needed || (*scope == "admin" && needed != "operator");
                let is_refused = answer == (Code::PermissionDenied, "SCOPE_MISSING".to_owned());
                assert_eq!(is_refused, !lets_in, "{path} with {scope}: {answer:?}");
                assert_ne!(answer.0, Code::Unauthenticated, "{path} with {scope}");
                assert_ne!(answer.0, Code::Internal, "{path} with {scope}");
            }
        }
    }
);

both!(
    every_method_of_the_gateway_fails_closed,
    |world: World| async move {
        let other = world.api_key(&["audit:read"]).await;
        let connections = world.api_key(&["connections:read"]).await;
        for path in methods(|service| service.starts_with("dromos.v1.")) {
            let key = if ACCESS[&path] == "audit:read" {
                &connections
            } else {
                &other
            };
            for (given, expected) in [
                (None, UNAUTHENTICATED),
                (Some(UNKNOWN_KEY), UNAUTHENTICATED),
                (
                    Some(key.as_str()),
                    (Code::PermissionDenied, "SCOPE_MISSING"),
                ),
            ] {
                let authorization = given.map(bearer);
                let headers: Vec<(&str, &str)> = authorization
                    .iter()
                    .map(|value| ("authorization", value.as_str()))
                    .collect();
                let (code, reason) = call_empty(&world.gateway_url, &path, &headers).await;
                assert_eq!((code, reason.as_str()), expected, "{path} {given:?}");
            }
        }
    }
);

both!(
    a_method_without_an_access_rule_is_refused,
    |world: World| async move {
        let (world, service) = (&world, bearer(SERVICE_KEY));
        let keys = [
            ("authorization", service.as_str()),
            ("x-dromos-key", ADMIN_KEY),
        ];
        for path in [
            "/dromos.v1.ProviderService/Nothing",
            "/dromos.broker.v1.ConnectionService/gettoken",
            "/dromos.v1.ConnectionService/GetToken",
            "/nothing.Service/Method",
        ] {
            let (code, _) = call_empty(&world.broker_url, path, &keys).await;
            assert_eq!(code, Code::Unimplemented, "{path}");
        }
    }
);

both!(
    hardening_39_no_cache_may_keep_a_credential_on_any_transport,
    |world: World| async move {
        let id = world.connect("user-1").await;
        for (method, path) in [
            (Method::GET, format!("/v1/token/{id}")),
            (Method::POST, format!("/v1/refresh/{id}")),
        ] {
            let mut call = world
                .http
                .request(method.clone(), format!("{}{path}", world.gateway_url))
                .bearer_auth(ADMIN_KEY);
            if method == Method::POST {
                call = call.json(&json!({}));
            }
            let answer = call.send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
        }
        for method in ["GetToken", "RefreshConnection"] {
            let (headers, code) = grpc_web(&world, method, Some(ADMIN_KEY), &id).await;
            assert_eq!(code, 0, "{method}");
            assert_eq!(headers["cache-control"], "no-store", "{method}");
        }
        let mut client = ConnectionServiceClient::new(channel(&world.gateway_url));
        let authorization = bearer(ADMIN_KEY).parse().expect("a header");
        let mut request = Request::new(GetTokenRequest {
            connection_id: id.clone(),
        });
        request
            .metadata_mut()
            .insert("authorization", authorization);
        let metadata = request.metadata().clone();
        let answer = client.get_token(request).await.expect("a token");
        assert_eq!(
            answer.metadata().get("cache-control").expect("one"),
            "no-store"
        );
        let mut request = Request::new(RefreshConnectionRequest {
            connection_id: id.clone(),
            generation: None,
        });
        *request.metadata_mut() = metadata;
        let answer = client.refresh_connection(request).await.expect("a token");
        assert_eq!(
            answer.metadata().get("cache-control").expect("one"),
            "no-store"
        );
    }
);
