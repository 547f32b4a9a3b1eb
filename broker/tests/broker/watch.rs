//! WatchConnection: the state, then every change, none lost and none twice.

use std::{collections::VecDeque, time::Duration};

use dromos_broker::domain::id::{ConnectionId, WorkspaceId};
use dromos_proto::v1::{
    WatchConnectionRequest, WatchConnectionResponse,
    connection_service_client::ConnectionServiceClient,
};
use dromos_simulator::{Endpoint, Failure};
use prost::Message;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{ADMIN_KEY, Db, RETURN_URL, World, both, fields, http_client, on_both, reason};

/// A stream of JSON lines, as a REST caller reads it.
pub struct Watching {
    response: reqwest::Response,
    lines: VecDeque<Value>,
    rest: Vec<u8>,
}

impl Watching {
    /// The next line; none at the end.
    pub async fn next(&mut self) -> Option<Value> {
        let reading = async {
            loop {
                if let Some(line) = self.lines.pop_front() {
                    return Some(line);
                }
                self.rest
                    .extend(self.response.chunk().await.expect("the stream is whole")?);
                while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.rest.drain(..=end).collect();
                    let line = line.strip_prefix(b"data: ").unwrap_or(&line).trim_ascii();
                    if !line.is_empty() {
                        let line = serde_json::from_slice(line).expect("a JSON line");
                        self.lines.push_back(line);
                    }
                }
            }
        };
        let bound = Duration::from_secs(30);
        tokio::time::timeout(bound, reading)
            .await
            .expect("a message in time")
    }

    /// The next message's `result`.
    pub async fn change(&mut self) -> Value {
        let mut line = self.next().await.expect("another message");
        assert!(line.get("result").is_some(), "{line}");
        line["result"].take()
    }

    /// The error that ends the stream, after whatever changes come before it.
    pub async fn error(&mut self) -> Value {
        loop {
            let mut line = self.next().await.expect("an error at the end");
            if line.get("error").is_some() {
                assert!(self.next().await.is_none(), "an error is the last line");
                return line["error"].take();
            }
        }
    }
}

/// Watches through a gateway.
pub async fn watch(gateway_url: &str, key: &str, id: &str, query: &str) -> Watching {
    let response = try_watch(gateway_url, key, id, query).await;
    assert_eq!(response.status(), StatusCode::OK);
    Watching {
        response,
        lines: VecDeque::new(),
        rest: vec![],
    }
}

async fn try_watch(gateway_url: &str, key: &str, id: &str, query: &str) -> reqwest::Response {
    let url = format!("{gateway_url}/v1/connections/{id}:watch?{query}");
    let request = http_client().get(url).bearer_auth(key);
    request.send().await.expect("the gateway answers")
}

/// A message as gRPC-Web frames it.
fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).expect("a small message");
    [&[0], &length.to_be_bytes()[..], &bytes].concat()
}

/// The one message in these bytes.
fn unframed(bytes: &[u8]) -> WatchConnectionResponse {
    assert_eq!(bytes[0], 0, "a message, not trailers");
    WatchConnectionResponse::decode(&bytes[5..]).expect("one message")
}

fn id_of(begun: &Value) -> &str {
    begun["connection_id"].as_str().expect("an id")
}

fn event_type(change: &Value) -> &str {
    change["event_type"].as_str().expect("a type")
}

fn token_of(change: &Value) -> String {
    change["resume_token"].as_str().expect("a token").to_owned()
}

async fn refuse(world: &World, id: &str, query: &str) -> (StatusCode, Value) {
    let answer = try_watch(&world.gateway_url, ADMIN_KEY, id, query).await;
    (answer.status(), answer.json().await.expect("JSON"))
}

