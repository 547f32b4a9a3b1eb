//! Webhooks: signed as the Standard Webhooks specification has it (checked by
//! its own library), sent again until they arrive, listed and replayable.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode as Status},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use standardwebhooks::Webhook as Verifier;
use tokio::net::TcpListener;

use crate::{
    database::Database,
    world::{Db, World, both, eventually, fields, on_both, reason},
};

/// An application's endpoint: it keeps what comes, and answers by a script.
struct Endpoint {
    url: String,
    state: Arc<Endpointed>,
}

#[derive(Default)]
struct Endpointed {
    came: Mutex<Vec<(HeaderMap, Bytes)>>,
    answers: Mutex<VecDeque<Status>>,
}

impl Endpoint {
    async fn start() -> Self {
        let state = Arc::<Endpointed>::default();
        let app = Router::new().fallback(receive).with_state(state.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, state }
    }

    /// The next answers; after them, 204.
    fn answer(&self, answers: &[u16]) {
        let answers = answers
            .iter()
            .map(|code| Status::from_u16(*code).expect("a status"));
        self.state.answers.lock().expect("answers").extend(answers);
    }

    fn came(&self) -> Vec<(HeaderMap, Bytes)> {
        self.state.came.lock().expect("what came").clone()
    }

    /// Waits until this many messages came, and answers all of them.
    async fn wait(&self, count: usize) -> Vec<(HeaderMap, Bytes)> {
        eventually("messages come", async || self.came().len() >= count).await;
        self.came()
    }
}

async fn receive(
    State(state): State<Arc<Endpointed>>,
    headers: HeaderMap,
    body: Bytes,
) -> (Status, HeaderMap, &'static str) {
    state.came.lock().expect("what came").push((headers, body));
    let answer = state.answers.lock().expect("answers").pop_front();
    let mut headers = HeaderMap::new();
    headers.insert("location", "/elsewhere".parse().expect("a header"));
    (
        answer.unwrap_or(Status::NO_CONTENT),
        headers,
        "a secret of theirs",
    )
}

/// Creates a webhook: its id and its secret.
async fn create(world: &World, body: Value) -> (String, String) {
    let (status, created) = world.post("/v1/webhooks", body).await;
    assert_eq!(status, StatusCode::OK, "{created}");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&created["webhook"]["id"]), text(&created["secret"]))
}

async fn deliveries(world: &World, id: &str) -> Vec<Value> {
    let path = format!("/v1/webhooks/{id}/deliveries");
    let (status, page) = world.get(&path).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    page["deliveries"].as_array().expect("a list").clone()
}

async fn until_status(world: &World, id: &str, status: &str) -> Value {
    eventually("the delivery's status", async || {
        deliveries(world, id)
            .await
            .last()
            .is_some_and(|last| last["status"] == status)
    })
    .await;
    deliveries(world, id).await.pop().expect("a delivery")
}

fn id_of(headers: &HeaderMap) -> &str {
    headers["webhook-id"].to_str().expect("an id")
}

both!(
    what_happens_is_told_once_and_signed_as_the_specification_has_it,
    |world: World| async move {
        let endpoint = Endpoint::start().await;
        let (id, secret) = create(&world, json!({ "url": endpoint.url })).await;
        assert!(secret.starts_with("whsec_"), "the specification's form");
        let connection = world.connect("user-1").await;
        let came = endpoint.wait(2).await;
        let mut kinds = vec![];
        for (headers, body) in &came {
            let verifier = Verifier::new(&secret).expect("a secret");
            // The world's clock is the machine's, at its start.
            verifier.verify(body, headers).expect("a good signature");
            assert_eq!(headers["content-type"], "application/json");
            let body: Value = serde_json::from_slice(body).expect("JSON");
            assert_eq!(body["data"]["connection_id"], connection.as_str());
            assert_eq!(body["data"]["user_id"], "user-1");
            assert!(body["timestamp"].is_string());
            kinds.push(body["type"].as_str().expect("a type").to_owned());
        }
        kinds.sort();
        assert_eq!(kinds, ["connection.activated", "connection.requested"]);
        assert_ne!(id_of(&came[0].0), id_of(&came[1].0));
        eventually("both are recorded", async || {
            deliveries(&world, &id)
                .await
                .iter()
                .all(|one| one["status"] == "DELIVERED")
        })
        .await;
        let listed = deliveries(&world, &id).await;
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0]["response_status"], 204);
        assert_eq!(listed[0]["attempts"], 1);
        assert!(listed[0]["delivered_at"].is_string());
        // Nothing of what they answer is kept, and no secret is shown again.
        let dump = Database::of(&world).await.dump().await;
        assert!(!dump.contains("a secret of theirs"));
        assert!(!dump.contains(&secret) && !dump.contains(secret.trim_start_matches("whsec_")));
        let (_, shown) = world.get(&format!("/v1/webhooks/{id}")).await;
        assert!(!shown.to_string().contains("whsec_"));
    }
);

