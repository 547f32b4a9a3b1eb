//! A whole system in this process: simulator, broker, gateway, one database.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};
use dromos_broker::{
    Broker, Config,
    domain::{
        ambient::{Ambient, Clock},
        failpoint::{Failpoint, Failpoints},
    },
    flow::Core,
};
use dromos_gateway::Gateway;
use dromos_serve::Settings;
use dromos_simulator::{
    Behaviour, Simulator, SimulatorConfig,
    browser::{self, Browser},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

/// Made up; the world's bootstrap key.
pub const ADMIN_KEY: &str = "admin-key-of-the-tests-0123456789abcdef";
/// Made up; what the gateway proves itself with.
pub const SERVICE_KEY: &str = "service-key-of-the-tests-0123456789";
/// Where consents end. Nothing listens there.
pub const RETURN_URL: &str = "http://127.0.0.1:9/done";

/// A connection to an SQLite file, beside the broker's own.
pub type SqliteConnection =
    diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>;

/// Which database a world has.
#[derive(Debug, Clone, Copy)]
pub enum Db {
    Sqlite,
    Postgres,
}

/// Runs a test's body on both databases: `both!(name, |world| async { … })`
/// makes `name::sqlite` and `name::postgres`.
macro_rules! both {
    ($(#[$meta:meta])* $name:ident, $body:expr) => {
        $(#[$meta])*
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let body = $body;
                let world = $crate::world::World::start($crate::world::Db::Sqlite).await;
                body(world).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let body = $body;
                let world = $crate::world::World::start($crate::world::Db::Postgres).await;
                body(world).await;
            }
        }
    };
}
pub(crate) use both;

/// The same for a body that makes its own world: it gets the database's kind.
macro_rules! on_both {
    ($(#[$meta:meta])* $name:ident, $body:expr) => {
        $(#[$meta])*
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let body = $body;
                body($crate::world::Db::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let body = $body;
                body($crate::world::Db::Postgres).await;
            }
        }
    };
}
pub(crate) use on_both;

/// A clock that stands still until it is moved; or the machine's, which a test
/// needs beside a counterpart that has no other.
#[derive(Clone)]
pub struct TestClock(Option<Arc<Mutex<DateTime<Utc>>>>);

impl TestClock {
    pub fn new() -> Self {
        let start = DateTime::from_timestamp_micros(Utc::now().timestamp_micros()).expect("now");
        Self(Some(Arc::new(Mutex::new(start))))
    }

    pub fn of_the_machine() -> Self {
        Self(None)
    }

    pub fn advance(&self, seconds: i64) {
        let still = self.0.as_ref().expect("the machine's clock can't be moved");
        *still.lock().expect("the clock") += TimeDelta::seconds(seconds);
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Some(still) => *still.lock().expect("the clock"),
            None => Utc::now(),
        }
    }
}

/// Where refreshes and callbacks come to grief: whoever gets there panics,
/// which ends its task as a killed process would end all of them.
#[derive(Clone, Default)]
pub struct Mishaps(Arc<Mutex<Vec<Failpoint>>>);

impl Mishaps {
    /// The next one who gets there.
    pub fn next(&self, point: Failpoint) {
        self.0.lock().expect("the list").push(point);
    }

    fn failpoints(&self) -> Failpoints {
        let points = self.0.clone();
        Failpoints::calling(move |point| {
            let met = {
                let mut points = points.lock().expect("the list");
                let met = points.iter().position(|next| *next == point);
                met.map(|at| points.remove(at))
            };
            assert!(met.is_none(), "a mishap of the test's: {point:?}");
        })
    }
}

/// A system, and what a test does with it.
pub struct World {
    pub mishaps: Mishaps,
    pub simulator: Simulator,
    pub clock: TestClock,
    pub gateway_url: String,
    pub broker_url: String,
    pub public_url: String,
    pub database_url: String,
    pub core: Arc<Core>,
    pub http: reqwest::Client,
    pub data_dir: tempfile::TempDir,
    settings: Vec<(String, String)>,
    stop: Vec<oneshot::Sender<()>>,
    running: Vec<JoinHandle<()>>,
}

impl World {
    /// A system with a provider called `sim`.
    pub async fn start(db: Db) -> Self {
        let world = Self::start_empty(db, &[]).await;
        world.create_provider("sim", json!({})).await;
        world
    }

    /// A system without a provider, with settings of its own.
    pub async fn start_empty(db: Db, settings: &[(&str, &str)]) -> Self {
        Self::start_with_clock(db, TestClock::new(), settings).await
    }

    /// The same, by a clock of the test's choice.
    pub async fn start_with_clock(db: Db, clock: TestClock, settings: &[(&str, &str)]) -> Self {
        let simulated = {
            let clock = clock.clone();
            dromos_simulator::Clock::following(Arc::new(move || SystemTime::from(clock.now())))
        };
        let simulator = Simulator::start_with(SimulatorConfig {
            clock: simulated,
            ..SimulatorConfig::default()
        })
        .await
        .expect("the simulator starts");
        let data_dir = tempfile::tempdir().expect("a temporary folder");
        let database_url = match db {
            Db::Sqlite => data_dir.path().join("dromos.db").display().to_string(),
            Db::Postgres => create_database().await,
        };

        let own_data = data_dir.path().display().to_string();
        let public = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let public_url = format!("http://{}", public.local_addr().expect("an address"));
        let mut all = vec![
            ("DATABASE_URL", database_url.as_str()),
            ("DATA_DIR", own_data.as_str()),
            ("BASE_URL", public_url.as_str()),
            ("LISTEN", "127.0.0.1:0"),
            ("API_KEYS", SERVICE_KEY),
            ("STATE_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
            (
                "ENCRYPTION_KEY",
                "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=",
            ),
            ("BOOTSTRAP_ADMIN_KEY", ADMIN_KEY),
            ("ALLOW_PRIVATE_NETWORKS", "true"),
        ];
        all.retain(|entry| settings.iter().all(|own| own.0 != entry.0));
        all.extend(settings.iter().filter(|own| !own.1.is_empty()));
        let settings = owned(&all);
        let mut config = Config::from_settings(&Settings::from_map(all)).expect("good settings");
        config.development = true;
        config.redis_patience = crate::shared::PATIENT;
        config.background = false;
        config.migrate = true;
        config.public_listener = Some(public);
        let mishaps = Mishaps::default();
        config.ambient = Ambient {
            clock: Arc::new(clock.clone()),
            failpoints: mishaps.failpoints(),
            ..Ambient::system()
        };
        let broker = Broker::bind(config).await.expect("the broker starts");
        let core = broker.core().clone();
        let broker_url = format!("http://{}", broker.internal_addr());

        let gateway = dromos_gateway::Config::new("127.0.0.1:0", broker_url.clone(), SERVICE_KEY);
        let gateway = Gateway::bind(gateway).await.expect("the gateway starts");
        let gateway_url = format!("http://{}", gateway.local_addr());
        let mut world = Self {
            mishaps,
            simulator,
            clock,
            gateway_url,
            broker_url,
            public_url,
            database_url,
            core,
            http: http_client(),
            data_dir,
            settings,
            stop: vec![],
            running: vec![],
        };
        let stopped = world.stopper();
        world.running.push(tokio::spawn(gateway.run(stopped)));
        let stopped = world.stopper();
        world.running.push(tokio::spawn(broker.run(stopped)));
        world
    }

    fn stopper(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop.push(stop);
        async move {
            let _ = stopped.await;
        }
    }

    /// Stops gateway and broker, and waits until they have.
    pub async fn stop(mut self) {
        self.stop.clear();
        for running in self.running.drain(..) {
            running.await.expect("it ends well");
        }
    }

    /// Stops gateway and broker alone, once what is in flight has ended.
    pub async fn halt(&mut self) {
        self.stop.clear();
        for running in self.running.drain(..) {
            running.await.expect("it ends well");
        }
    }

    /// Starts gateway and broker again after [`World::halt`], on the same
    /// database and the same public address, with some settings changed.
    pub async fn resume(&mut self, settings: &[(&str, &str)]) {
        let address = self.public_url.trim_start_matches("http://").to_owned();
        let listener = std::net::TcpListener::bind(address).expect("the address is free again");
        let Joined {
            gateway_url,
            broker_url,
            core,
            stop,
            running,
            ..
        } = self.start_another(settings, Some(listener)).await;
        self.gateway_url = gateway_url;
        self.broker_url = broker_url;
        self.core = core;
        self.stop = stop;
        self.running = running;
    }

    /// The settings that its broker was started with.
    pub fn settings(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }

    /// Another broker, with its gateway, on the database of this one.
    pub async fn join(&self) -> Joined {
        self.join_with(&[]).await
    }

    /// The same, with some settings changed. Its data folder is its own.
    pub async fn join_with(&self, settings: &[(&str, &str)]) -> Joined {
        let own = format!("other-{}", uuid::Uuid::now_v7());
        let own = self.data_dir.path().join(own).display().to_string();
        let mut all = vec![("DATA_DIR", own.as_str())];
        all.extend(settings);
        self.start_another(&all, None).await
    }

    async fn start_another(
        &self,
        settings: &[(&str, &str)],
        public: Option<std::net::TcpListener>,
    ) -> Joined {
        let mut all: Vec<(&str, &str)> = self
            .settings
            .iter()
            .map(|entry| (entry.0.as_str(), entry.1.as_str()))
            .collect();
        all.push(("PUBLIC_LISTEN", "127.0.0.1:0"));
        all.retain(|entry| settings.iter().all(|own| own.0 != entry.0));
        all.extend(settings.iter().filter(|own| !own.1.is_empty()));
        let mut config = Config::from_settings(&Settings::from_map(all)).expect("good settings");
        config.development = true;
        config.redis_patience = crate::shared::PATIENT;
        config.background = false;
        config.public_listener = public;
        config.ambient = Ambient {
            clock: Arc::new(self.clock.clone()),
            failpoints: self.mishaps.failpoints(),
            ..Ambient::system()
        };
        let broker = Broker::bind(config).await.expect("the broker starts");
        let core = broker.core().clone();
        let broker_url = format!("http://{}", broker.internal_addr());
        let gateway = dromos_gateway::Config::new("127.0.0.1:0", broker_url.clone(), SERVICE_KEY);
        let gateway = Gateway::bind(gateway).await.expect("the gateway starts");
        let gateway_url = format!("http://{}", gateway.local_addr());
        let (stop_gateway, gateway_stopped) = oneshot::channel::<()>();
        let (stop_broker, broker_stopped) = oneshot::channel::<()>();
        let running = vec![
            tokio::spawn(gateway.run(async move {
                let _ = gateway_stopped.await;
            })),
            tokio::spawn(broker.run(async move {
                let _ = broker_stopped.await;
            })),
        ];
        Joined {
            gateway_url,
            broker_url,
            core,
            http: self.http.clone(),
            stop: vec![stop_gateway, stop_broker],
            running,
        }
    }

    /// Creates a provider for the simulator; `changes` go over its JSON, those
    /// of `oauth2` one by one.
    pub async fn create_provider(&self, name: &str, changes: Value) -> Value {
        let (status, provider) = self.try_create_provider(name, changes).await;
        assert_eq!(status, StatusCode::OK, "{provider}");
        self.simulator
            .allow_redirect_uri(provider["redirect_uri"].as_str().expect("a redirect_uri"));
        provider
    }

    /// The same, whatever comes of it.
    pub async fn try_create_provider(&self, name: &str, changes: Value) -> (StatusCode, Value) {
        let mut provider = json!({
            "name": name,
            "display_name": "Simulated",
            "oauth2": {
                "issuer": self.simulator.url(),
                "client_id": self.simulator.client_id(),
                "client_secret": self.simulator.client_secret(),
                "scopes": ["openid", "offline_access"],
            },
            "strategy": { "type": "oauth2" },
        });
        merge(&mut provider, changes);
        self.call(Method::POST, "/v1/providers", provider).await
    }

    /// A REST call to the gateway with the admin key.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        self.call_as(ADMIN_KEY, method, path, body).await
    }

    /// A REST call to the gateway with another key.
    pub async fn call_as(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        rest(&self.http, &self.gateway_url, key, method, path, body).await
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, body).await
    }

    /// Requests a connection to `sim`: the whole answer.
    pub async fn request_connection(&self, user_id: &str) -> Value {
        self.request_connection_to("sim", user_id).await
    }

    pub async fn request_connection_to(&self, provider: &str, user_id: &str) -> Value {
        let body =
            json!({ "user_id": user_id, "provider_name": provider, "return_url": RETURN_URL });
        let (status, begun) = self.post("/v1/request-connection", body).await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        begun
    }

    /// A browser goes from `auth_url` through the provider's consent page to
    /// `return_url`.
    pub async fn consent(&self, begun: &Value) -> url::Url {
        let mut browser = Browser::new();
        self.consent_in(&mut browser, begun).await
    }

    pub async fn consent_in(&self, browser: &mut Browser, begun: &Value) -> url::Url {
        let auth_url = begun["auth_url"].as_str().expect("an auth_url");
        browser
            .walk(auth_url, RETURN_URL, browser::approve)
            .await
            .expect("the browser arrives")
    }

    /// An ACTIVE connection of `user_id` to `sim`: its id.
    pub async fn connect(&self, user_id: &str) -> String {
        self.connect_to("sim", user_id).await
    }

    pub async fn connect_to(&self, provider: &str, user_id: &str) -> String {
        let begun = self.request_connection_to(provider, user_id).await;
        let end = self.consent(&begun).await;
        assert_eq!(query(&end, "status").as_deref(), Some("success"), "{end}");
        begun["connection_id"].as_str().expect("an id").to_owned()
    }

    pub async fn check(&self, id: &str) -> Value {
        let (status, checked) = self.get(&format!("/v1/check-connection/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{checked}");
        checked
    }

    pub async fn token(&self, id: &str) -> (StatusCode, Value) {
        self.get(&format!("/v1/token/{id}")).await
    }

    pub async fn refresh(&self, id: &str, body: Value) -> (StatusCode, Value) {
        self.post(&format!("/v1/refresh/{id}"), body).await
    }

    /// Audit events of an action, oldest first.
    pub async fn audit(&self, action: &str) -> Vec<Value> {
        let (status, page) = self
            .get(&format!("/v1/audit?action={action}&page_size=1000"))
            .await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["audit_events"].as_array().expect("a list").clone()
    }

    /// A key with these scopes: its secret.
    pub async fn api_key(&self, scopes: &[&str]) -> String {
        let (status, created) = self
            .post("/v1/api-keys", json!({ "name": "test", "scopes": scopes }))
            .await;
        assert_eq!(status, StatusCode::OK, "{created}");
        created["secret"].as_str().expect("a secret").to_owned()
    }

    /// Runs statements on the database, behind the broker's back.
    pub async fn sql(&self, statements: &str) {
        use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
        if self.database_url.starts_with("postgres") {
            let connection = AsyncPgConnection::establish(&self.database_url).await;
            let mut connection = connection.expect("PostgreSQL answers");
            connection.batch_execute(statements).await
        } else {
            let mut connection = SqliteConnection::establish(&self.database_url)
                .await
                .expect("the file opens");
            let patient = format!("pragma busy_timeout = 5000; {statements}");
            connection.batch_execute(&patient).await
        }
        .expect("the statements run");
    }

    /// SQLite: nobody can write for as long as the answer is kept.
    pub async fn lock_database(&self) -> SqliteConnection {
        use diesel_async::{AsyncConnection, SimpleAsyncConnection};
        let mut connection = SqliteConnection::establish(&self.database_url)
            .await
            .expect("the file opens");
        connection
            .batch_execute("pragma busy_timeout = 5000; begin immediate")
            .await
            .expect("the lock");
        connection
    }

    /// PostgreSQL: the database is gone, and everybody's connections with it.
    pub async fn drop_database(&self) {
        use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
        let server = std::env::var("TEST_POSTGRES_URL").expect("create_database needed it");
        let url = url::Url::parse(&self.database_url).expect("a URL");
        let name = url.path().trim_start_matches('/');
        let mut connection = AsyncPgConnection::establish(&server)
            .await
            .expect("PostgreSQL answers");
        connection
            .batch_execute(&format!("drop database if exists {name} with (force)"))
            .await
            .expect("it is dropped");
    }

    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        self.simulator.change(change);
    }
}

