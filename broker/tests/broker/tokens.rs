//! Fetching a credential: what leaves, what never does, and what must have
//! happened before.

use dromos_broker::domain::{
    id::{ConnectionId, WorkspaceId},
    sealed::Place,
};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    database::Database,
    world::{ADMIN_KEY, SERVICE_KEY, World, both, eventually, reason},
};

/// What only the broker itself can: the refresh token of a connection.
pub async fn refresh_token(world: &World, id: &str) -> String {
    let id: ConnectionId = id.parse().expect("an id");
    let held = world.core.store.credential(WorkspaceId::DEFAULT, id).await;
    let held = held.expect("the store answers").expect("a credential");
    let place = Place {
        workspace_id: WorkspaceId::DEFAULT,
        table: "credentials",
        row: id.0,
        field: "refresh",
        generation: held.generation,
    };
    let sealed = held.content.refresh.expect("a refresh token");
    let opened = world.core.vault.open(&place, &sealed).await;
    let opened = opened.expect("it opens in its place");
    String::from_utf8(opened.expose_secret().to_vec()).expect("text")
}

both!(
    refresh_tokens_and_client_secrets_never_leave_the_broker,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let mut secrets = vec![refresh_token(&world, &id).await];
        let mut answers = vec![
            world.token(&id).await.1,
            world.refresh(&id, json!({})).await.1,
        ];
        secrets.push(refresh_token(&world, &id).await);
        assert_ne!(secrets[0], secrets[1]);
        secrets.push(world.simulator.client_secret().to_owned());
        for path in [
            format!("/v1/check-connection/{id}"),
            format!("/v1/connections/{id}"),
            "/v1/connections".to_owned(),
            "/v1/providers".to_owned(),
            "/v1/providers/sim".to_owned(),
            "/v1/audit?page_size=1000".to_owned(),
        ] {
            let (status, answer) = world.get(&path).await;
            assert_eq!(status, StatusCode::OK, "{path}: {answer}");
            answers.push(answer);
        }
        for path in ["status", "token", ""] {
            let url = format!("{}/connections/{id}/{path}", world.broker_url);
            let request = world
                .http
                .get(url.trim_end_matches('/'))
                .bearer_auth(SERVICE_KEY)
                .header("x-dromos-key", ADMIN_KEY);
            let answer = request.send().await.expect("the broker answers");
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            answers.push(answer.text().await.expect("a body").into());
        }
        for answer in answers {
            let answer = answer.to_string();
            for secret in &secrets {
                assert!(!answer.contains(secret), "{answer}");
            }
        }
    }
);

both!(
    hardening_39_answers_with_a_credential_are_not_kept_by_caches,
    |world: World| async move {
        let id = world.connect("user-1").await;
        for (method, path) in [
            (Method::GET, format!("/v1/token/{id}")),
            (Method::POST, format!("/v1/refresh/{id}")),
        ] {
            let url = format!("{}{path}", world.gateway_url);
            let request = world.http.request(method, url).bearer_auth(ADMIN_KEY);
            let answer = request.send().await.expect("the gateway answers");
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
        }
    }
);