both!(
    a_webhook_hears_what_it_asked_for_of_its_own_workspace,
    |world: World| async move {
        let endpoint = Endpoint::start().await;
        let kinds = json!(["credential.refreshed", "connection.revoked"]);
        let (id, _) = create(&world, json!({ "url": endpoint.url, "event_types": kinds })).await;
        let connection = world.connect("user-1").await;
        world.refresh(&connection, json!({})).await;
        let (_, body) = endpoint.wait(1).await.remove(0);
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["type"], "credential.refreshed");
        assert_eq!(
            (&body["data"]["status"], &body["data"]["generation"]),
            (&"ACTIVE".into(), &2.into())
        );

        let path = format!("/v1/webhooks/{id}");
        let (status, changed) = world
            .call(
                Method::PATCH,
                &format!("{path}?update_mask=disabled"),
                json!({ "disabled": true }),
            )
            .await;
        assert_eq!(
            (status, &changed["disabled"]),
            (StatusCode::OK, &true.into())
        );
        assert_eq!(changed["event_types"], kinds);
        world
            .post(&format!("/v1/connections/{connection}:revoke"), json!({}))
            .await;
        assert_eq!(deliveries(&world, &id).await.len(), 1);

        let (status, _) = world.call(Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        let (status, error) = world.get(&path).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "WEBHOOK_NOT_FOUND")
        );
        for action in ["webhook.created", "webhook.updated", "webhook.deleted"] {
            assert_eq!(world.audit(action).await.len(), 1, "{action}");
        }
    }
);

both!(
    what_does_not_arrive_is_sent_again_with_the_same_id,
    |world: World| async move {
        let endpoint = Endpoint::start().await;
        endpoint.answer(&[500, 302, 404]);
        let kinds = json!(["connection.requested"]);
        let (id, _) = create(&world, json!({ "url": endpoint.url, "event_types": kinds })).await;
        world.request_connection("user-1").await;
        for attempt in 1..=3 {
            endpoint.wait(attempt).await;
            eventually("the failure is recorded", async || {
                deliveries(&world, &id).await[0]["error"] == "status"
                    && deliveries(&world, &id).await[0]["attempts"] == attempt
            })
            .await;
            // Not before its time.
            assert_eq!(endpoint.came().len(), attempt);
            world.clock.advance(45);
        }
        let last = until_status(&world, &id, "DELIVERED").await;
        assert_eq!((&last["attempts"], &last["error"]), (&4.into(), &"".into()));
        let came = endpoint.came();
        assert_eq!(came.len(), 4);
        assert!(came.iter().all(|one| id_of(&one.0) == id_of(&came[0].0)));
        assert!(came.iter().all(|one| one.1 == came[0].1));
        // Each attempt is signed with its own time.
        assert_ne!(
            came[0].0["webhook-timestamp"],
            came[3].0["webhook-timestamp"]
        );
    }
);