/// Another broker and its gateway on a world's database.
pub struct Joined {
    pub gateway_url: String,
    pub broker_url: String,
    pub core: Arc<Core>,
    http: reqwest::Client,
    stop: Vec<oneshot::Sender<()>>,
    running: Vec<JoinHandle<()>>,
}

impl Joined {
    /// A REST call to its gateway with the admin key.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        rest(&self.http, &self.gateway_url, ADMIN_KEY, method, path, body).await
    }

    /// The same with another key.
    pub async fn call_as(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        rest(&self.http, &self.gateway_url, key, method, path, body).await
    }

    pub async fn token(&self, id: &str) -> (StatusCode, Value) {
        self.call(Method::GET, &format!("/v1/token/{id}"), Value::Null)
            .await
    }

    pub async fn refresh(&self, id: &str, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, &format!("/v1/refresh/{id}"), body)
            .await
    }

    /// Stops gateway and broker, and waits until they have.
    pub async fn stop(mut self) {
        self.stop.clear();
        for running in self.running.drain(..) {
            running.await.expect("it ends well");
        }
    }
}

async fn rest(
    http: &reqwest::Client,
    base_url: &str,
    key: &str,
    method: Method,
    path: &str,
    body: Value,
) -> (StatusCode, Value) {
    let mut request = http
        .request(method, format!("{base_url}{path}"))
        .bearer_auth(key);
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.expect("the gateway answers");
    let status = response.status();
    let text = response.text().await.expect("a body");
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings
        .iter()
        .map(|entry| (entry.0.to_owned(), entry.1.to_owned()))
        .collect()
}

