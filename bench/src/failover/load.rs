//! The load: callers who read, refresh and request, and note what they were
//! told is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::services::Dromos;

/// What callers were told is done.
#[derive(Default)]
pub struct Acknowledged {
    /// Connections that RequestConnection answered with.
    pub requested: BTreeSet<String>,
    /// The newest generation that RefreshConnection answered with.
    pub generations: BTreeMap<String, u64>,
    /// How many refreshes were answered.
    pub refreshes: u64,
    /// The request ids of answered GetTokens: each has its audit row.
    pub reads: BTreeSet<String>,
}

/// Callers at work.
pub struct Load {
    dromos: Arc<Dromos>,
    acknowledged: Mutex<Acknowledged>,
    failures: AtomicU64,
    stop: AtomicBool,
    killed: Mutex<Option<Instant>>,
    back: Mutex<BTreeMap<&'static str, Duration>>,
}

/// How many RPCs the load consists of.
pub const KINDS: usize = 3;
/// How many callers request connections.
const WRITERS: usize = 4;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// Callers for these connections; `tasks` ends when they have stopped.
    pub fn start(dromos: Arc<Dromos>, ids: &[String]) -> (Arc<Self>, JoinSet<()>) {
        let load = Arc::new(Self {
            dromos,
            acknowledged: Mutex::default(),
            failures: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            killed: Mutex::default(),
            back: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for (number, id) in ids.iter().enumerate() {
            tasks.spawn(read(load.clone(), id.clone(), number));
            tasks.spawn(refresh(load.clone(), id.clone()));
        }
        for number in 0..WRITERS {
            tasks.spawn(request(load.clone(), number));
        }
        (load, tasks)
    }

    /// From now on good answers say that the service is back.
    pub fn was_cut(&self) {
        *lock(&self.killed) = Some(Instant::now());
    }

    /// Tells the callers to finish.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// When each RPC was first answered well by a call that began after the
    /// cut, counted from there.
    pub fn back(&self) -> BTreeMap<&'static str, Duration> {
        lock(&self.back).clone()
    }

    /// How many calls were answered with an error.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What was acknowledged so far.
    pub fn done(&self) -> MutexGuard<'_, Acknowledged> {
        lock(&self.acknowledged)
    }

    /// Notes how a call ended that was begun at `began`.
    async fn note(&self, kind: &'static str, began: Instant, outcome: Result<()>) {
        if outcome.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
            // Kinder than a loop, ruder than the RetryInfo asks for.
            sleep(Duration::from_millis(100)).await;
            return;
        }
        let killed = *lock(&self.killed);
        // A call that was under way may have been answered before the cut.
        if let Some(killed) = killed.filter(|killed| began > *killed) {
            lock(&self.back)
                .entry(kind)
                .or_insert_with(|| killed.elapsed());
        }
    }
}

async fn read(load: Arc<Load>, id: String, reader: usize) {
    let mut count = 0_u64;
    while !load.stopped() {
        count += 1;
        let request_id = format!("read-{reader}-{count}");
        let began = Instant::now();
        let outcome = load.dromos.generation(&id, &request_id).await;
        if outcome.is_ok() {
            load.done().reads.insert(request_id);
        }
        load.note("GetToken", began, outcome.map(drop)).await;
    }
}

async fn refresh(load: Arc<Load>, id: String) {
    while !load.stopped() {
        let began = Instant::now();
        let path = format!("/v1/refresh/{id}");
        let answer = load.dromos.call(Method::POST, &path, Some(json!({}))).await;
        let outcome = answer.and_then(|answer| {
            let generation = answer["generation"].as_u64().context("a generation")?;
            let mut done = load.done();
            done.refreshes += 1;
            let newest = done.generations.entry(id.clone()).or_default();
            *newest = generation.max(*newest);
            Ok(())
        });
        load.note("RefreshConnection", began, outcome).await;
    }
}

async fn request(load: Arc<Load>, writer: usize) {
    let mut count = 0_u64;
    while !load.stopped() {
        count += 1;
        let began = Instant::now();
        let user = format!("new-{writer}-{count}");
        let answer = load.dromos.request_connection(&user).await;
        let outcome = answer.and_then(|answer| {
            let id = answer["connection_id"].as_str().context("an id")?;
            load.done().requested.insert(id.to_owned());
            Ok(())
        });
        load.note("RequestConnection", began, outcome).await;
    }
}