both!(
    a_watch_tells_the_state_and_then_every_change_until_the_revocation,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let id = id_of(&begun);
        let mut watching = watch(&world.gateway_url, ADMIN_KEY, id, "").await;
        let state = watching.change().await;
        assert_eq!(
            (event_type(&state), &state["status"]),
            ("", &"PENDING".into())
        );
        assert_eq!(state["connection_id"], id);

        world.consent(&begun).await;
        let change = watching.change().await;
        assert_eq!(event_type(&change), "connection.activated");
        assert_eq!(
            (&change["status"], &change["generation"]),
            (&"ACTIVE".into(), &1.into())
        );
        // Nobody asked for it.
        assert!(change.get("payload").is_none(), "{change}");

        world.refresh(id, json!({})).await;
        let change = watching.change().await;
        assert_eq!(event_type(&change), "credential.refreshed");
        assert_eq!(change["generation"], 2);

        world
            .simulator
            .fail_next(Endpoint::Token, 1, Failure::error(400, "invalid_grant"));
        world.refresh(id, json!({})).await;
        let change = watching.change().await;
        assert_eq!(event_type(&change), "connection.attention");
        assert_eq!(
            (&change["status"], &change["reason"]),
            (&"ATTENTION".into(), &"invalid_grant".into())
        );

        let revoke = format!("/v1/connections/{id}:revoke");
        world.post(&revoke, json!({})).await;
        let change = watching.change().await;
        assert_eq!(event_type(&change), "connection.revoked");
        assert_eq!(change["status"], "REVOKED");
        assert_eq!(reason(&watching.error().await), "CONNECTION_REVOKED");

        let (status, error) = refuse(&world, id, "").await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::FORBIDDEN, "CONNECTION_REVOKED")
        );
    }
);

both!(
    a_watch_with_credentials_brings_each_one_after_its_audit_row,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let id = id_of(&begun);
        let query = "include_credentials=true";
        let mut watching = watch(&world.gateway_url, ADMIN_KEY, id, query).await;
        assert_eq!(watching.response.headers()["cache-control"], "no-store");
        assert!(watching.change().await.get("payload").is_none());
        assert_eq!(world.audit("credential.read").await.len(), 0);

        world.consent(&begun).await;
        let change = watching.change().await;
        assert_eq!(world.audit("credential.read").await.len(), 1);
        let (_, held) = world.token(id).await;
        assert_eq!(change["payload"], held);
        assert!(held["credentials"]["access_token"].is_string());

        let (_, refreshed) = world.refresh(id, json!({})).await;
        let change = watching.change().await;
        assert_eq!(change["payload"], refreshed);
        assert_eq!(change["payload"]["generation"], 2);

        // Another watch begins with what there is.
        let mut another = watch(&world.gateway_url, ADMIN_KEY, id, query).await;
        assert_eq!(another.change().await["payload"], refreshed);
        // Without a credential that can be had, the message comes without one.
        world
            .simulator
            .fail_next(Endpoint::Token, 1, Failure::error(400, "invalid_grant"));
        world.refresh(id, json!({})).await;
        for watching in [&mut watching, &mut another] {
            let change = watching.change().await;
            assert_eq!(change["status"], "ATTENTION");
            assert!(change.get("payload").is_none());
        }
    }
);

both!(
    credentials_need_their_own_scope_and_a_watch_a_connection_of_the_workspace,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let reader = world.api_key(&["connections:read"]).await;
        let mut plain = watch(&world.gateway_url, &reader, &id, "").await;
        assert_eq!(plain.change().await["status"], "ACTIVE");
        let query = "include_credentials=true";
        let answer = try_watch(&world.gateway_url, &reader, &id, query).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let error: Value = answer.json().await.expect("JSON");
        assert_eq!(reason(&error), "SCOPE_MISSING");

        let (status, error) = refuse(&world, &uuid::Uuid::now_v7().to_string(), "").await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "CONNECTION_NOT_FOUND")
        );
        let other = world.connect("user-2").await;
        let token = token_of(
            &watch(&world.gateway_url, ADMIN_KEY, &other, "")
                .await
                .change()
                .await,
        );
        for token in [token.as_str(), "nonsense", "AAAA"] {
            let (status, error) = refuse(&world, &id, &format!("resume_token={token}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert_eq!(fields(&error), ["resume_token"]);
        }
    }
);

