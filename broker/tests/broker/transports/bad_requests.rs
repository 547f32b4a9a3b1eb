//! Requests that no message can be made of: a clear error over HTTP, and the
//! connection goes on.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tonic::Code;

use super::{
    bad_input::{asked, serves},
    call::{Refusal, VIAS, from_json},
    clients::grpc_web,
};
use crate::world::{ADMIN_KEY, World, both};

const MIB: usize = 1 << 20;

/// Method, path, content type, body.
type Input<'a> = (&'a str, &'a str, Option<&'a str>, &'a str);

/// One HTTP/2 connection to the gateway; once it ends, every send fails.
async fn one_connection(world: &World) -> SendRequest<Full<Bytes>> {
    let address = world.gateway_url.trim_start_matches("http://");
    let stream = tokio::net::TcpStream::connect(address).await;
    let io = TokioIo::new(stream.expect("the gateway listens"));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

struct Sent {
    status: u16,
    allow: Option<String>,
    refusal: Refusal,
}

async fn send(
    connection: &mut SendRequest<Full<Bytes>>,
    world: &World,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: impl Into<Bytes>,
) -> Sent {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", world.gateway_url))
        .header(header::AUTHORIZATION, format!("Bearer {ADMIN_KEY}"));
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    let request = request.body(Full::new(body.into())).expect("a request");
    connection.ready().await.expect("the connection lasts");
    let answered = tokio::time::timeout(Duration::from_secs(30), connection.send_request(request));
    let response = answered.await.expect("in time").expect("an answer");
    let status = response.status().as_u16();
    let allow = response.headers().get(header::ALLOW).cloned();
    let body = response.into_body().collect().await.expect("a body");
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    Sent {
        status,
        allow: allow.map(|value| value.to_str().expect("text").to_owned()),
        refusal: match status {
            200 => Refusal {
                code: 0,
                message: String::new(),
                details: vec![],
            },
            _ => from_json(&body),
        },
    }
}

both!(
    rest_says_what_is_wrong_and_the_connection_goes_on,
    |world: World| async move {
        let id = world.connect("ada").await;
        let mut connection = one_connection(&world).await;
        let good = format!("/v1/check-connection/{id}");
        let deep = format!(
            r#"{{"metadata":{}1{}}}"#,
            "[".repeat(5000),
            "]".repeat(5000)
        );
        let deeper = format!(
            r#"{{"name":"x","strategy":{{"type":"header","config":{}1{}}}}}"#,
            r#"{"a":"#.repeat(5000),
            "}".repeat(5000)
        );
        let large = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(MIB));
        let json = Some("application/json");
        let connect = "/v1/request-connection";
        let (post, get) = ("POST", "GET");
        // Method, path, content type, body; status, code, a word of the message.
        let bad: Vec<(Input, (u16, i32, &str))> = vec![
            ((post, connect, json, "{"), (400, 3, "")),
            (
                (post, connect, json, "{\"user_id\":\"ada\"} x"),
                (400, 3, ""),
            ),
            ((post, connect, json, "[]"), (400, 3, "")),
            ((post, connect, json, "null"), (400, 3, "")),
            (
                (post, connect, json, "{\"nothing\": 1}"),
                (400, 3, "nothing"),
            ),
            (
                (post, connect, json, "{\"user_id\": 7}"),
                (400, 3, "user_id"),
            ),
            (
                (post, connect, json, "{\"scopes\": \"openid\"}"),
                (400, 3, "scopes"),
            ),
            (
                (post, connect, json, "{\"metadata\": {\"k\": 1}}"),
                (400, 3, "metadata"),
            ),
            ((post, connect, json, &deep), (400, 3, "")),
            ((post, "/v1/providers", json, &deeper), (400, 3, "")),
            ((post, connect, json, ""), (400, 3, "user_id")),
            (
                (post, connect, Some("text/plain"), "{}"),
                (415, 3, "application/json"),
            ),
            (
                (
                    post,
                    connect,
                    Some("application/x-www-form-urlencoded"),
                    "user_id=ada",
                ),
                (415, 3, "application/json"),
            ),
            (
                (post, "/dromos.v1.ConnectionService/GetToken", json, "{}"),
                (415, 3, "application/grpc"),
            ),
            (
                (
                    post,
                    "/dromos.v1.ConnectionService/GetToken",
                    Some("application/grpc+json"),
                    "{}",
                ),
                (415, 3, "application/grpc"),
            ),
            ((post, connect, json, &large), (413, 8, "large")),
            ((get, "/v1/nothing", None, ""), (404, 5, "path")),
            ((get, "/", None, ""), (404, 5, "path")),
            ((post, "/auth/consent-spec", json, "{}"), (404, 5, "path")),
            (
                (get, "/v1/connections?nothing=1", None, ""),
                (400, 3, "nothing"),
            ),
            (
                (get, "/v1/connections?page_size=many", None, ""),
                (400, 3, "page_size"),
            ),
            (
                (get, "/v1/connections?status=SLEEPY", None, ""),
                (400, 3, "status"),
            ),
            (
                (get, "/v1/check-connection/%ff", None, ""),
                (400, 3, "connection_id"),
            ),
        ];
        for ((method, path, content_type, body), (status, code, word)) in bad {
            let body = Bytes::copy_from_slice(body.as_bytes());
            let sent = send(&mut connection, &world, method, path, content_type, body).await;
            let shown = format!("{method} {path}: {} {:?}", sent.status, sent.refusal);
            assert_eq!((sent.status, sent.refusal.code), (status, code), "{shown}");
            assert!(sent.refusal.message.contains(word), "{shown}");
            let after = send(&mut connection, &world, "GET", &good, None, "").await;
            assert_eq!(after.status, 200, "after {shown}");
        }
        let grpc = Some("application/grpc");
        for (method, path, content_type, allow) in [
            ("DELETE", connect, None, "POST"),
            ("GET", connect, None, "POST"),
            ("POST", good.as_str(), None, "GET, HEAD"),
            ("PUT", "/v1/providers/sim", None, "DELETE, GET, HEAD, PATCH"),
            ("GET", "/dromos.v1.ConnectionService/GetToken", grpc, "POST"),
        ] {
            let sent = send(&mut connection, &world, method, path, content_type, "").await;
            assert_eq!(sent.status, 405, "{method} {path}");
            let mut allowed: Vec<&str> =
                sent.allow.as_deref().expect("Allow").split(", ").collect();
            allowed.sort_unstable();
            assert_eq!(allowed.join(", "), allow, "{method} {path}");
        }
        serves(&world, &id).await;
        let (_, all) = world.get("/v1/connections").await;
        assert_eq!(all["connections"].as_array().map(Vec::len), Some(1));
    }
);

