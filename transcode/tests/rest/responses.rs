//! How answers become HTTP.

use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;
use serde_json::json;

use crate::world::{Answer, World, echo, frame, headers, message};

const EVERYTHING: &str = "test.v1.Everything";

/// The exact text of the only field that `json` sets.
async fn written(json: &str) -> String {
    let world = World::answering(Answer::ok(&[message(EVERYTHING, json)]));
    let reply = world.call("GET /v1/echo", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let empty = World::echo().call("GET /v1/echo", "").await;
    // What an empty message has as well is not of interest here.
    let defaults = empty.json();
    let mut object = reply.json();
    let object = object.as_object_mut().unwrap();
    object.retain(|name, value| defaults.get(name) != Some(value));
    let name = object.keys().next().cloned().unwrap_or_default();
    let text = reply.text();
    let start = text.find(&format!("\"{name}\":")).unwrap() + name.len() + 3;
    let rest = &text[start..];
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>();
    values.next().unwrap().unwrap();
    rest[..values.byte_offset()].to_owned()
}

#[tokio::test]
async fn fields_without_presence_are_always_written_and_others_only_when_set() {
    let reply = World::echo().call("GET /v1/echo", "").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(
        reply.text(),
        concat!(
            r#"{"double_value":0,"float_value":0,"int32_value":0,"int64_value":"0","#,
            r#""uint32_value":0,"uint64_value":"0","sint32_value":0,"sint64_value":"0","#,
            r#""fixed32_value":0,"fixed64_value":"0","sfixed32_value":0,"sfixed64_value":"0","#,
            r#""bool_value":false,"string_value":"","bytes_value":"","color":"COLOR_UNSPECIFIED","#,
            r#""tags":[],"int64_list":[],"double_list":[],"colors":[],"inners":[],"bytes_list":[],"#,
            r#""strings":{},"inners_by_number":{},"doubles_by_bool":{},"colors_by_number":{},"#,
            r#""values":{},"timestamps":[],"spelled_otherwise":""}"#
        )
    );
}

#[tokio::test]
async fn values_are_written_as_proto3_json_has_them() {
    for (sent, text) in [
        (r#"{"doubleValue":1}"#, "1"),
        (r#"{"doubleValue":0.1}"#, "0.1"),
        (r#"{"doubleValue":1e300}"#, "1e+300"),
        (r#"{"floatValue":0.1}"#, "0.1"),
        (r#"{"doubleValue":"NaN"}"#, r#""NaN""#),
        (r#"{"floatValue":"-Infinity"}"#, r#""-Infinity""#),
        (
            r#"{"int64Value":"-9223372036854775808"}"#,
            r#""-9223372036854775808""#,
        ),
        (r#"{"bytesValue":"-_8"}"#, r#""+/8=""#),
        (r#"{"color":77}"#, "77"),
        (r#"{"color":"COLOR_BLUE"}"#, r#""COLOR_BLUE""#),
        (r#"{"stringValue":"\n\u0001\"é"}"#, "\"\\n\\u0001\\\"é\""),
        (r#"{"optionalInt32":0}"#, "0"),
        (
            r#"{"inner":{"note":""}}"#,
            r#"{"name":"","size":0,"note":"","labels":[]}"#,
        ),
        (r#"{"strings":{"b":"2","a":"1"}}"#, r#"{"a":"1","b":"2"}"#),
        (r#"{"doublesByBool":{"true":1.5}}"#, r#"{"true":1.5}"#),
        (r#"{"choiceNull":null}"#, "null"),
        (r#"{"choiceNumber":0}"#, "0"),
        (
            r#"{"timestamp":"2026-01-02T03:04:05.120Z"}"#,
            r#""2026-01-02T03:04:05.120Z""#,
        ),
        (r#"{"duration":"-1.5s"}"#, r#""-1.500s""#),
        (
            r#"{"mask":"displayName,inner.size"}"#,
            r#""displayName,inner.size""#,
        ),
        (
            r#"{"struct":{"whole":2,"part":2.5,"none":null,"list":[1,"a",true,{}]}}"#,
            r#"{"list":[1,"a",true,{}],"none":null,"part":2.5,"whole":2}"#,
        ),
        (r#"{"value":[1]}"#, "[1]"),
        (r#"{"listValue":[1,[2]]}"#, "[1,[2]]"),
        (r#"{"empty":{}}"#, "{}"),
        (r#"{"int64Wrapper":"5"}"#, r#""5""#),
        (r#"{"doubleWrapper":"Infinity"}"#, r#""Infinity""#),
        (r#"{"boolWrapper":false}"#, "false"),
        (
            r#"{"any":{"@type":"t/test.v1.Inner","name":"n"}}"#,
            r#"{"@type":"t/test.v1.Inner","name":"n","size":0,"labels":[]}"#,
        ),
        (
            r#"{"any":{"@type":"t/google.protobuf.Duration","value":"3s"}}"#,
            r#"{"@type":"t/google.protobuf.Duration","value":"3s"}"#,
        ),
    ] {
        assert_eq!(written(sent).await, text, "{sent}");
    }
}

#[tokio::test]
async fn names_can_be_lower_camel_case() {
    let world = World::with(|builder| builder.lower_camel_case(true), echo);
    let json = world.call("GET /v1/echo?elsewise=x", "").await.json();
    assert_eq!(json["elsewise"], "x");
    assert_eq!(json["int64List"], json!([]));
    let error = world.call("GET /v1/echo?nope=1", "").await.json();
    assert_eq!(error["details"][0]["fieldViolations"][0]["field"], "nope");
}

#[tokio::test]
async fn a_response_body_is_one_field_of_the_message() {
    let world = World::echo();
    let tags = world.call("POST /v1/tags", r#"["a","b"]"#).await;
    assert_eq!(tags.text(), r#"["a","b"]"#);
    let unset = world.call("POST /v1/number", "1").await;
    assert_eq!(unset.text(), "null");
}

#[tokio::test]
async fn an_http_body_answers_with_its_own_type_and_bytes() {
    for (json, content_type, data) in [
        (
            r#"{"contentType":"text/csv","data":"YSxi"}"#,
            "text/csv",
            "a,b",
        ),
        ("{}", "application/octet-stream", ""),
    ] {
        let answer = Answer::ok(&[message("google.api.HttpBody", json)]);
        let reply = World::answering(answer).call("GET /v1/download", "").await;
        assert_eq!(reply.header("content-type"), Some(content_type));
        assert_eq!((reply.status, reply.text()), (200, data));
    }
    let bad = message("google.api.HttpBody", r#"{"contentType":"a\nb"}"#);
    let reply = World::answering(Answer::ok(&[bad]))
        .call("GET /v1/download", "")
        .await;
    assert_eq!(reply.status, 500);
}

#[tokio::test]
async fn split_frames_are_put_together() {
    let whole = frame(&message(EVERYTHING, r#"{"stringValue":"abc"}"#).encode_to_vec());
    for size in 1..whole.len() {
        let answer = Answer {
            chunks: whole.chunks(size).map(Bytes::copy_from_slice).collect(),
            ..Answer::ok(&[])
        };
        let reply = World::answering(answer).call("GET /v1/echo", "").await;
        assert_eq!(reply.json()["string_value"], "abc", "in pieces of {size}");
    }
}

#[tokio::test]
async fn only_listed_metadata_becomes_headers_with_failures_as_well() {
    let settings = |builder: transcode::Builder| {
        builder.response_headers(["cache-control", "x-cost", "www-authenticate"])
    };
    let initial: HeaderMap = headers(&[("cache-control", "no-store"), ("x-inner", "secret")]);
    let ok = Answer {
        headers: initial.clone(),
        trailers: Some(headers(&[
            ("grpc-status", "0"),
            ("x-cost", "3"),
            ("x-other", "secret"),
        ])),
        ..Answer::ok(&[message(EVERYTHING, "{}")])
    };
    let mut failed = Answer::trailers_only(&[
        ("grpc-status", "16"),
        ("x-cost", "4"),
        ("www-authenticate", "DPoP"),
    ]);
    failed.headers.extend(initial);
    for (answer, cost, challenge) in [(ok, "3", None), (failed, "4", Some("DPoP"))] {
        let world = World::with(settings, move |_| answer.clone());
        let reply = world.call("GET /v1/echo", "").await;
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("x-cost"), Some(cost));
        assert_eq!(reply.header("www-authenticate"), challenge);
        assert_eq!(reply.header("x-inner"), None);
        assert_eq!(reply.header("x-other"), None);
        assert_eq!(reply.header("grpc-status"), None);
    }
}