both!(
    a_watch_that_is_cut_and_resumed_misses_nothing_and_repeats_nothing,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let connection_id: ConnectionId = id.parse().expect("an id");
        let mut first = watch(&world.gateway_url, ADMIN_KEY, &id, "").await;
        let mut token = token_of(&first.change().await);
        drop(first);
        const WRITERS: usize = 4;
        const EACH: usize = 10;
        let writing = async {
            let writers = (0..WRITERS).map(|n| {
                let (world, id) = (&world, &id);
                async move {
                    for round in 0..EACH {
                        let (path, body) = match (n + round) % 2 {
                            0 => (format!("/v1/refresh/{id}"), json!({})),
                            _ => (
                                format!("/v1/connections/{id}:reconnect"),
                                json!({ "return_url": RETURN_URL }),
                            ),
                        };
                        let (status, answer) = world.post(&path, body).await;
                        assert_eq!(status, StatusCode::OK, "{answer}");
                    }
                }
            });
            futures_util::future::join_all(writers).await;
        };
        let reading = async {
            let mut told: Vec<String> = vec![];
            // Streams of a few messages each; the last one reads to the end.
            for (n, length) in [0, 1, 3, 2, 1, 4, 1, 2].iter().enumerate() {
                let query = format!("resume_token={token}");
                let mut watching = watch(&world.gateway_url, ADMIN_KEY, &id, &query).await;
                for _ in 0..*length {
                    let change = watching.change().await;
                    assert_ne!(event_type(&change), "", "stream {n}");
                    told.push(change["event_id"].as_str().expect("an id").to_owned());
                    token = token_of(&change);
                }
            }
            (told, token)
        };
        let ((), (mut told, token)) = tokio::join!(writing, reading);
        let store = &world.core.store;
        let all = store.events_after(WorkspaceId::DEFAULT, connection_id, 2, 1000);
        let all: Vec<String> = all
            .await
            .expect("the store answers")
            .iter()
            .map(|event| event.id.to_string())
            .collect();
        // A refresh that was shared is one event for two callers.
        assert!(all.len() > told.len(), "{} events", all.len());
        // A reader who comes late gets what is left at once.
        let mut watching = watch(
            &world.gateway_url,
            ADMIN_KEY,
            &id,
            &format!("resume_token={token}"),
        )
        .await;
        while told.len() < all.len() {
            let change = watching.change().await;
            told.push(change["event_id"].as_str().expect("an id").to_owned());
        }
        assert_eq!(told, all);
    }
);

both!(
    time_ends_a_watched_consent_and_old_tokens_begin_anew,
    |world: World| async move {
        let begun = world.request_connection("user-1").await;
        let id = id_of(&begun);
        let mut watching = watch(&world.gateway_url, ADMIN_KEY, id, "").await;
        let old = token_of(&watching.change().await);
        world.clock.advance(600);
        let change = watching.change().await;
        assert_eq!(event_type(&change), "connection.failed");
        assert_eq!(change["reason"], "consent_timeout");
        let newest = token_of(&change);

        // Within the seven days the change is told again; after them it can't be.
        let query = format!("resume_token={old}");
        let mut again = watch(&world.gateway_url, ADMIN_KEY, id, &query).await;
        assert_eq!(again.change().await["event_id"], change["event_id"]);
        world.clock.advance(8 * 24 * 3600);
        let tidied = world.core.store.tidy(world.core.ambient.now()).await;
        tidied.expect("the store answers");
        let mut late = watch(&world.gateway_url, ADMIN_KEY, id, &query).await;
        let state = late.change().await;
        assert_eq!(
            (event_type(&state), &state["status"]),
            ("", &"FAILED".into())
        );
        assert_eq!(token_of(&state), newest);
    }
);

