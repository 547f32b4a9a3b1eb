//! A broker that dies, as from a power cut, at every point along the refresh
//! and the callback, and is started again: no connection is lost.
//!
//! The broker that dies is this test program, run again as a process that
//! wires the same broker with a failpoint that aborts; every broker before and
//! after it is the real `dromos-broker`.

use std::{
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use dromos_broker::{
    Broker, Config,
    domain::failpoint::{Failpoint, Failpoints},
};
use dromos_serve::Settings;
use dromos_simulator::{
    Behaviour, Endpoint, Simulator,
    browser::{self, Browser},
};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    database::Database,
    startup::{ENCRYPTION_KEY, STATE_KEY},
    world::{
        ADMIN_KEY, Db, RETURN_URL, SERVICE_KEY, create_database, eventually, http_client, on_both,
        reason,
    },
};

const FAILPOINT: &str = "TEST_DIES_AT";
const HITS: &str = "TEST_DIES_AT_HIT";
/// How many connections are under way when a broker dies.
const AT_ONCE: usize = 4;

/// Not a test: what [`Process::dying`] runs, in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies() {
    let Ok(point) = std::env::var(FAILPOINT) else {
        return;
    };
    let hits: u32 = std::env::var(HITS).expect("a number").parse().expect("one");
    let seen = AtomicU32::new(0);
    let mut config =
        Config::from_settings(&Settings::load(None).expect("settings")).expect("good settings");
    config.ambient.failpoints = Failpoints::calling(move |at| {
        if at.as_str() == point && seen.fetch_add(1, Ordering::SeqCst) + 1 == hits {
            // No destructor runs, nothing is flushed.
            std::process::abort();
        }
    });
    let broker = Broker::bind(config).await.expect("it starts");
    broker.run(std::future::pending()).await;
}

struct Process(Child);

impl Process {
    fn real(settings: &[(String, String)]) -> Self {
        Self::spawn(
            Command::new(env!("CARGO_BIN_EXE_dromos-broker")),
            settings,
            &[],
        )
    }