both!(
    after_a_day_a_message_is_dead_and_can_be_replayed,
    |world: World| async move {
        let endpoint = Endpoint::start().await;
        endpoint.answer(&[503; 2]);
        let kinds = json!(["connection.requested"]);
        let (id, _) = create(&world, json!({ "url": endpoint.url, "event_types": kinds })).await;
        world.request_connection("user-1").await;
        endpoint.wait(1).await;
        eventually("the failure is recorded", async || {
            deliveries(&world, &id).await[0]["error"] == "status"
        })
        .await;
        world.clock.advance(24 * 3600);
        let dead = until_status(&world, &id, "DEAD").await;
        assert_eq!(
            (&dead["attempts"], &dead["response_status"]),
            (&2.into(), &503.into())
        );
        let path = format!("/v1/webhooks/{id}/deliveries?status=DEAD");
        assert_eq!(
            world.get(&path).await.1["deliveries"]
                .as_array()
                .map(Vec::len),
            Some(1)
        );

        let replay = format!(
            "/v1/webhooks/{id}/deliveries/{}:replay",
            dead["id"].as_str().expect("an id")
        );
        let (status, again) = world.post(&replay, json!({})).await;
        assert_eq!(
            (status, &again["status"]),
            (StatusCode::OK, &"PENDING".into())
        );
        let done = until_status(&world, &id, "DELIVERED").await;
        assert_eq!(done["attempts"], 3);
        let came = endpoint.wait(3).await;
        assert_eq!(id_of(&came[2].0), id_of(&came[0].0));
        assert_eq!(world.audit("webhook.delivery_replayed").await.len(), 1);
        let nobody = uuid::Uuid::now_v7();
        let replay = format!("/v1/webhooks/{id}/deliveries/{nobody}:replay");
        let (status, error) = world.post(&replay, json!({})).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "WEBHOOK_DELIVERY_NOT_FOUND")
        );
    }
);

both!(gone_disables_a_webhook, |world: World| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer(&[410]);
    let kinds = json!(["connection.requested"]);
    let (id, _) = create(&world, json!({ "url": endpoint.url, "event_types": kinds })).await;
    world.request_connection("user-1").await;
    let dead = until_status(&world, &id, "DEAD").await;
    assert_eq!(dead["response_status"], 410);
    let path = format!("/v1/webhooks/{id}");
    eventually("it is disabled", async || {
        world.get(&path).await.1["disabled"] == true
    })
    .await;
    assert_eq!(world.get(&path).await.1["disabled_reason"], "gone");
    assert_eq!(world.audit("webhook.disabled").await.len(), 1);
    world.request_connection("user-2").await;
    assert_eq!(deliveries(&world, &id).await.len(), 1);
});

