//! Fuzz targets for what callers send: bodies, query strings and paths. Each
//! runs for a bounded time with `cargo test`, and for as long as one likes,
//! guided by coverage, with `cargo bolero test`.

use std::{panic::AssertUnwindSafe, time::Duration};

use http::Request;
use http_body_util::Full;
use tokio::runtime::{Builder, Runtime};

use crate::world::{World, everything_in};

const TIME: Duration = Duration::from_secs(3);

/// What JSON and the names of the test message are made of.
const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1e400",
    "0.5",
    "\"NaN\"",
    "\"-Infinity\"",
    "18446744073709551616",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"@type\":",
    "\"type.googleapis.com/google.protobuf.Duration\"",
    "\"value\":",
    "\"1s\"",
    "\"-0.5s\"",
    "\"2026-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:60Z\"",
    "\"aGk=\"",
    "\"a.b,cD\"",
    "{}",
    "[]",
    "[[[[[[[[[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":{\"a\":",
];
/// What paths and query strings are made of.
const URL: &[&str] = &[
    "/", "v1", "echo", ":", "*", "**", "%2F", "%3A", "%", "%zz", "%ff", "?", "&", "=", ".", "..",
    "a.b", "[]", "+", "%00", "true", "-1",
];

/// Bytes into text that gets further than noise would: half of all values
/// stand for a word.
fn words(input: &[u8], dictionary: &[&str], fields: &[String]) -> Vec<u8> {
    let mut text = Vec::new();
    let words = dictionary.len() + fields.len();
    for &byte in input {
        match usize::from(byte).checked_sub(128) {
            Some(index) if index % 2 == 0 && !fields.is_empty() => {
                let name = &fields[(index / 2) % fields.len()];
                text.extend_from_slice(format!("\"{name}\":").as_bytes());
            }
            Some(index) if words > 0 => {
                text.extend_from_slice(dictionary[(index / 2) % dictionary.len()].as_bytes());
            }
            _ => text.push(byte),
        }
    }
    text
}

fn runtime() -> AssertUnwindSafe<Runtime> {
    AssertUnwindSafe(Builder::new_current_thread().build().unwrap())
}

#[test]
fn fuzz_any_json_body_is_refused_or_comes_back_as_the_same_message() {
    let runtime = runtime();
    // A failure ends the test, so that nobody sees a world that it broke.
    let world = AssertUnwindSafe(World::echo());
    let fields = everything_in();
    bolero::check!()
        .with_test_time(TIME)
        .for_each(|input: &[u8]| {
            let world = &world;
            let body = words(input, JSON, &fields);
            runtime.block_on(async {
                let reply = world.call("POST /v1/echo", body.clone()).await;
                match reply.status {
                    200 => {
                        let again = world.call("POST /v1/echo", reply.body.clone()).await;
                        assert_eq!((again.status, again.json()), (200, reply.json()));
                    }
                    // Nothing was sent: an empty message has its own answer.
                    400 => assert_eq!(reply.json()["code"], 3),
                    status => panic!("{status} for {}", String::from_utf8_lossy(&body)),
                }
                world.forget_calls();
            });
        });
}

#[test]
fn fuzz_any_path_and_query_gets_an_answer_of_ours() {
    let runtime = runtime();
    // A failure ends the test, so that nobody sees a world that it broke.
    let world = AssertUnwindSafe(World::echo());
    bolero::check!()
        .with_test_time(TIME)
        .for_each(|input: &[u8]| {
            let world = &world;
            let path = [b"/".as_slice(), &words(input, URL, &[])].concat();
            let Ok(request) = Request::get(path.as_slice()).body(Full::default()) else {
                return;
            };
            runtime.block_on(async {
                let reply = world.send(request).await;
                assert!(
                    matches!(reply.status, 200 | 400 | 404 | 405),
                    "{} for {}",
                    reply.status,
                    String::from_utf8_lossy(&path)
                );
                world.forget_calls();
            });
        });
}