both!(a_watch_ends_with_its_key, |world: World| async move {
    let id = world.connect("user-1").await;
    let body = json!({ "name": "w", "scopes": ["connections:read"] });
    let (_, created) = world.post("/v1/api-keys", body).await;
    let key = created["secret"].as_str().expect("a secret");
    let mut watching = watch(&world.gateway_url, key, &id, "").await;
    watching.change().await;
    let path = format!(
        "/v1/api-keys/{}",
        created["api_key"]["id"].as_str().expect("an id")
    );
    let (status, _) = world.call(Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(reason(&watching.error().await), "UNAUTHENTICATED");

    let expires_at = (world.core.ambient.now() + chrono::TimeDelta::seconds(60)).to_rfc3339();
    let body = json!({ "name": "w", "scopes": ["connections:read"], "expires_at": expires_at });
    let (_, created) = world.post("/v1/api-keys", body).await;
    let key = created["secret"].as_str().expect("a secret");
    let mut watching = watch(&world.gateway_url, key, &id, "").await;
    watching.change().await;
    world.clock.advance(60);
    assert_eq!(reason(&watching.error().await), "UNAUTHENTICATED");
});

on_both!(
    a_stop_ends_watches_with_a_word_and_they_resume_afterwards,
    |db| async move {
        let mut world = World::start(db).await;
        let id = world.connect("user-1").await;
        let mut watching = watch(&world.gateway_url, ADMIN_KEY, &id, "").await;
        let token = token_of(&watching.change().await);
        let (error, ()) = tokio::join!(watching.error(), world.halt());
        assert_eq!(reason(&error), "BROKER_UNAVAILABLE");
        assert_eq!(crate::world::retry_delay(&error), Some("1s"));
        world.resume(&[]).await;
        world.refresh(&id, json!({})).await;
        let query = format!("resume_token={token}");
        let mut watching = watch(&world.gateway_url, ADMIN_KEY, &id, &query).await;
        assert_eq!(event_type(&watching.change().await), "credential.refreshed");
    }
);

both!(
    a_watch_is_the_same_over_grpc_grpc_web_and_server_sent_events,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let request = WatchConnectionRequest {
            connection_id: id.clone(),
            resume_token: String::new(),
            include_credentials: true,
        };
        let mut client = ConnectionServiceClient::new(
            tonic::transport::Channel::from_shared(world.gateway_url.clone())
                .expect("a URL")
                .connect_lazy(),
        );
        let mut grpc = tonic::Request::new(request.clone());
        let bearer = format!("Bearer {ADMIN_KEY}").parse().expect("a header");
        grpc.metadata_mut().insert("authorization", bearer);
        let mut grpc = client
            .watch_connection(grpc)
            .await
            .expect("a stream")
            .into_inner();
        let over_grpc = grpc.message().await.expect("no error").expect("a message");

        let mut web = http_client()
            .post(format!(
                "{}/dromos.v1.ConnectionService/WatchConnection",
                world.gateway_url
            ))
            .bearer_auth(ADMIN_KEY)
            .header("content-type", "application/grpc-web+proto")
            .body(framed(&request))
            .send()
            .await
            .expect("the gateway answers");
        let bytes = web.chunk().await.expect("no error").expect("a frame");
        assert_eq!(unframed(&bytes), over_grpc);

        let events = http_client()
            .get(format!(
                "{}/v1/connections/{id}:watch?include_credentials=true",
                world.gateway_url
            ))
            .bearer_auth(ADMIN_KEY)
            .header("accept", "text/event-stream")
            .send()
            .await
            .expect("the gateway answers");
        assert_eq!(events.headers()["content-type"], "text/event-stream");
        let mut events = Watching {
            response: events,
            lines: VecDeque::new(),
            rest: vec![],
        };
        let over_events = events.change().await;
        assert_eq!(over_events["resume_token"], over_grpc.resume_token.as_str());
        assert_eq!(over_events["status"], "ACTIVE");

        // All of them are still open and hear of the next change.
        world.refresh(&id, json!({})).await;
        let change = grpc.message().await.expect("no error").expect("a message");
        assert_eq!(
            (change.event_type.as_str(), change.generation),
            ("credential.refreshed", 2)
        );
        let bytes = web.chunk().await.expect("no error").expect("a frame");
        assert_eq!(unframed(&bytes), change);
        assert_eq!(events.change().await["event_id"], change.event_id.as_str());
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_at_one_broker_reaches_a_watch_at_another() {
    let world = World::start(Db::Postgres).await;
    let other = world.join().await;
    let id = world.connect("user-1").await;
    let query = "include_credentials=true";
    let mut watching = watch(&other.gateway_url, ADMIN_KEY, &id, query).await;
    watching.change().await;
    // The look at the table alone would need five seconds for each.
    let telling = async {
        for _ in 0..8 {
            let (_, refreshed) = world.refresh(&id, json!({})).await;
            assert_eq!(watching.change().await["payload"], refreshed);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), telling)
        .await
        .expect("news travels faster than by looking");
    let path = format!("/v1/connections/{id}:revoke");
    world.post(&path, json!({})).await;
    assert_eq!(watching.change().await["status"], "REVOKED");
    assert_eq!(reason(&watching.error().await), "CONNECTION_REVOKED");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_that_is_lost_is_found_in_the_table() {
    let world = World::start(Db::Postgres).await;
    let id = world.connect("user-1").await;
    let mut watching = watch(&world.gateway_url, ADMIN_KEY, &id, "").await;
    watching.change().await;
    // A broker that was killed before it could tell the others.
    world
        .sql(&format!(
            "insert into events select workspace_id, connection_id, event_sequence + 1, \
             gen_random_uuid(), 'credential.refreshed', status, reason, 2, user_id, \
             provider_name, now() from connections where connection_id = '{id}'; \
             update connections set event_sequence = event_sequence + 1 \
             where connection_id = '{id}'"
        ))
        .await;
    assert_eq!(event_type(&watching.change().await), "credential.refreshed");
}