both!(
    grpc_says_what_is_wrong_and_goes_on,
    |world: World| async move {
        let id = world.connect("ada").await;
        // Field 1 of 200 bytes, of which there is one.
        let truncated = [0x0a, 200, 1, b'x'];
        let not_utf_8 = [0x0a, 1, 0xff];
        let large = asked("user_id", "x".repeat(MIB).into());
        for via in VIAS {
            let refusal = via
                .call(&world, &large)
                .await
                .result
                .expect_err("too large");
            assert_eq!(refusal.code, 8, "{via:?}: {refusal:?}");
        }
        for message in [&truncated[..], &not_utf_8[..]] {
            let mut headers = http::HeaderMap::new();
            let key = format!("Bearer {ADMIN_KEY}");
            headers.insert("authorization", key.parse().expect("a header"));
            let rpc = "dromos.v1.ConnectionService/GetToken";
            let (answer, _) = grpc_web(
                &world.http,
                rpc,
                &world.gateway_url,
                headers.clone(),
                message,
            )
            .await;
            let status = answer.expect_err("no message");
            assert_eq!(status.code(), Code::Internal, "{status:?}");

            let unknown = "dromos.v1.ConnectionService/StealToken";
            let (answer, _) =
                grpc_web(&world.http, unknown, &world.gateway_url, headers, message).await;
            assert_eq!(answer.expect_err("no method").code(), Code::Unimplemented);
        }
        serves(&world, &id).await;
    }
);