both!(
    hardening_13_a_token_error_is_an_error_on_every_transport,
    |world: World| async move {
        use dromos_proto::v1::{
            GetTokenRequest, connection_service_client::ConnectionServiceClient,
        };
        use prost::Message as _;

        let pending = world.request_connection("user-1").await;
        let pending = pending["connection_id"].as_str().expect("an id").to_owned();
        let revoked = world.connect("user-2").await;
        let path = format!("/v1/connections/{revoked}:revoke");
        world.post(&path, json!({})).await;
        let unknown = "01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
        let cases = [
            (pending, 400, 9, "CONNECTION_PENDING"),
            (revoked, 403, 7, "CONNECTION_REVOKED"),
            (unknown, 404, 5, "CONNECTION_NOT_FOUND"),
        ];
        for (id, http_status, code, expected) in cases {
            // REST at the gateway and inside.
            let inside = format!("{}/connections/{id}/token", world.broker_url);
            let outside = format!("{}/v1/token/{id}", world.gateway_url);
            for (url, key) in [(outside, ADMIN_KEY), (inside, SERVICE_KEY)] {
                let request = world.http.get(&url).bearer_auth(key);
                let request = request.header("x-dromos-key", ADMIN_KEY);
                let answer = request.send().await.expect("an answer");
                assert_eq!(answer.status().as_u16(), http_status, "{url}");
                let error: Value = answer.json().await.expect("JSON");
                assert_eq!(
                    (reason(&error), &error["code"]),
                    (expected, &json!(code)),
                    "{url}"
                );
                assert!(error.get("credentials").is_none(), "{error}");
            }
            // gRPC.
            let request = GetTokenRequest { connection_id: id };
            let channel = tonic::transport::Channel::from_shared(world.gateway_url.clone())
                .expect("a URL")
                .connect_lazy();
            let mut call = tonic::Request::new(request.clone());
            let bearer = format!("Bearer {ADMIN_KEY}").parse().expect("a header");
            call.metadata_mut().insert("authorization", bearer);
            let status = ConnectionServiceClient::new(channel).get_token(call).await;
            let status = status.expect_err("an error");
            assert_eq!(
                (status.code() as i32, crate::grpc::reason(&status)),
                (code, expected.into())
            );
            // gRPC-Web: the status is in the headers or in the trailer frame.
            let message = request.encode_to_vec();
            let mut frame = vec![0];
            frame.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
            frame.extend(message);
            let url = format!("{}/dromos.v1.ConnectionService/GetToken", world.gateway_url);
            let answer = world
                .http
                .post(url)
                .bearer_auth(ADMIN_KEY)
                .header("content-type", "application/grpc-web+proto")
                .header("x-grpc-web", "1")
                .body(frame)
                .send()
                .await
                .expect("an answer");
            let in_headers = answer.headers().get("grpc-status").cloned();
            let body = answer.bytes().await.expect("a body");
            match in_headers {
                Some(status) => assert_eq!(status, code.to_string().as_str()),
                None => {
                    assert_eq!(body.first(), Some(&0x80), "no message, only trailers");
                    let trailers = String::from_utf8_lossy(&body).into_owned();
                    let line = format!("grpc-status:{code}");
                    assert!(trailers.replace(": ", ":").contains(&line), "{trailers}");
                }
            }
        }
    }
);

both!(
    no_credential_leaves_before_its_audit_row_is_durable,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let (_, token) = world.token(&id).await;
        let access_token = token["credentials"]["access_token"]
            .as_str()
            .expect("a token");
        let mut database = Database::of(&world).await;
        database
            .execute("alter table audit_events rename to audit_events_elsewhere")
            .await;
        let (status, error) = world.token(&id).await;
        assert!(status.is_server_error(), "{status} {error}");
        assert!(
            ["STORE_UNAVAILABLE", "INTERNAL"].contains(&reason(&error)),
            "{error}"
        );
        assert!(error.get("credentials").is_none(), "{error}");
        assert!(!error.to_string().contains(access_token), "{error}");
        assert!(!error.to_string().contains("audit_events"), "{error}");
        // A refresh keeps its new tokens until they can be stored with their
        // row; its caller's patience ends before.
        let url = format!("{}/v1/refresh/{id}", world.gateway_url);
        let request = world.http.post(url).bearer_auth(ADMIN_KEY).json(&json!({}));
        let answer = request.header("x-request-timeout", "1").send().await;
        let answer = answer.expect("the gateway answers");
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        let answer = answer.text().await.expect("a body");
        assert!(!answer.contains("access_"), "{answer}");

        database
            .execute("alter table audit_events_elsewhere rename to audit_events")
            .await;
        eventually("the new tokens are stored", async || {
            world.token(&id).await.1["generation"] == 2
        })
        .await;
        assert_eq!(world.simulator.counts().refresh_reuses, 0);
        assert_eq!(world.audit("credential.refreshed").await.len(), 1);
    }
);

both!(
    every_read_is_audited_with_its_reader,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let key = world.api_key(&["credentials:read"]).await;
        let path = format!("/v1/token/{id}");
        assert_eq!(
            world.call_as(&key, Method::GET, &path, Value::Null).await.0,
            StatusCode::OK
        );
        let reads = world.audit("credential.read").await;
        assert_eq!(reads.len(), 1);
        assert_eq!(reads[0]["connection_id"], id.as_str());
        assert_eq!(reads[0]["user_id"], "user-1");
        assert_eq!(reads[0]["provider_name"], "sim");
        assert_eq!(reads[0]["outcome"], "success");
        assert!(
            reads[0]["api_key_id"]
                .as_str()
                .is_some_and(|id| !id.is_empty())
        );
    }
);
