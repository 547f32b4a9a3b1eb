//! Many brokers, many callers, one rotating refresh token for each connection:
//! nobody ever sends a spent one.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::{ADMIN_KEY, Db, SERVICE_KEY, World, http_client, reason};

const BROKERS: usize = 4;
const CLIENTS: usize = 64;
const CONNECTIONS: usize = 200;
const REFRESHES: u64 = 20_000;

/// A `dromos-broker` of its own, on the database of a world.
struct Process {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Process {
    fn start(world: &World) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_dromos-broker"))
            .env_clear()
            .envs(world.settings())
            .env("DATA_DIR", data.path())
            .env("LISTEN", "127.0.0.1:0")
            .env("PUBLIC_LISTEN", "127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut log = BufReader::new(child.stderr.take().expect("its standard error")).lines();
        let address = log
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|line| line["message"] == "the broker serves")
            .and_then(|line| line["internal"].as_str().map(str::to_owned))
            .expect("it says where it serves");
        // A pipe that nobody reads would stop it.
        std::thread::spawn(move || log.for_each(drop));
        Self {
            child,
            url: format!("http://{address}"),
            _data: data,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_refreshes_by_four_brokers_reuse_no_refresh_token() {
    let world = World::start(Db::Postgres).await;
    world.behave(|behaviour| {
        behaviour.rotate_refresh_tokens = true;
        behaviour.revoke_family_on_reuse = true;
    });
    let mut ids = Vec::new();
    for index in 0..CONNECTIONS {
        ids.push(world.connect(&format!("user-{index}")).await);
    }
    let brokers: Vec<Process> = (0..BROKERS).map(|_| Process::start(&world)).collect();
    let before = world.simulator.counts();
    let calls = Arc::new(AtomicU64::new(0));
    let clients = (0..CLIENTS).map(|client| {
        let (world, ids, brokers, calls) = (&world, &ids, &brokers, calls.clone());
        async move {
            let http = http_client();
            // A walk over brokers and connections of its own.
            let mut step = client as u64;
            let mut refused = Vec::new();
            while world.simulator.counts().refreshes - before.refreshes < REFRESHES {
                step = step
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1442695040888963407);
                let id = &ids[(step >> 33) as usize % CONNECTIONS];
                let broker = &brokers[(step >> 17) as usize % BROKERS].url;
                let answer = http
                    .post(format!("{broker}/connections/{id}/refresh"))
                    .bearer_auth(SERVICE_KEY)
                    .header("x-dromos-key", ADMIN_KEY)
                    .json(&json!({}))
                    .send()
                    .await
                    .expect("an answer");
                calls.fetch_add(1, Ordering::Relaxed);
                if answer.status() != StatusCode::OK {
                    let error: Value = answer.json().await.expect("JSON");
                    refused.push(reason(&error).to_owned());
                }
            }
            refused
        }
    });
    let refused: Vec<String> = join_all(clients).await.into_iter().flatten().collect();
    let after = world.simulator.counts();
    let mut inactive = 0;
    for id in &ids {
        if world.check(id).await["status"] != "ACTIVE" {
            inactive += 1;
        }
    }
    println!(
        "{} refreshes in {} calls by {CLIENTS} clients to {BROKERS} brokers: {} reuses, \
         {inactive} of {CONNECTIONS} connections out of ACTIVE, {} calls refused",
        after.refreshes - before.refreshes,
        calls.load(Ordering::Relaxed),
        after.refresh_reuses,
        refused.len()
    );
    assert_eq!(after.refresh_reuses, 0);
    assert_eq!(inactive, 0);
    assert!(
        refused.is_empty(),
        "{:?}",
        &refused[..refused.len().min(10)]
    );
    drop(brokers);
    world.stop().await;
}
