//! Data keys are rotated while GetToken is served.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use dromos_proto::v1::{GetTokenRequest, connection_service_client::ConnectionServiceClient};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::{Request, transport::Endpoint};
use uuid::Uuid;

use crate::{
    credentials,
    database::Database,
    services::{ADMIN_KEY, Dromos},
    table,
};

/// How the latency may rise.
const TARGET: f64 = 1.5;
/// How often the rotation's progress is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How much to rotate, under which load.
#[derive(Debug, Args)]
pub struct Options {
    /// Credentials, each of two secrets.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    credentials: u32,
    /// GetTokens in flight, each of another connection.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Seconds of calm before and after.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// What came of the calls in a span of time.
#[derive(Default)]
struct Window {
    /// Milliseconds, sorted.
    latencies: Vec<f64>,
    seconds: f64,
}

impl Window {
    fn at(&self, part: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (last as f64 * part).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds.max(0.001)
    }
}

/// Callers that ask for tokens one after the other.
struct Load {
    latencies: Arc<Mutex<Vec<f64>>>,
    errors: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<Result<()>>,
}

impl Load {
    async fn start(url: &str, ids: &Arc<Vec<Uuid>>, in_flight: u32) -> Result<Self> {
        let mut load = Self {
            latencies: Arc::default(),
            errors: Arc::default(),
            stop: Arc::default(),
            callers: JoinSet::new(),
        };
        let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
        for caller in 0..in_flight as usize {
            let (latencies, errors) = (load.latencies.clone(), load.errors.clone());
            let (stop, ids) = (load.stop.clone(), ids.clone());
            let mut client = ConnectionServiceClient::new(channel.clone());
            load.callers.spawn(async move {
                // Far apart, and never the same one at once.
                let mut next = caller * (ids.len() / in_flight as usize);
                while !stop.load(Ordering::Relaxed) {
                    next = (next + 7919) % ids.len();
                    let mut request = Request::new(GetTokenRequest {
                        connection_id: ids[next].to_string(),
                    });
                    let key = format!("Bearer {ADMIN_KEY}").parse()?;
                    request.metadata_mut().insert("authorization", key);
                    let began = Instant::now();
                    let answer = client.get_token(request).await;
                    let took = began.elapsed().as_secs_f64() * 1000.0;
                    match answer {
                        Ok(_) => latencies
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(took),
                        Err(status) => {
                            if errors.fetch_add(1, Ordering::Relaxed) == 0 {
                                eprintln!("the first error: {status}");
                            }
                        }
                    }
                }
                Ok(())
            });
        }
        Ok(load)
    }

    /// What was measured since this was last asked.
    fn window(&self, began: Instant) -> Window {
        let mut held = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut latencies = std::mem::take(&mut *held);
        drop(held);
        latencies.sort_by(f64::total_cmp);
        Window {
            latencies,
            seconds: began.elapsed().as_secs_f64(),
        }
    }

    async fn calm(&self, seconds: u32) -> Window {
        let began = Instant::now();
        self.window(began);
        sleep(Duration::from_secs(seconds.into())).await;
        self.window(began)
    }

    async fn end(mut self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller??;
        }
        Ok(self.errors.load(Ordering::Relaxed))
    }
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// A GetToken failed, a secret was not encrypted again, or something else does
/// not work as it should. Being slow is no error.
pub async fn run(options: &Options) -> Result<()> {
    let database = Database::create().await?;
    let outcome = run_on(&database, options).await;
    let removed = database.remove().await;
    outcome.and(removed)
}

async fn run_on(database: &Database, options: &Options) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("dromos-bench-").tempdir()?;
    let dromos = Dromos::start(&database.url, folder.path()).await?;
    let connection_id = dromos.connect(1).await?.remove(0);
    let ids = credentials::multiply(
        &database.url,
        &connection_id,
        options.credentials.saturating_sub(1) as usize,
    )
    .await?;
    let mut ids = ids;
    ids.push(connection_id.parse()?);
    let ids = Arc::new(ids);

