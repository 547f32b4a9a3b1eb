//! The commands that speak to a gateway.

use dromos_proto::v1::{
    RequestConnectionRequest, RequestConnectionResponse,
    connection_service_client::ConnectionServiceClient,
};
use dromos_simulator::{
    Behaviour, Simulator,
    browser::{Browser, approve},
};
use serde_json::{Value, json};
use tonic::{Request, transport::Endpoint};

use crate::support::{PROVIDER, Place, Ran, Up, run_with};

const RETURN_URL: &str = "http://localhost:3000/connected";

/// A running `dromos up`, and commands that speak to it.
struct Running {
    place: Place,
    up: Up,
}

impl Running {
    fn start() -> Self {
        let place = Place::new();
        let up = place.up();
        Self { place, up }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.place.command(arguments);
        command.env("GATEWAY_URL", self.up.gateway());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--output", "json"]);
        serde_json::from_str(&self.run(&arguments).good()).unwrap()
    }

    fn create_provider(&self, provider: &str) -> Value {
        let arguments = ["providers", "create", "-", "-o", "json"];
        let created = run_with(&mut self.command(&arguments), provider);
        serde_json::from_str(&created.good()).unwrap()
    }

    async fn request_connection(&self) -> RequestConnectionResponse {
        let channel = Endpoint::from_shared(self.up.gateway()).unwrap();
        let mut client = ConnectionServiceClient::new(channel.connect().await.unwrap());
        let mut request = Request::new(RequestConnectionRequest {
            user_id: "ada".to_owned(),
            provider_name: "acme".to_owned(),
            return_url: RETURN_URL.to_owned(),
            metadata: [("team".to_owned(), "blue".to_owned())].into(),
            ..RequestConnectionRequest::default()
        });
        let bearer = format!("Bearer {}", self.place.key());
        request
            .metadata_mut()
            .insert("authorization", bearer.parse().unwrap());
        let requested = client.request_connection(request).await;
        requested.unwrap().into_inner()
    }
}

#[test]
fn a_wrong_key_is_told_with_what_to_do() {
    let running = Running::start();
    let key = "dromos_made-up-key-that-nobody-made";
    let mut command = running.command(&["providers", "list"]);
    let ran: Ran = command.env("DROMOS_API_KEY", key).output().unwrap().into();
    let failure = ran.failed(1);
    assert!(failure.contains("UNAUTHENTICATED"), "{failure}");
    assert!(failure.contains("set DROMOS_API_KEY"), "{failure}");
    assert!(!failure.contains(key), "{failure}");
}

#[test]
fn without_a_key_nothing_is_sent() {
    let failure = Place::new().run(&["providers", "list"]).failed(1);
    assert!(failure.contains("DROMOS_API_KEY is not set"), "{failure}");
    assert!(failure.contains("dromos up"), "{failure}");
}

#[test]
fn the_key_of_this_machine_is_not_sent_to_another() {
    let place = Place::new();
    std::fs::create_dir(place.path().join(".dromos")).unwrap();
    std::fs::write(place.data("admin.key"), "dromos_made-up\n").unwrap();
    let list = ["providers", "list", "--gateway-url"];
    let elsewhere = place.run(&[&list[..], &["https://dromos.invalid"]].concat());
    let failure = elsewhere.failed(1);
    assert!(failure.contains("DROMOS_API_KEY is not set"), "{failure}");
    let in_clear = place.run(&[&list[..], &["http://dromos.invalid"]].concat());
    let failure = in_clear.failed(78);
    assert!(failure.contains("must be https"), "{failure}");
}

#[test]
fn an_unreachable_gateway_is_told_with_what_to_start() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", holder.local_addr().unwrap());
    drop(holder);
    let place = Place::new();
    let mut command = place.command(&["providers", "list", "--gateway-url", &nobody]);
    let ran: Ran = command
        .env("DROMOS_API_KEY", "made-up")
        .output()
        .unwrap()
        .into();
    let failure = ran.failed(1);
    assert!(
        failure.contains(&format!("{nobody} can't be reached")),
        "{failure}"
    );
    assert!(failure.contains("is `dromos up` running?"), "{failure}");
}

