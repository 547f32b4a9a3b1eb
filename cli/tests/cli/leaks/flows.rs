//! Watches, confirmed consents, and ends of providers and workspaces.

use dromos_simulator::{Simulator, SimulatorConfig};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{RETURN_URL, WRONG_CODE, life::Life};

/// A watch's lines, as a REST caller reads them.
struct Watching(reqwest::Response, Vec<u8>);

impl Watching {
    async fn line(&mut self) -> Value {
        let reading = async {
            loop {
                if let Some(end) = self.1.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.1.drain(..=end).collect();
                    return serde_json::from_slice(&line).unwrap();
                }
                let more = self.0.chunk().await.unwrap();
                self.1.extend(more.expect("the watch goes on"));
            }
        };
        let bound = std::time::Duration::from_secs(30);
        tokio::time::timeout(bound, reading).await.unwrap()
    }
}

impl Life {
    async fn watching(&self, id: &str, query: &str) -> Watching {
        let url = format!("{}/v1/connections/{id}:watch?{query}", self.gateway);
        let request = self.http.get(url).bearer_auth(&self.key);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Watching(response, vec![])
    }

    /// Watches a connection, with its credentials and without, to its end.
    pub async fn watch(&mut self) {
        let id = self.connect("acme").await;
        let mut with = self.watching(&id, "include_credentials=true").await;
        let state = with.line().await["result"].take();
        self.credential(&state["payload"]);
        let resume = state["resume_token"].as_str().unwrap();
        let mut without = self.watching(&id, &format!("resume_token={resume}")).await;

        self.good(Method::POST, &format!("/v1/refresh/{id}"), json!({}))
            .await;
        let refreshed = with.line().await["result"].take();
        assert_eq!(refreshed["event_type"], "credential.refreshed");
        self.credential(&refreshed["payload"]);
        let told = without.line().await;
        assert_eq!(told["result"]["event_type"], "credential.refreshed");
        // Whoever watches without credentials is anybody.
        self.search.read("a watch", told.to_string());

        let key = self.key.clone();
        let elsewhere = format!("/v1/connections/{id}:watch?resume_token={WRONG_CODE}");
        self.bad(&key, Method::GET, &elsewhere, "").await;
        self.good(
            Method::POST,
            &format!("/v1/connections/{id}:revoke"),
            json!({}),
        )
        .await;
        for mut watching in [with, without] {
            let revoked = watching.line().await;
            assert_eq!(revoked["result"]["event_type"], "connection.revoked");
            let end = watching.line().await;
            assert!(end["error"]["code"].is_number(), "{end}");
            self.search.read("a watch", format!("{revoked}{end}"));
        }
    }

    /// A consent that waits for its code: the connection, and the code.
    async fn unconfirmed(&mut self) -> (String, String) {
        let (begun, id) = self
            .request("acme", json!({ "require_confirmation": true }))
            .await;
        let end = self.consent(&begun).await;
        let code = end
            .query_pairs()
            .find(|(name, _)| name == "confirmation_code");
        let code = code.expect("a code").1.into_owned();
        self.search.met_key("a confirmation code", &code);
        (id, code)
    }

    /// Consents with confirmation: one that is given, and one that waits on.
    pub async fn confirm(&mut self) {
        let (id, code) = self.unconfirmed().await;
        let path = format!("/v1/connections/{id}:confirm");
        let key = self.key.clone();
        self.bad(&key, Method::GET, &format!("/v1/token/{id}"), "")
            .await;
        let wrong = json!({ "confirmation_code": WRONG_CODE }).to_string();
        self.bad(&key, Method::POST, &path, &wrong).await;
        let code = json!({ "confirmation_code": code });
        let confirmed = self.good(Method::POST, &path, code.clone()).await;
        assert_eq!(confirmed["status"], "ACTIVE");
        self.bad(&key, Method::POST, &path, &code.to_string()).await;
        self.token(&id).await;

        let (waiting, _) = self.unconfirmed().await;
        let path = format!("/v1/connections/{waiting}");
        let connection = self.good(Method::GET, &path, Value::Null).await;
        assert_eq!(connection["reason"], "confirmation_required");
    }

    /// A provider with a connection, and a workspace with all of that and a
    /// webhook, are deleted.
    pub async fn delete(&mut self) {
        let elsewhere = SimulatorConfig {
            client_id: "elsewhere".to_owned(),
            client_secret: "marker of a client secret/elsewhere".to_owned(),
            ..SimulatorConfig::default()
        };
        let elsewhere = Simulator::start_with(elsewhere).await.unwrap();
        self.create_provider("doomed", &elsewhere).await;
        let id = self.connect("doomed").await;
        let admin = self.key.clone();
        let path = "/v1/providers/doomed";
        self.bad(&admin, Method::DELETE, path, "").await;
        let force = format!("{path}?force=true");
        self.good(Method::DELETE, &force, Value::Null).await;
        self.bad(&admin, Method::GET, path, "").await;
        self.bad(&admin, Method::GET, &format!("/v1/token/{id}"), "")
            .await;

        let origin = RETURN_URL.trim_end_matches("/connected");
        let workspace = json!({ "name": "Doomed", "allowed_return_urls": [origin] });
        let workspace = self.good(Method::POST, "/v1/workspaces", workspace).await;
        let workspace = workspace["id"].as_str().unwrap().to_owned();
        let created = json!({ "name": "its", "scopes": ["admin"], "workspace_id": workspace });
        let created = self.good(Method::POST, "/v1/api-keys", created).await;
        let key = created["secret"].as_str().unwrap().to_owned();
        self.search.met_key("a workspace's API key", &key);
        self.key = key.clone();
        self.create_provider("theirs", &elsewhere).await;
        let id = self.connect("theirs").await;
        let webhook = json!({ "url": "http://127.0.0.1:9/nobody" });
        let webhook = self.good(Method::POST, "/v1/webhooks", webhook).await;
        let secret = webhook["secret"].as_str().unwrap();
        self.search
            .met_key("a workspace's webhook's secret", secret);
        self.key = admin.clone();
        let path = format!("/v1/workspaces/{workspace}");
        self.bad(&admin, Method::DELETE, &path, "").await;
        let force = format!("{path}?force=true");
        self.good(Method::DELETE, &force, Value::Null).await;
        self.bad(&admin, Method::GET, &path, "").await;
        self.bad(&key, Method::GET, &format!("/v1/token/{id}"), "")
            .await;
        for secret in elsewhere.secrets() {
            self.search.met("what another provider issued", &secret);
        }
    }
}