/// Until `done`, which is asked again and again for at most 30 seconds: for
/// what another task does in its own time.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let asking = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// A detail of a REST error, by the last part of its type's name.
pub fn detail<'a>(error: &'a Value, kind: &str) -> Option<&'a Value> {
    let kind = format!("type.googleapis.com/google.rpc.{kind}");
    error["details"]
        .as_array()?
        .iter()
        .find(|detail| detail["@type"] == kind.as_str())
}

/// When a REST error's RetryInfo wants the call again.
pub fn retry_delay(error: &Value) -> Option<&str> {
    detail(error, "RetryInfo")?["retry_delay"].as_str()
}

/// The ErrorInfo's reason of a REST error.
pub fn reason(error: &Value) -> &str {
    error["details"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo")
        .and_then(|detail| detail["reason"].as_str())
        .unwrap_or_default()
}

/// The fields that a REST error's BadRequest names.
pub fn fields(error: &Value) -> Vec<&str> {
    error["details"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|detail| detail["field_violations"].as_array().into_iter().flatten())
        .filter_map(|violation| violation["field"].as_str())
        .collect()
}

/// A parameter of a URL.
pub fn query(url: &url::Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|pair| pair.0 == name)
        .map(|pair| pair.1.into_owned())
}

pub fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(60))
        .build()
        .expect("a client")
}

fn merge(target: &mut Value, changes: Value) {
    match (target, changes) {
        (Value::Object(target), Value::Object(changes)) => {
            for (name, value) in changes {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, changes) => *target = changes,
    }
}

/// A new, empty database on the PostgreSQL of TEST_POSTGRES_URL.
pub async fn create_database() -> String {
    use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
    let server = std::env::var("TEST_POSTGRES_URL").expect(
        "TEST_POSTGRES_URL names a PostgreSQL server; `cargo xtask test` starts one and sets it",
    );
    let name = format!("t{}", uuid::Uuid::now_v7().simple());
    let mut connection = AsyncPgConnection::establish(&server)
        .await
        .expect("PostgreSQL answers");
    connection
        .batch_execute(&format!("create database {name}"))
        .await
        .expect("a new database");
    let mut url = url::Url::parse(&server).expect("a URL");
    url.set_path(&name);
    url.to_string()
}
