//! Server streams.

use serde_json::json;

use crate::world::{Answer, World, headers, message, request};

fn two() -> Answer {
    let inner = |json| message("test.v1.Inner", json);
    Answer::ok(&[inner(r#"{"name":"a\nb"}"#), inner(r#"{"name":"c"}"#)])
}

fn failing() -> Answer {
    Answer {
        trailers: Some(headers(&[("grpc-status", "8"), ("grpc-message", "enough")])),
        ..two()
    }
}

#[tokio::test]
async fn a_stream_is_a_line_a_message() {
    let reply = World::answering(two()).call("GET /v1/watch", "").await;
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(
        reply.text(),
        concat!(
            r#"{"result":{"name":"a\nb","size":0,"labels":[]}}"#,
            "\n",
            r#"{"result":{"name":"c","size":0,"labels":[]}}"#,
            "\n"
        )
    );
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_the_error() {
    let reply = World::answering(failing()).call("GET /v1/watch", "").await;
    assert_eq!(reply.status, 200);
    let last = reply.text().lines().last().unwrap();
    assert_eq!(
        last,
        r#"{"error":{"code":8,"message":"enough","details":[]}}"#
    );
    assert_eq!(reply.text().lines().count(), 3);
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so() {
    let answer = Answer {
        trailers: None,
        ..two()
    };
    let reply = World::answering(answer).call("GET /v1/watch", "").await;
    let last: serde_json::Value =
        serde_json::from_str(reply.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], json!(13));
}

#[tokio::test]
async fn a_stream_that_never_begins_is_an_http_error() {
    let answer = Answer::trailers_only(&[("grpc-status", "7")]);
    let reply = World::answering(answer).call("GET /v1/watch", "").await;
    assert_eq!((reply.status, &reply.json()["code"]), (403, &json!(7)));
}

#[tokio::test]
async fn events_are_sent_to_whoever_accepts_them() {
    let mut request = request("GET /v1/watch", "");
    *request.headers_mut() = headers(&[("accept", "text/event-stream")]);
    let reply = World::answering(failing()).send(request).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let events: Vec<_> = reply.text().split_terminator("\n\n").collect();
    assert_eq!(events.len(), 3);
    assert!(
        events
            .iter()
            .all(|event| event.starts_with("data: {") && !event.contains('\n'))
    );
    assert!(events[2].starts_with("data: {\"error\""));
}

#[tokio::test]
async fn a_stream_of_http_bodies_is_their_bytes_end_to_end() {
    let body = |json| message("google.api.HttpBody", json);
    let parts = [
        body(r#"{"contentType":"text/csv","data":"YSxi"}"#),
        body(r#"{"data":"LGM="}"#),
    ];
    let reply = World::answering(Answer::ok(&parts))
        .call("GET /v1/download-stream", "")
        .await;
    assert_eq!(reply.header("content-type"), Some("text/csv"));
    assert_eq!((reply.text(), reply.broken), ("a,b,c", false));

    let answer = Answer {
        trailers: Some(headers(&[("grpc-status", "14")])),
        ..Answer::ok(&parts)
    };
    let reply = World::answering(answer)
        .call("GET /v1/download-stream", "")
        .await;
    assert!(reply.broken, "half a file must not look whole");
}