    /// Dies when a point is reached this many times.
    fn dying(settings: &[(String, String)], point: Failpoint, hits: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "crashes::a_broker_that_dies", "--nocapture"]);
        let hits = hits.to_string();
        Self::spawn(
            command,
            settings,
            &[(FAILPOINT, point.as_str()), (HITS, &hits)],
        )
    }

    fn spawn(mut command: Command, settings: &[(String, String)], more: &[(&str, &str)]) -> Self {
        let child = command
            .env_clear()
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .envs(more.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("it runs"))
    }

    async fn has_died(&mut self) {
        let child = std::sync::Mutex::new(&mut self.0);
        eventually("the broker's death", async || {
            let mut child = child.lock().expect("the child");
            child.try_wait().expect("a child").is_some()
        })
        .await;
        let status = self.0.wait().expect("a child");
        assert_eq!(status.code(), None, "killed by a signal: {status}");
    }

    fn kill(mut self) {
        self.0.kill().expect("it is killed");
        self.0.wait().expect("a child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A database, a provider, and the settings of the brokers that come and go.
struct Scene {
    simulator: Simulator,
    dir: tempfile::TempDir,
    database_url: String,
    url: String,
    settings: Vec<(String, String)>,
    http: reqwest::Client,
}

impl Scene {
    async fn new(db: Db) -> Self {
        let simulator = Simulator::start(Behaviour::default())
            .await
            .expect("the simulator starts");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let database_url = match db {
            Db::Sqlite => dir.path().join("dromos.db").display().to_string(),
            Db::Postgres => create_database().await,
        };
        let [internal, public] = free_ports();
        let data = dir.path().join("data").display().to_string();
        let settings = [
            ("DATABASE_URL", database_url.as_str()),
            ("DATA_DIR", &data),
            ("BASE_URL", &format!("http://127.0.0.1:{public}")),
            ("LISTEN", &format!("127.0.0.1:{internal}")),
            ("PUBLIC_LISTEN", &format!("127.0.0.1:{public}")),
            ("API_KEYS", SERVICE_KEY),
            ("STATE_KEY", STATE_KEY),
            ("ENCRYPTION_KEY", ENCRYPTION_KEY),
            ("BOOTSTRAP_ADMIN_KEY", ADMIN_KEY),
            ("ALLOW_PRIVATE_NETWORKS", "true"),
            ("ALLOWED_RETURN_URLS", "http://127.0.0.1:9"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let migrated = Command::new(env!("CARGO_BIN_EXE_dromos-broker"))
            .arg("migrate")
            .env_clear()
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .status();
        assert!(migrated.expect("it runs").success());
        Self {
            simulator,
            dir,
            database_url,
            url: format!("http://127.0.0.1:{internal}"),
            settings,
            http: http_client(),
        }
    }

    /// A real broker that answers; what was left in the journal is stored.
    async fn start(&self) -> Process {
        self.ready(Process::real(&self.settings)).await
    }

    async fn ready(&self, process: Process) -> Process {
        eventually("the broker is ready", async || {
            let answer = self.http.get(format!("{}/readyz", self.url)).send().await;
            answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
        })
        .await;
        process
    }

    /// The broker's own REST, as a gateway would call it; none where it died.
    async fn call(&self, method: Method, path: &str, body: Value) -> Option<(StatusCode, Value)> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(SERVICE_KEY)
            .header("x-dromos-key", ADMIN_KEY);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status();
        Some((status, answer.json().await.ok()?))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self
            .call(Method::POST, path, body)
            .await
            .expect("an answer");
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    async fn refresh(&self, id: &str) -> Option<(StatusCode, Value)> {
        let path = format!("/connections/{id}/refresh");
        self.call(Method::POST, &path, json!({})).await
    }

    async fn token(&self, id: &str) -> (StatusCode, Value) {
        let path = format!("/connections/{id}/token");
        let answer = self.call(Method::GET, &path, Value::Null).await;
        answer.expect("an answer")
    }

    async fn status(&self, id: &str) -> String {
        let path = format!("/connections/{id}/status");
        let (_, checked) = self
            .call(Method::GET, &path, Value::Null)
            .await
            .expect("an answer");
        checked["status"].as_str().unwrap_or_default().to_owned()
    }

    async fn create_provider(&self) {
        let provider = json!({
            "name": "sim",
            "oauth2": {
                "issuer": self.simulator.url(),
                "client_id": self.simulator.client_id(),
                "client_secret": self.simulator.client_secret(),
                "scopes": ["openid", "offline_access"],
            },
            "strategy": { "type": "oauth2" },
        });
        let created = self.post("/v1/providers", provider).await;
        let redirect_uri = created["redirect_uri"].as_str().expect("a redirect_uri");
        self.simulator.allow_redirect_uri(redirect_uri);
    }

    /// A consent that was begun: the connection's id, and where to go.
    async fn begin(&self) -> (String, String) {
        let body = json!({ "user_id": "user-1", "provider_name": "sim", "return_url": RETURN_URL });
        begun(&self.post("/auth/consent-spec", body).await)
    }

    async fn begin_again(&self, id: &str) -> (String, String) {
        let path = format!("/connections/{id}/reconnect");
        begun(&self.post(&path, json!({ "return_url": RETURN_URL })).await)
    }

    async fn connect(&self) -> String {
        let (id, auth_url) = self.begin().await;
        assert!(consent(&auth_url).await, "the consent succeeds");
        id
    }

    /// Time passes for the leases, and for nothing else.
    async fn let_leases_run_out(&self) {
        let mut database = Database::open(&self.database_url).await;
        let past = database.time("2020-01-01 00:00:00");
        database
            .execute(&format!(
                "update credentials set lease_until = {past} where lease_until is not null"
            ))
            .await;
    }

    /// Entries that are durable.
    fn journal(&self) -> usize {
        let folder = self.dir.path().join("data").join("journal");
        let files = std::fs::read_dir(folder).expect("a folder");
        let names = files.map(|file| file.expect("a file").path());
        names
            .filter(|path| path.extension().is_some_and(|end| end == "entry"))
            .count()
    }
}

fn begun(answer: &Value) -> (String, String) {
    let text = |name: &str| answer[name].as_str().expect("a text").to_owned();
    (text("connection_id"), text("auth_url"))
}

/// Whether the browser came back to the application with a success.
async fn consent(auth_url: &str) -> bool {
    let mut browser = Browser::new();
    let end = browser.walk(auth_url, RETURN_URL, browser::approve).await;
    end.is_ok_and(|end| end.query().unwrap_or_default().contains("status=success"))
}

fn free_ports() -> [u16; 2] {
    [(); 2]
        .map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .map(|listener| listener.local_addr().expect("an address").port())
}

/// How connections came out of a crash.
#[derive(Debug, Default)]
struct Tally {
    /// With the new credential.
    renewed: usize,
    /// With the old one; nothing was sent, or nobody knows what came of it.
    kept: usize,
    /// The outcome is recorded as unknown; the valid token is served.
    uncertain: usize,
    /// A new connection whose consent has to be given once more.
    unfinished: usize,
    lost: usize,
}

impl Scene {
    /// How a connection that had this generation came out.
    async fn judge(&self, id: &str, before: u64, tally: &mut Tally) {
        let (status, token) = self.token(id).await;
        if before == 0 && self.status(id).await == "PENDING" {
            tally.unfinished += 1;
            return;
        }
        let generation = token["generation"].as_u64().unwrap_or_default();
        if status != StatusCode::OK || self.status(id).await != "ACTIVE" {
            tally.lost += 1;
            return;
        }
        let (status, refreshed) = self.refresh(id).await.expect("an answer");
        let good =
            status == StatusCode::OK && refreshed["generation"].as_u64() == Some(generation + 1);
        if good && generation == before + 1 {
            tally.renewed += 1;
        } else if good && generation == before {
            tally.kept += 1;
        } else if reason(&refreshed) == "REFRESH_UNCERTAIN" && generation == before {
            tally.uncertain += 1;
        } else {
            tally.lost += 1;
        }
    }

    async fn judge_all(&self, ids: &[(String, u64)]) -> Tally {
        self.let_leases_run_out().await;
        let mut tally = Tally::default();
        for (id, before) in ids {
            self.judge(id, *before, &mut tally).await;
        }
        assert_eq!(self.journal(), 0, "all of it was replayed");
        assert_eq!(self.simulator.counts().refresh_reuses, 0);
        tally
    }
}

async fn refreshes_die(scene: &Scene, point: Failpoint) -> Tally {
    let broker = scene.start().await;
    let ids = join_all((0..AT_ONCE).map(|_| scene.connect())).await;
    broker.kill();
    let mut dying = scene
        .ready(Process::dying(&scene.settings, point, AT_ONCE))
        .await;
    join_all(ids.iter().map(|id| scene.refresh(id))).await;
    dying.has_died().await;
    let _again = scene.start().await;
    let ids: Vec<_> = ids.into_iter().map(|id| (id, 1)).collect();
    scene.judge_all(&ids).await
}

async fn callbacks_die(scene: &Scene, point: Failpoint) -> Tally {
    let broker = scene.start().await;
    let mut begun = vec![];
    for n in 0..AT_ONCE {
        // Half of them new, half of them reconnects.
        if n % 2 == 0 {
            begun.push((scene.begin().await, 0));
        } else {
            let id = scene.connect().await;
            begun.push((scene.begin_again(&id).await, 1));
        }
    }
    broker.kill();
    let mut dying = scene
        .ready(Process::dying(&scene.settings, point, AT_ONCE))
        .await;
    join_all(begun.iter().map(|((_, auth_url), _)| consent(auth_url))).await;
    dying.has_died().await;
    let _again = scene.start().await;
    let ids: Vec<_> = begun
        .into_iter()
        .map(|((id, _), before)| (id, before))
        .collect();
    scene.judge_all(&ids).await
}

on_both!(
    a_broker_killed_at_any_failpoint_loses_no_connection,
    |db: Db| async move {
        let scene = Scene::new(db).await;
        let broker = scene.start().await;
        scene.create_provider().await;
        broker.kill();
        for &point in Failpoint::ALL {
            let of_a_consent = point.as_str().starts_with("consent");
            let tally = if of_a_consent {
                callbacks_die(&scene, point).await
            } else {
                refreshes_die(&scene, point).await
            };
            println!("{db:?} {:<18} {tally:?}", point.as_str());
            assert_eq!(tally.lost, 0, "{point:?}");
            let is_durable = !matches!(
                point,
                Failpoint::RefreshClaimed
                    | Failpoint::RefreshAnswered
                    | Failpoint::JournalWritten
                    | Failpoint::ConsentSpent
                    | Failpoint::ConsentAnswered
            );
            if is_durable {
                assert_eq!(tally.renewed, AT_ONCE, "{point:?}: {tally:?}");
            }
        }
    }
);

on_both!(
    a_broker_killed_while_the_provider_works_leaves_a_recorded_unknown_outcome,
    |db: Db| async move {
        let scene = Scene::new(db).await;
        let broker = scene.start().await;
        scene.create_provider().await;
        let ids = join_all((0..AT_ONCE).map(|_| scene.connect())).await;
        let gate = scene.simulator.gate_answers(Endpoint::Token);
        tokio::select! {
            answers = join_all(ids.iter().map(|id| scene.refresh(id))) => panic!("held, but {answers:?}"),
            () = gate.arrivals(AT_ONCE as u64) => {}
        }
        broker.kill();
        gate.release();
        let _again = scene.start().await;
        let ids: Vec<_> = ids.into_iter().map(|id| (id, 1)).collect();
        let tally = scene.judge_all(&ids).await;
        println!("{db:?} sent, not answered {tally:?}");
        assert_eq!((tally.uncertain, tally.lost), (AT_ONCE, 0), "{tally:?}");
    }
);

on_both!(
    a_broker_killed_during_its_commits_loses_no_tokens,
    |db: Db| async move {
        let scene = Scene::new(db).await;
        let broker = scene.start().await;
        scene.create_provider().await;
        let ids = join_all((0..AT_ONCE).map(|_| scene.connect())).await;
        let gate = scene.simulator.gate_answers(Endpoint::Token);
        let refreshes = join_all(ids.iter().map(|id| scene.refresh(id)));
        let mut database = Database::open(&scene.database_url).await;
        let dies = async {
            gate.arrivals(AT_ONCE as u64).await;
            // Their rows are locked: every commit begins, and none ends.
            database
                .execute(match db {
                    Db::Sqlite => "begin immediate",
                    Db::Postgres => "begin; select 1 from connections for update",
                })
                .await;
            gate.release();
            eventually("all answers are journalled", async || {
                scene.journal() == AT_ONCE
            })
            .await;
            if matches!(db, Db::Postgres) {
                let mut watch = Database::open(&scene.database_url).await;
                let waiting = "select count(*)::text as line from pg_stat_activity \
                               where datname = current_database() and wait_event_type = 'Lock'";
                let all = vec![AT_ONCE.to_string()];
                while watch.lines(waiting).await != all {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            broker.kill();
            database.execute("rollback").await;
        };
        tokio::join!(refreshes, dies);
        let _again = scene.start().await;
        let ids: Vec<_> = ids.into_iter().map(|id| (id, 1)).collect();
        let tally = scene.judge_all(&ids).await;
        println!("{db:?} killed during the commit {tally:?}");
        assert_eq!((tally.renewed, tally.lost), (AT_ONCE, 0), "{tally:?}");
    }
);