#[test]
fn a_provider_is_created_looked_at_and_deleted() {
    let running = Running::start();
    let nothing = running.run(&["providers", "list"]).good();
    assert!(nothing.starts_with("No providers."), "{nothing}");

    let file = running.place.path().join("acme.json");
    std::fs::write(&file, PROVIDER).unwrap();
    let created = running.run(&["providers", "create", "acme.json"]).good();
    let redirect = format!("{}/auth/callback/", running.up.address("Public pages"));
    assert!(created.contains(&redirect), "{created}");
    assert!(!created.contains("made-up-secret"), "{created}");

    let list = running.run(&["providers", "list"]).good();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(lines[0].starts_with("NAME  DISPLAY NAME"), "{list}");
    assert!(lines[1].starts_with("acme  Acme"), "{list}");

    let shown = running.json(&["providers", "show", "acme"]);
    assert_eq!(shown["oauth2"]["client_id"], "made-up-client");
    assert!(shown["oauth2"].get("client_secret").is_none());
    assert_eq!(shown["shared_redirect_uri"], false);

    let again = running.run(&["providers", "create", "acme.json"]).failed(1);
    assert!(again.contains("PROVIDER_EXISTS"), "{again}");
    let deleted = running
        .run(&["providers", "delete", "acme", "--yes"])
        .good();
    assert_eq!(deleted, "Deleted acme.\n");
    let gone = running.run(&["providers", "show", "acme"]).failed(1);
    assert!(gone.contains("PROVIDER_NOT_FOUND"), "{gone}");
    assert!(gone.contains("dromos providers list"), "{gone}");
}

#[test]
fn a_misspelt_field_is_refused_by_its_name_before_anything_is_sent() {
    let place = Place::new();
    let text = PROVIDER.replace("client_secret", "client_sekret");
    let ran = run_with(&mut place.command(&["providers", "create", "-"]), &text);
    let failure = ran.failed(1);
    assert!(
        failure.contains("standard input is no provider"),
        "{failure}"
    );
    assert!(failure.contains("no field 'client_sekret'"), "{failure}");
    assert!(!failure.contains("made-up-secret"), "{failure}");
}

#[test]
fn what_the_gateway_finds_wrong_is_told_field_by_field() {
    let running = Running::start();
    let text = PROVIDER.replace("\"acme\"", "\"Not A Name\"");
    let create = ["providers", "create", "-"];
    let failure = run_with(&mut running.command(&create), &text).failed(1);
    assert!(failure.contains("INVALID_ARGUMENT"), "{failure}");
    assert!(failure.contains("name: "), "{failure}");
}

#[test]
fn an_api_key_is_made_with_its_scopes_used_and_deleted() {
    let running = Running::start();
    let created = running.json(&[
        "api-keys",
        "create",
        "--name",
        "watcher",
        "--scope",
        "connections:read,audit:read",
        "--scope",
        "providers:read",
        "--expires-in",
        "30d",
    ]);
    let id = created["api_key"]["id"].as_str().unwrap();
    let secret = created["secret"].as_str().unwrap();
    let mut scopes: Vec<String> =
        serde_json::from_value(created["api_key"]["scopes"].clone()).unwrap();
    scopes.sort();
    assert_eq!(scopes, ["audit:read", "connections:read", "providers:read"]);

    let with_it = |arguments: &[&str]| -> Ran {
        let mut command = running.command(arguments);
        command.env("DROMOS_API_KEY", secret);
        command.output().unwrap().into()
    };
    assert_eq!(
        with_it(&["connections", "list"]).good(),
        "No connections.\n"
    );
    let refused = with_it(&["providers", "delete", "acme"]).failed(1);
    assert!(refused.contains("SCOPE_MISSING"), "{refused}");

    let list = running.run(&["api-keys", "list"]).good();
    // A second that passes meanwhile makes it 29 days and some hours.
    let in_a_month = ["in 30 d", "in 29 d"]
        .iter()
        .any(|told| list.contains(told));
    assert!(list.contains("watcher") && in_a_month, "{list}");
    assert!(!list.contains(secret), "{list}");
    let got = running.run(&["api-keys", "get", id]).good();
    assert!(got.contains("watcher") && !got.contains(secret), "{got}");
    running.run(&["api-keys", "delete", id, "--yes"]).good();
    let gone = running.run(&["api-keys", "get", id]).failed(1);
    assert!(gone.contains("API_KEY_NOT_FOUND"), "{gone}");
}