    let load = Load::start(&dromos.url, &ids, options.in_flight).await?;
    // Everything warms up.
    load.calm(options.seconds.div_ceil(2)).await;
    let before = load.calm(options.seconds).await;
    let began = Instant::now();
    load.window(began);
    let rotation = dromos.post("/v1/keys:rotate", json!({})).await?;
    let rotation = ended(&dromos, &rotation).await?;
    let during = load.window(began);
    let after = load.calm(options.seconds).await;
    let errors = load.end().await?;

    ensure!(errors == 0, "{errors} GetTokens failed");
    let keys: Value = serde_json::from_str(&dromos.get("/v1/keys").await?)?;
    let keys = keys["data_keys"].as_array().context("data keys")?;
    let left: u64 = keys
        .iter()
        .filter_map(|key| key["rows_left"].as_u64())
        .sum();
    let done = rotation["done"].as_u64().context("a number")?;
    let secrets = u64::from(options.credentials) * 2;
    ensure!(
        left == 0 && rotation["failed"] == 0 && done >= secrets,
        "{left} secrets are left, and this came of the rotation: {rotation}"
    );
    print(&before, &during, &after, done, options);
    Ok(())
}

async fn ended(dromos: &Dromos, begun: &Value) -> Result<Value> {
    // Of no workspace, so that nothing is counted for this look.
    let id = begun["id"].as_str().context("an id")?;
    let path = format!("/v1/keys?page_size=1&workspace_id={id}");
    loop {
        let keys: Value = serde_json::from_str(&dromos.get(&path).await?)?;
        let rotations = keys["rotations"].as_array().context("rotations")?;
        let found = rotations.iter().find(|rotation| rotation["id"] == id);
        let rotation = found.context("the rotation is listed")?;
        if rotation.get("finished_at").is_some() {
            return Ok(rotation.clone());
        }
        sleep(LOOK).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn print(before: &Window, during: &Window, after: &Window, done: u64, options: &Options) {
    println!(
        "GetToken, {} in flight, while {done} secrets of {} credentials are encrypted again:",
        options.in_flight, options.credentials
    );
    let header = ["", "calls", "calls a second", "median", "p99"].map(str::to_owned);
    let mut rows = vec![header.to_vec()];
    for (name, window) in [("before", before), ("during", during), ("after", after)] {
        rows.push(vec![
            name.to_owned(),
            window.latencies.len().to_string(),
            format!("{:.0}", window.rate()),
            format!("{:.2} ms", window.at(0.5)),
            format!("{:.2} ms", window.at(0.99)),
        ]);
    }
    table::print(&rows);
    let ratio = |part| during.at(part) / before.at(part).max(f64::MIN_POSITIVE);
    let rate = done as f64 / during.seconds.max(0.001);
    println!(
        "Latency during to before: median {:.2}, p99 {:.2} (target {TARGET}). \
         {rate:.0} secrets a second, {:.1} s in all. 0 errors, 0 left, all open.",
        ratio(0.5),
        ratio(0.99),
        during.seconds,
    );
    let record = json!({
        "benchmark": "rotation",
        "credentials": options.credentials,
        "secrets": done,
        "seconds": during.seconds,
        "errors": 0,
        "median_ms": { "before": before.at(0.5), "during": during.at(0.5), "after": after.at(0.5) },
        "p99_ms": { "before": before.at(0.99), "during": during.at(0.99), "after": after.at(0.99) },
        "median_ratio": ratio(0.5),
        "p99_ratio": ratio(0.99),
    });
    println!("{record}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_read_from_sorted_latencies() {
        let window = Window {
            latencies: (1..=101).map(f64::from).collect(),
            seconds: 2.0,
        };
        assert_eq!((window.at(0.5), window.at(0.99)), (51.0, 100.0));
        assert_eq!(window.rate(), 50.5);
        assert_eq!(Window::default().at(0.5), 0.0);
    }
}