both!(
    a_new_secret_signs_beside_the_old_one_for_a_day,
    |world: World| async move {
        let endpoint = Endpoint::start().await;
        let kinds = json!(["connection.requested"]);
        let (id, old) = create(&world, json!({ "url": endpoint.url, "event_types": kinds })).await;
        let path = format!("/v1/webhooks/{id}:rotate-secret");
        let (status, rotated) = world.post(&path, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{rotated}");
        let new = rotated["secret"].as_str().expect("a secret").to_owned();
        assert_ne!(new, old);
        world.request_connection("user-1").await;
        let (headers, body) = endpoint.wait(1).await.remove(0);
        for secret in [&old, &new] {
            let verifier = Verifier::new(secret).expect("a secret");
            verifier.verify(&body, &headers).expect("a good signature");
        }
        world.clock.advance(24 * 3600);
        world.request_connection("user-2").await;
        let (headers, _) = endpoint.wait(2).await.remove(1);
        let signatures = headers["webhook-signature"].to_str().expect("a text");
        assert_eq!(signatures.split(' ').count(), 1);
    }
);

on_both!(
    hardening_15_a_webhook_reaches_no_private_address_however_it_is_written,
    |db| async move {
        let world = World::start_empty(db, &[("ALLOW_PRIVATE_NETWORKS", "")]).await;
        for url in [
            "http://hooks.example.com/",
            "https://127.0.0.1/hook",
            "https://169.254.169.254/latest",
            "https://user:password@hooks.example.com/",
            "https://hooks.example.com/#part",
            "ftp://hooks.example.com/",
            "nonsense",
            "",
        ] {
            let (status, error) = world.post("/v1/webhooks", json!({ "url": url })).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{url}: {error}");
            assert_eq!(fields(&error), ["url"], "{url}");
        }
        let body = json!({ "url": "https://hooks.example.com/", "event_types": ["no.such"] });
        let (status, error) = world.post("/v1/webhooks", body).await;
        assert_eq!(
            (status, fields(&error)),
            (StatusCode::BAD_REQUEST, vec!["event_types"])
        );
        // A name that points inside is refused when it is dialled: no guard of
        // the text can know.
        let (id, _) = create(&world, json!({ "url": "https://localhost:1/hook" })).await;
        world.create_event().await;
        eventually("it is refused", async || {
            let all = deliveries(&world, &id).await;
            all.first()
                .is_some_and(|one| one["error"] == "no_connection")
        })
        .await;
    }
);

impl World {
    /// An event of a connection whose provider nobody asks anything.
    async fn create_event(&self) {
        let definition = json!({
            "name": "static-endpoints", "display_name": "S",
            "oauth2": {
                "authorization_endpoint": "https://login.example.com/authorize",
                "token_endpoint": "https://login.example.com/token",
                "client_id": "c", "client_secret": "s",
            },
            "strategy": { "type": "oauth2" },
        });
        let (status, provider) = self.post("/v1/providers", definition).await;
        assert_eq!(status, StatusCode::OK, "{provider}");
        self.request_connection_to("static-endpoints", "user-1")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_share_the_deliveries_and_send_each_once() {
    let world = World::start(Db::Postgres).await;
    let (second, third) = (world.join().await, world.join().await);
    let endpoint = Endpoint::start().await;
    let kinds = json!(["connection.requested"]);
    let (id, _) = create(&world, json!({ "url": endpoint.url, "event_types": kinds })).await;
    const COUNT: usize = 40;
    for n in 0..COUNT {
        world.request_connection(&format!("user-{n}")).await;
    }
    eventually("all are delivered", async || {
        let all = deliveries(&world, &id).await;
        all.len() == COUNT && all.iter().all(|one| one["status"] == "DELIVERED")
    })
    .await;
    let mut ids: Vec<String> = endpoint
        .came()
        .iter()
        .map(|one| id_of(&one.0).to_owned())
        .collect();
    ids.sort();
    let came = ids.len();
    ids.dedup();
    assert_eq!((came, ids.len()), (COUNT, COUNT));
    second.stop().await;
    third.stop().await;
}

both!(
    webhooks_are_an_admins_matter_and_stay_in_their_workspace,
    |world: World| async move {
        let url = "http://127.0.0.1:9/hook";
        let (id, _) = create(&world, json!({ "url": url })).await;
        let key = world.api_key(&["connections:write", "audit:read"]).await;
        let (status, error) = world
            .call_as(&key, Method::GET, "/v1/webhooks", Value::Null)
            .await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::FORBIDDEN, "SCOPE_MISSING")
        );
        let (_, workspace) = world
            .post("/v1/workspaces", json!({ "name": "other" }))
            .await;
        let body = json!({ "name": "k", "scopes": ["admin"], "workspace_id": workspace["id"] });
        let (_, foreign) = world.post("/v1/api-keys", body).await;
        let foreign = foreign["secret"].as_str().expect("a secret");
        for (method, path) in [
            (Method::GET, format!("/v1/webhooks/{id}")),
            (Method::DELETE, format!("/v1/webhooks/{id}")),
            (Method::GET, format!("/v1/webhooks/{id}/deliveries")),
        ] {
            let (status, error) = world.call_as(foreign, method, &path, Value::Null).await;
            assert_eq!(
                (status, reason(&error)),
                (StatusCode::NOT_FOUND, "WEBHOOK_NOT_FOUND")
            );
        }
        let (_, page) = world
            .call_as(foreign, Method::GET, "/v1/webhooks", Value::Null)
            .await;
        assert_eq!(page["webhooks"], json!([]));
        assert_eq!(
            world.get("/v1/webhooks").await.1["webhooks"][0]["id"],
            id.as_str()
        );
    }
);
