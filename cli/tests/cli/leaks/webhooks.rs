//! Webhooks: their secrets, and what is delivered to good and bad endpoints.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{IN_A_BODY, IN_AN_ANSWER, life::Life};

/// What an endpoint was sent: its path, the headers, the body.
type Message = (String, HeaderMap, Bytes);

/// Endpoints: /good, /gone, and /failing, until that is mended.
#[derive(Default)]
pub struct Receiver {
    came: Mutex<Vec<Message>>,
    is_mended: Mutex<bool>,
}

impl Receiver {
    async fn start() -> (String, Arc<Self>) {
        let state = Arc::<Self>::default();
        let app = Router::new().fallback(receive).with_state(state.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (url, state)
    }

    /// What came to an endpoint.
    fn at(&self, path: &str) -> Vec<Message> {
        let came = self.came.lock().unwrap();
        came.iter().filter(|one| one.0 == path).cloned().collect()
    }
}

async fn receive(
    State(state): State<Arc<Receiver>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, &'static str) {
    let path = uri.path().to_owned();
    let status = match path.as_str() {
        "/gone" => StatusCode::GONE,
        "/failing" if !*state.is_mended.lock().unwrap() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::NO_CONTENT,
    };
    state.came.lock().unwrap().push((path, headers, body));
    let mut headers = HeaderMap::new();
    for name in ["retry-after", "location", "x-request-id"] {
        headers.insert(name, IN_AN_ANSWER.parse().unwrap());
    }
    (status, headers, IN_AN_ANSWER)
}

/// The webhooks of a life, by their ids.
pub struct Webhooks {
    receiver: Arc<Receiver>,
    good: String,
    failing: String,
    gone: String,
}

impl Life {
    async fn webhook(&mut self, url: &str) -> String {
        let wanted = json!({ "url": url });
        let created = self.good(Method::POST, "/v1/webhooks", wanted).await;
        let secret = created["secret"].as_str().unwrap();
        assert!(secret.starts_with("whsec_"));
        self.search.met_key("a webhook's secret", secret);
        created["webhook"]["id"].as_str().unwrap().to_owned()
    }

    /// Webhooks for all that happens from now on.
    pub async fn create_webhooks(&mut self) -> Webhooks {
        let (url, receiver) = Receiver::start().await;
        let key = self.key.clone();
        for refused in [
            format!("https://user:{IN_A_BODY}@hooks.test/"),
            format!("ftp://hooks.test/{IN_A_BODY}"),
        ] {
            let body = json!({ "url": refused }).to_string();
            self.bad(&key, Method::POST, "/v1/webhooks", &body).await;
        }
        Webhooks {
            receiver,
            good: self.webhook(&format!("{url}/good")).await,
            failing: self.webhook(&format!("{url}/failing")).await,
            gone: self.webhook(&format!("{url}/gone")).await,
        }
    }

    async fn deliveries(&mut self, id: &str) -> Vec<Value> {
        let path = format!("/v1/webhooks/{id}/deliveries?page_size=1000");
        let page = self.good(Method::GET, &path, Value::Null).await;
        page["deliveries"].as_array().unwrap().clone()
    }

    /// What was delivered, what was not and is replayed, and a new secret.
    pub async fn deliver(&mut self, hooks: &Webhooks) {
        let (good, failing) = (format!("/v1/webhooks/{}", hooks.good), &hooks.failing);
        eventually!("a message is delivered", {
            let all = self.deliveries(&hooks.good).await;
            all.iter().any(|one| one["status"] == "DELIVERED")
        });
        let mut failed = Value::Null;
        eventually!("a message is not delivered", {
            let mut all = self.deliveries(failing).await.into_iter();
            let tried = all.find(|one| one["response_status"] == 503);
            failed = tried.unwrap_or_default();
            !failed.is_null()
        });
        eventually!("a webhook is disabled", {
            let path = format!("/v1/webhooks/{}", hooks.gone);
            let gone = self.good(Method::GET, &path, Value::Null).await;
            gone["disabled_reason"] == "gone"
        });

        *hooks.receiver.is_mended.lock().unwrap() = true;
        let delivery = failed["id"].as_str().unwrap();
        let replay = format!("/v1/webhooks/{failing}/deliveries/{delivery}:replay");
        self.good(Method::POST, &replay, json!({})).await;
        eventually!("the replay is delivered", {
            let all = self.deliveries(failing).await;
            let one = all.iter().find(|one| one["id"] == delivery).unwrap();
            one["status"] == "DELIVERED" && one["attempts"].as_u64() > Some(1)
        });

        let rotate = format!("{good}:rotate-secret");
        let rotated = self.good(Method::POST, &rotate, json!({})).await;
        let secret = rotated["secret"].as_str().unwrap();
        self.search.met_key("a webhook's new secret", secret);
        self.request("acme", json!({})).await;
        eventually!("a message is signed with both secrets", {
            let came = hooks.receiver.at("/good");
            let both = |headers: &HeaderMap| {
                let signatures = headers["webhook-signature"].to_str().unwrap();
                signatures.split(' ').count() == 2
            };
            came.iter().any(|one| both(&one.1))
        });
        for id in [&hooks.good, failing, &hooks.gone] {
            let all = json!(self.deliveries(id).await);
            self.search.read("the deliveries", all.to_string());
        }
    }

    /// What came to the endpoints, for the search.
    pub fn look_at_deliveries(&mut self, hooks: &Webhooks) {
        for endpoint in ["/good", "/failing", "/gone"] {
            let came = hooks.receiver.at(endpoint);
            assert!(!came.is_empty(), "nothing came to {endpoint}");
            for (_, headers, body) in came {
                let headers = format!("{headers:?}\n");
                self.search.read(
                    format!("a message to {endpoint}"),
                    [headers.as_bytes(), &body].concat(),
                );
            }
        }
    }
}
