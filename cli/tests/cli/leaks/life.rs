//! A connection's life, with every secret known.

use dromos_simulator::{
    Endpoint, Failure, Simulator,
    browser::{self, Browser},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::{IN_A_BODY, KNOWN_USER, RETURN_URL, WORDS, WRONG_KEY, search::Search};

/// A caller with a key, and what it met.
pub struct Life {
    pub http: reqwest::Client,
    pub gateway: String,
    pub key: String,
    pub search: Search,
}

impl Life {
    pub async fn send(
        &mut self,
        key: &str,
        method: Method,
        path: &str,
        body: String,
    ) -> (StatusCode, String) {
        let request = self
            .http
            .request(method, format!("{}{path}", self.gateway))
            .bearer_auth(key);
        let request = match body.is_empty() {
            true => request,
            false => request
                .header("content-type", "application/json")
                .body(body),
        };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        if !status.is_success() {
            self.search
                .read(format!("the error of {path}"), text.clone());
        }
        (status, text)
    }

    pub async fn good(&mut self, method: Method, path: &str, body: Value) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let key = self.key.clone();
        let (status, text) = self.send(&key, method, path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn bad(&mut self, key: &str, method: Method, path: &str, body: &str) {
        let (status, text) = self.send(key, method, path, body.to_owned()).await;
        assert!(!status.is_success(), "{path}: {text}");
    }

    /// A consent from its beginning to the user's return: where to.
    pub async fn consent(&mut self, begun: &Value) -> Url {
        let auth_url = begun["auth_url"].as_str().unwrap();
        let state = begun["state"].as_str().unwrap();
        self.search.met_key("a state", state);
        let handle = auth_url.rsplit('/').next().unwrap();
        self.search.met_key("a handle", handle);
        let mut browser = Browser::new();
        let end = browser.walk(auth_url, RETURN_URL, browser::approve).await;
        end.unwrap()
    }

    /// Creates a provider that the simulator plays.
    pub async fn create_provider(&mut self, name: &str, simulator: &Simulator) {
        self.search
            .met("the client secret", simulator.client_secret());
        let provider = json!({
            "name": name, "display_name": "Acme",
            "oauth2": {
                "issuer": simulator.url(), "client_id": simulator.client_id(),
                "client_secret": simulator.client_secret(), "scopes": ["openid", "offline_access"] },
            "strategy": { "type": "oauth2" } });
        let provider = self.good(Method::POST, "/v1/providers", provider).await;
        simulator.allow_redirect_uri(provider["redirect_uri"].as_str().unwrap());
    }

    /// Requests a connection: the answer, and its id.
    pub async fn request(&mut self, provider: &str, more: Value) -> (Value, String) {
        let mut wanted = json!({
            "user_id": KNOWN_USER, "provider_name": provider, "return_url": RETURN_URL });
        let more = more.as_object().unwrap().clone();
        wanted.as_object_mut().unwrap().extend(more);
        let begun = self
            .good(Method::POST, "/v1/request-connection", wanted)
            .await;
        let id = begun["connection_id"].as_str().unwrap().to_owned();
        (begun, id)
    }

    /// A connection in use.
    pub async fn connect(&mut self, provider: &str) -> String {
        let (begun, id) = self.request(provider, json!({})).await;
        self.consent(&begun).await;
        self.token(&id).await;
        id
    }

    /// What an answer with a credential brought.
    pub fn credential(&mut self, payload: &Value) {
        for name in ["access_token", "id_token"] {
            let secret = payload["credentials"][name].as_str();
            self.search.met(name, secret.unwrap());
        }
    }

    pub async fn token(&mut self, id: &str) {
        let token = self
            .good(Method::GET, &format!("/v1/token/{id}"), Value::Null)
            .await;
        self.credential(&token);
    }

    /// Everything that happens to a connection, good and bad; another one that
    /// stays in use.
    pub async fn live(&mut self, simulator: &Simulator) -> String {
        self.create_provider("acme", simulator).await;
        let created = json!({ "name": "one", "scopes": ["connections:read"] });
        let created = self.good(Method::POST, "/v1/api-keys", created).await;
        self.search
            .met_key("an API key", created["secret"].as_str().unwrap());

        let (begun, id) = self.request("acme", json!({})).await;
        self.consent(&begun).await;
        let refresh = format!("/v1/refresh/{id}");
        for _ in 0..2 {
            self.token(&id).await;
            self.good(Method::POST, &refresh, json!({})).await;
        }
        let again = json!({ "return_url": RETURN_URL });
        let again = self
            .good(
                Method::POST,
                &format!("/v1/connections/{id}:reconnect"),
                again,
            )
            .await;
        self.consent(&again).await;
        self.token(&id).await;

        let key = self.key.clone();
        simulator.fail_next(Endpoint::Token, 1, Failure::error(400, WORDS));
        self.bad(&key, Method::POST, &refresh, "{}").await;
        simulator.fail_next(Endpoint::Token, 1, Failure::Cut);
        self.bad(&key, Method::POST, &refresh, "{}").await;
        self.bad(WRONG_KEY, Method::GET, &format!("/v1/token/{id}"), "")
            .await;
        for malformed in [
            format!("{{\"user_id\": \"{IN_A_BODY}"),
            format!("{{\"return_url\": \"javascript:{IN_A_BODY}\"}}"),
        ] {
            self.bad(&key, Method::POST, "/v1/request-connection", &malformed)
                .await;
        }
        simulator.fail_next(Endpoint::Revocation, 1, Failure::error(503, WORDS));
        self.good(
            Method::POST,
            &format!("/v1/connections/{id}:revoke"),
            json!({}),
        )
        .await;
        self.bad(&key, Method::GET, &format!("/v1/token/{id}"), "")
            .await;

        // One stays open, one stays in use.
        let (open, _) = self.request("acme", json!({})).await;
        self.search
            .met_key("an open state", open["state"].as_str().unwrap());
        self.connect("acme").await
    }
}