#[tokio::test]
async fn a_pending_connection_is_listed_and_has_no_token() {
    let running = Running::start();
    running.create_provider(PROVIDER);
    let id = running.request_connection().await.connection_id;

    let list = running
        .run(&["connections", "list", "--status", "pending"])
        .good();
    assert!(
        list.lines()
            .any(|line| line.starts_with(&id) && line.contains("PENDING")),
        "{list}"
    );
    let others = running.json(&["connections", "list", "--user", "grace"]);
    assert_eq!(others, json!({"connections": [], "next_page_token": ""}));
    let got = running.run(&["connections", "get", &id]).good();
    assert!(got.contains("metadata.team  blue"), "{got}");

    let failure = running.run(&["token", &id]).failed(1);
    assert!(failure.contains("CONNECTION_PENDING"), "{failure}");
    assert!(failure.contains("has not consented yet"), "{failure}");

    let used = running.run(&["providers", "delete", "acme"]).failed(1);
    assert!(
        used.contains("PROVIDER_IN_USE") && used.contains("--force"),
        "{used}"
    );
    running
        .run(&["providers", "delete", "acme", "--force"])
        .good();
    let got = running.json(&["connections", "get", &id]);
    assert_eq!(got["status"], "REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_an_active_connection_is_hidden_unless_asked_for() {
    let running = Running::start();
    let simulator = Simulator::start(Behaviour::default()).await.unwrap();
    let provider = json!({
        "name": "acme",
        "oauth2": { "issuer": simulator.url(), "client_id": simulator.client_id(),
                    "client_secret": simulator.client_secret() },
        "strategy": { "type": "oauth2" },
    });
    let created = running.create_provider(&provider.to_string());
    simulator.allow_redirect_uri(created["redirect_uri"].as_str().unwrap());
    let requested = running.request_connection().await;
    let mut browser = Browser::new();
    let end = browser.walk(&requested.auth_url, RETURN_URL, approve).await;
    assert!(end.unwrap().query().unwrap().contains("status=success"));

    let id = requested.connection_id.as_str();
    let payload = running.json(&["token", id]);
    let token = payload["credentials"]["access_token"].as_str().unwrap();
    assert_eq!(payload["strategy"]["type"], "oauth2");
    let length = token.len();
    let hidden = running.run(&["token", id]).good();
    assert!(
        hidden.contains(&format!("•••• ({length} characters)")),
        "{hidden}"
    );
    assert!(!hidden.contains(token), "{hidden}");
    let shown = running.run(&["token", id, "--show-secrets"]).good();
    assert!(shown.contains(token), "{shown}");

    let revoked = running.run(&["connections", "revoke", id, "--yes"]).good();
    assert!(revoked.contains("REVOKED"), "{revoked}");
    let failure = running.run(&["token", id]).failed(1);
    assert!(failure.contains("CONNECTION_REVOKED"), "{failure}");
    let audit = running.run(&["audit", "--connection", id]).good();
    for action in [
        "connection.activated",
        "credential.read",
        "connection.revoked",
    ] {
        assert!(audit.contains(action), "{audit}");
    }
}

#[test]
fn help_and_version_are_there_for_a_newcomer() {
    let place = Place::new();
    let version = place.run(&["--version"]).good();
    assert_eq!(version, format!("dromos {}\n", env!("CARGO_PKG_VERSION")));
    let help = place.run(&["--help"]).good();
    for told in ["demo", "up", "Examples:", "DROMOS_API_KEY"] {
        assert!(help.contains(told), "{told} is missing: {help}");
    }
    let wrong = place.run(&[
        "api-keys",
        "create",
        "--name",
        "a",
        "--scope",
        "admin",
        "--expires-in",
        "soon",
    ]);
    assert!(wrong.failed(2).contains("for instance 90s"));
}

#[test]
fn keys_are_rotated_and_their_state_is_shown() {
    let running = Running::start();
    running.create_provider(PROVIDER);
    let before = running.json(&["keys", "status"]);
    let first = &before["data_keys"][0];
    assert_eq!(
        (&first["active"], &first["rows_left"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(before["key_encryption_keys"][0]["current"], true);

    let rotated = running.json(&["keys", "rotate", "--wait"]);
    assert_eq!(
        (&rotated["target"], &rotated["done"]),
        (&json!("DATA_KEYS"), &json!(1))
    );
    assert!(rotated["finished_at"].is_string(), "{rotated}");
    let after = running.json(&["keys", "status"]);
    let keys = after["data_keys"].as_array().unwrap();
    let state: Vec<_> = keys
        .iter()
        .map(|key| (&key["active"], &key["rows_left"]))
        .collect();
    let (retired, active) = ((&json!(false), &json!(0)), (&json!(true), &json!(0)));
    // The workspace's, and the one that signs the audit.
    assert_eq!(state, [retired, retired, active, active]);

    let wrapped = running.run(&["keys", "rotate", "--kek", "--wait"]).good();
    assert_eq!(
        wrapped,
        "Rotated the key-encryption key: 4 data keys wrapped again.\n"
    );
    let table = running.run(&["keys", "status"]).good();
    for told in [
        "ROWS LEFT",
        "data keys",
        "the key-encryption key",
        "1 of 1",
        "4 of 4",
    ] {
        assert!(table.contains(told), "{table}");
    }
    let workspace = "0198c5f0-7c1e-7000-8000-000000000001";
    let unknown = running
        .run(&["keys", "rotate", "--workspace", workspace])
        .failed(1);
    assert!(unknown.contains("WORKSPACE_NOT_FOUND"), "{unknown}");
}
