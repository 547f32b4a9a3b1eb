//! How requests become messages, and which are refused.

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::world::{World, echo, headers, request};

const EVERYTHING: &str = "test.v1.Everything";

#[tokio::test]
async fn each_part_of_a_request_reaches_its_field() {
    let world = World::echo();
    for (line, body, expected) in [
        ("GET /v1/echo", "", json!({})),
        ("POST /v1/echo", "", json!({})),
        (
            "POST /v1/echo",
            r#"{"int32_value":7,"stringValue":"x"}"#,
            json!({"int32_value": 7, "string_value": "x"}),
        ),
        (
            "GET /v1/echo/a%2Fb%20c",
            "",
            json!({"string_value": "a/b c"}),
        ),
        ("GET /v1/echo/urn:x", "", json!({"string_value": "urn:x"})),
        (
            "GET /v1/colors/COLOR_RED/-9/true",
            "",
            json!({"color": "COLOR_RED", "int64_value": "-9", "bool_value": true}),
        ),
        (
            "GET /v1/colors/5/0/false",
            "",
            json!({"color": "COLOR_BLUE"}),
        ),
        (
            "SEARCH /v1/echo?bool_value=true",
            r#"{"name":"n"}"#,
            json!({"bool_value": true, "inner": {"name": "n"}}),
        ),
        ("SEARCH /v1/echo", "", json!({})),
        (
            "PUT /v1/echo/shelves/1/books/2%2F3?color=1",
            r#"{"size":3,"name":"other"}"#,
            json!({"color": "COLOR_RED", "inner": {"name": "shelves/1/books/2%2F3", "size": 3}}),
        ),
        (
            "POST /v1/echo/old:rename",
            r#"{"int32_value":1}"#,
            json!({"string_value": "old", "int32_value": 1}),
        ),
        ("POST /v1/tags", r#"["a","b"]"#, json!({"tags": ["a", "b"]})),
        ("POST /v1/number", r#""12""#, json!({"int64_value": "12"})),
        ("POST /v1/number", "null", json!({})),
        (
            "GET /v1/files/a/b%2Fc",
            "",
            json!({"string_value": "a/b%2Fc"}),
        ),
        ("GET /v1/files", "", json!({})),
        (
            "DELETE /v1/files/a/b:purge",
            "",
            json!({"string_value": "a/b"}),
        ),
        ("PROPFIND /v1/any-method", "", json!({})),
    ] {
        let reply = world.call(line, body).await;
        assert_eq!(reply.status, 200, "{line}: {}", reply.text());
        assert_eq!(world.received(EVERYTHING), expected, "{line}");
    }
}

#[tokio::test]
async fn query_parameters_reach_nested_and_repeated_fields() {
    let world = World::echo();
    for (query, expected) in [
        ("string_value=a+b%2B", json!({"string_value": "a b+"})),
        ("stringValue=x&&", json!({"string_value": "x"})),
        ("elsewise=x", json!({"elsewise": "x"})),
        ("tags=a&tags=b", json!({"tags": ["a", "b"]})),
        (
            "inner.name=n&inner.labels=1&inner.labels=2",
            json!({"inner": {"name": "n", "labels": ["1", "2"]}}),
        ),
        (
            "child.child.int32Value=4",
            json!({"child": {"child": {"int32_value": 4}}}),
        ),
        (
            "colors=COLOR_RED&colors=5",
            json!({"colors": ["COLOR_RED", "COLOR_BLUE"]}),
        ),
        ("optional_int32=0", json!({"optional_int32": 0})),
        (
            "double_value=-1.5e3&float_value=Infinity",
            json!({"double_value": -1500.0, "float_value": "Infinity"}),
        ),
        ("bytes_value=-_8", json!({"bytes_value": "+/8="})),
        (
            "timestamp=2026-01-02T03:04:05Z",
            json!({"timestamp": "2026-01-02T03:04:05Z"}),
        ),
        (
            "timestamps=2026-01-02T03:04:05Z&timestamps=1970-01-01T00:00:00Z",
            json!({"timestamps": ["2026-01-02T03:04:05Z", "1970-01-01T00:00:00Z"]}),
        ),
        ("duration=1.5s", json!({"duration": "1.500s"})),
        (
            "mask=displayName,inner.size",
            json!({"mask": "displayName,inner.size"}),
        ),
        ("mask=display_name", json!({"mask": "displayName"})),
        (
            "bool_wrapper=false&int64_wrapper=7&string_wrapper=",
            json!({"bool_wrapper": false, "int64_wrapper": "7", "string_wrapper": ""}),
        ),
        ("choice_number=1", json!({"choice_number": 1})),
    ] {
        let reply = world.call(&format!("GET /v1/echo?{query}"), "").await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let mut received = world.received(EVERYTHING);
        if let Some(value) = received.get_mut("spelled_otherwise").map(Value::take) {
            received = json!({"elsewise": value});
        }
        assert_eq!(received, expected, "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_by_field_and_without_its_value() {
    let world = World::echo();
    for (line, body, field, words) in [
        (
            "GET /v1/echo?nope=hunter2",
            "",
            "nope",
            "unknown query parameter \"nope\"",
        ),
        (
            "GET /v1/echo?inner.nope=hunter2",
            "",
            "inner.nope",
            "unknown query parameter",
        ),
        (
            "GET /v1/echo?string_value.x=hunter2",
            "",
            "string_value.x",
            "unknown query parameter",
        ),
        (
            "GET /v1/echo?int32_value=hunter2",
            "",
            "int32_value",
            "expected a 32-bit integer",
        ),
        (
            "GET /v1/echo?int32_value=1&int32Value=2",
            "",
            "int32_value",
            "more than once",
        ),
        (
            "GET /v1/echo?choice_text=hunter2&choice_number=1",
            "",
            "choice_number",
            "oneof",
        ),
        ("GET /v1/echo?inner=hunter2", "", "inner", "name its fields"),
        ("GET /v1/echo?strings=hunter2", "", "strings", "a map"),
        (
            "GET /v1/echo?strings.key=hunter2",
            "",
            "strings.key",
            "a map",
        ),
        (
            "GET /v1/echo?inners.name=hunter2",
            "",
            "inners.name",
            "repeated",
        ),
        (
            "GET /v1/echo?timestamp.seconds=1",
            "",
            "timestamp.seconds",
            "as a whole",
        ),
        ("GET /v1/echo?struct=hunter2", "", "struct", "a message"),
        ("GET /v1/echo?mask=a..b", "", "mask", "field paths"),
        (
            "GET /v1/echo?color=hunter2",
            "",
            "color",
            "not a value of test.v1.Color",
        ),
        (
            "GET /v1/echo/x?string_value=hunter2",
            "",
            "string_value",
            "by the path",
        ),
        (
            "GET /v1/colors/nope/1/true",
            "",
            "color",
            "not a value of test.v1.Color",
        ),
        (
            "GET /v1/colors/1/x/true",
            "",
            "int64_value",
            "64-bit integer",
        ),
        ("GET /v1/echo/%ff", "", "string_value", "percent-encoded"),
        (
            "POST /v1/echo?int32_value=1",
            "",
            "int32_value",
            "in the body",
        ),
        (
            "SEARCH /v1/echo?inner.size=1",
            "",
            "inner.size",
            "in the body",
        ),
        (
            "POST /v1/echo",
            r#"{"nope":"hunter2"}"#,
            "nope",
            "unknown field \"nope\"",
        ),
        (
            "POST /v1/echo",
            r#"{"hunter2 hunter2":1}"#,
            "",
            "unknown field",
        ),
        (
            "POST /v1/echo",
            r#"{"int32_value":"hunter2"}"#,
            "int32_value",
            "32-bit integer",
        ),
        (
            "POST /v1/echo",
            r#"{"int32_value":2147483648}"#,
            "int32_value",
            "out of range",
        ),
        (
            "POST /v1/echo",
            r#"{"int32_value":1.5}"#,
            "int32_value",
            "32-bit integer",
        ),
        (
            "POST /v1/echo",
            r#"{"uint64_value":-1}"#,
            "uint64_value",
            "out of range",
        ),
        (
            "POST /v1/echo",
            r#"{"float_value":1e39}"#,
            "float_value",
            "out of range",
        ),
        (
            "POST /v1/echo",
            r#"{"bool_value":"true"}"#,
            "bool_value",
            "true or false",
        ),
        (
            "POST /v1/echo",
            r#"{"string_value":4111}"#,
            "string_value",
            "a string",
        ),
        (
            "POST /v1/echo",
            r#"{"color":"1"}"#,
            "color",
            "not a value of",
        ),
        (
            "POST /v1/echo",
            r#"{"inners":[{},{"labels":["a",4111]}]}"#,
            "inners[1].labels[1]",
            "a string",
        ),
        (
            "POST /v1/echo",
            r#"{"inners":[null]}"#,
            "inners[0]",
            "an object",
        ),
        ("POST /v1/echo", r#"{"tags":"hunter2"}"#, "tags", "an array"),
        (
            "POST /v1/echo",
            r#"{"strings":["hunter2"]}"#,
            "strings",
            "an object",
        ),
        (
            "POST /v1/echo",
            r#"{"strings":{"a":"1","a":"2"}}"#,
            "strings",
            "given twice",
        ),
        (
            "POST /v1/echo",
            r#"{"inners_by_number":{"hunter2":{}}}"#,
            "inners_by_number",
            "map key",
        ),
        (
            "POST /v1/echo",
            r#"{"tags":["a"],"tags":null}"#,
            "tags",
            "given twice",
        ),
        (
            "POST /v1/echo",
            r#"{"int32_value":1,"int32Value":2}"#,
            "int32_value",
            "given twice",
        ),
        (
            "POST /v1/echo",
            r#"{"choice_text":"a","choice_number":1}"#,
            "choice_number",
            "oneof",
        ),
        (
            "POST /v1/echo",
            r#"{"timestamp":"yesterday"}"#,
            "timestamp",
            "RFC 3339",
        ),
        (
            "POST /v1/echo",
            r#"{"duration":"1"}"#,
            "duration",
            "duration",
        ),
        (
            "POST /v1/echo",
            r#"{"struct":{"a":1,"a":2}}"#,
            "struct",
            "given twice",
        ),
        (
            "POST /v1/echo",
            r#"{"any":{"@type":"x/hunter2"}}"#,
            "any.@type",
            "not a known message type",
        ),
        (
            "POST /v1/echo",
            r#"{"any":{"a":1}}"#,
            "any.@type",
            "missing",
        ),
        (
            "POST /v1/echo",
            r#"{"any":{"size":"hunter2","@type":"t/test.v1.Inner"}}"#,
            "any.size",
            "32-bit",
        ),
        (
            "POST /v1/echo",
            r#"{"empty":{"hunter2":1}}"#,
            "empty.hunter2",
            "unknown field",
        ),
        ("POST /v1/echo", "[4111]", "", "an object"),
        ("POST /v1/echo", "null", "", "an object"),
        (
            "POST /v1/echo",
            r#"{"string_value":"hun"#,
            "",
            "ends too early",
        ),
        (
            "POST /v1/echo",
            r#"{"string_value":hunter2}"#,
            "",
            "malformed JSON at line 1 column",
        ),
        ("POST /v1/echo", r#"{} hunter2"#, "", "malformed JSON"),
        (
            "SEARCH /v1/echo",
            r#"{"size":[4111]}"#,
            "inner.size",
            "32-bit",
        ),
        ("POST /v1/tags", r#"["a",4111]"#, "tags[1]", "a string"),
    ] {
        let reply = world.call(line, body).await;
        assert_eq!(reply.status, 400, "{line} {body}: {}", reply.text());
        let error = reply.json();
        assert_eq!(error["code"], 3, "{line} {body}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{line} {body}: {message}");
        let violation = &error["details"][0]["field_violations"][0];
        assert_eq!(violation["field"], field, "{line} {body}");
        assert!(message.ends_with(violation["description"].as_str().unwrap()));
        if !line.contains("hunter2}") && !body.contains("\"hunter2\":1") {
            assert!(
                !reply.text().contains("hunter2"),
                "{line} {body}: {message}"
            );
        }
        assert!(!reply.text().contains("4111"), "{line} {body}: {message}");
    }
    assert_eq!(world.calls().len(), 0);
}

#[tokio::test]
async fn null_leaves_a_field_unset_and_is_a_value_where_it_is_one() {
    let world = World::echo();
    let body = r#"{"int32_value":null,"tags":null,"inner":null,"string_wrapper":null,
        "value":null,"choice_null":null,"values":{"a":null}}"#;
    assert_eq!(world.call("POST /v1/echo", body).await.status, 200);
    assert_eq!(
        world.received(EVERYTHING),
        json!({"value": null, "choice_null": null, "values": {"a": null}})
    );
}

#[tokio::test]
async fn nesting_has_a_bottom() {
    let world = World::echo();
    for (deep, status) in [(90, 200), (120, 400)] {
        let body = format!(
            "{}{}",
            r#"{"child":"#.repeat(deep),
            "{}".to_owned() + &"}".repeat(deep)
        );
        assert_eq!(
            world.call("POST /v1/echo", body).await.status,
            status,
            "{deep}"
        );
    }
    let lists = format!(r#"{{"value":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_eq!(world.call("POST /v1/echo", lists).await.status, 400);
    let any = r#"{"@type":"t/google.protobuf.Any","value":"#;
    let anys = format!(r#"{{"any":{}{{}}{}}}"#, any.repeat(5000), "}".repeat(5000));
    assert_eq!(world.call("POST /v1/echo", anys).await.status, 400);
}

#[tokio::test]
async fn a_body_must_be_wanted_small_enough_and_json() {
    let world = World::with(|builder| builder.max_body(16), echo);
    for (line, body, content_type, status, code) in [
        ("GET /v1/echo", "{}", Some("application/json"), 400, 3),
        (
            "POST /v1/echo",
            r#"{"int32_value":1234}"#,
            Some("application/json"),
            413,
            8,
        ),
        ("POST /v1/echo", "{}", Some("text/plain"), 415, 3),
        (
            "POST /v1/tags",
            "[]",
            Some("application/x-www-form-urlencoded"),
            415,
            3,
        ),
        (
            "POST /v1/echo",
            "{}",
            Some("application/json; charset=UTF-8"),
            200,
            0,
        ),
        ("POST /v1/echo", "{}", None, 200, 0),
        ("POST /v1/echo", "", Some("text/plain"), 200, 0),
        (
            "POST /v1/upload/x",
            "0123456789abcdefg",
            Some("image/png"),
            413,
            8,
        ),
    ] {
        let mut request = Request::builder().method(line.split(' ').next().unwrap());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let request = request.uri(line.split(' ').nth(1).unwrap());
        let reply = world.send(request.body(Full::from(body)).unwrap()).await;
        assert_eq!(
            reply.status,
            status,
            "{line} {content_type:?}: {}",
            reply.text()
        );
        if code != 0 {
            assert_eq!(reply.json()["code"], code);
        }
    }
}

#[tokio::test]
async fn an_http_body_takes_bytes_of_any_type() {
    let world = World::answering(crate::world::Answer::ok(&[crate::world::message(
        "google.protobuf.Empty",
        "{}",
    )]));
    let mut request = request("POST /v1/upload/pic", vec![0xff, 0x00]);
    *request.headers_mut() = headers(&[("content-type", "image/png")]);
    let reply = world.send(request).await;
    assert_eq!((reply.status, reply.text()), (200, "{}"));
    assert_eq!(
        world.received("test.v1.Upload"),
        json!({"name": "pic", "content": {"content_type": "image/png", "data": "/wA="}})
    );
}

#[tokio::test]
async fn only_listed_headers_and_the_deadline_become_metadata() {
    let world = World::echo();
    let mut request = request("GET /v1/echo", "");
    *request.headers_mut() = headers(&[
        ("authorization", "Bearer t"),
        ("x-request-id", "r"),
        ("traceparent", "p"),
        ("tracestate", "s"),
        ("forwarded", "for=a"),
        ("cookie", "c"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-request-timeout", "1.5"),
        ("user-agent", "curl"),
    ]);
    request
        .headers_mut()
        .append("forwarded", "for=b".parse().unwrap());
    request.extensions_mut().insert("carried over");
    assert_eq!(world.send(request).await.status, 200);
    let call = world.calls().pop().unwrap();
    let mut seen: Vec<_> = call
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "authorization: Bearer t",
            "content-type: application/grpc",
            "forwarded: for=a",
            "forwarded: for=b",
            "grpc-timeout: 1500000u",
            "te: trailers",
            "traceparent: p",
            "tracestate: s",
            "x-request-id: r",
        ]
    );
    assert_eq!(call.path, "/test.v1.TestService/Echo");
    assert_eq!(call.extension, Some("carried over"));
    assert!(call.rest);
}

#[tokio::test]
async fn a_malformed_timeout_is_refused() {
    let world = World::echo();
    for name in ["grpc-timeout", "x-request-timeout"] {
        let mut request = request("GET /v1/echo", "");
        *request.headers_mut() = headers(&[(name, "soon")]);
        let reply = world.send(request).await;
        assert_eq!((reply.status, &reply.json()["code"]), (400, &json!(3)));
    }
}

#[tokio::test]
async fn grpc_passes_untouched() {
    let world = World::echo();
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web",
    ] {
        let mut request = request("POST /any/Path", "frame");
        *request.headers_mut() = headers(&[("content-type", content_type), ("cookie", "kept")]);
        let reply = world.send(request).await;
        assert_eq!(reply.status, 200);
        let call = world.calls().pop().unwrap();
        assert_eq!(call.headers["content-type"], content_type);
        assert_eq!(call.headers["cookie"], "kept");
        assert_eq!(
            (call.path.as_str(), &call.body[..]),
            ("/any/Path", &b"frame"[..])
        );
        assert!(!call.rest);
    }
}
