//! What a million connections cost those that are due, and those that are
//! read: as much as ten thousand do.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use dromos_broker::{
    domain::ambient::Ambient,
    store::{self, Store},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    credentials,
    database::Database,
    services::Dromos,
    table::{self, median, range},
};

/// Connections that are due, in a small installation and in a large one.
const DUE: usize = 1000;
/// GetTokens in one run, one after another, each of another connection.
const READS: u32 = 200;
const TARGET: f64 = 1.3;

/// How large, and how often.
#[derive(Debug, Clone, Copy, Args)]
pub struct Options {
    /// Connections of the small installation.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2000..))]
    small: u32,
    /// Connections of the large one.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(2000..))]
    large: u32,
    /// Measured runs, after two that warm up; each measures both.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

/// An installation, and what it was measured to take.
struct Side {
    connections: u32,
    database: Database,
    store: Arc<dyn Store>,
    dromos: Dromos,
    /// Those whose credentials open.
    paths: Vec<String>,
    _folder: TempDir,
    /// Milliseconds to find and take what is due.
    claims: Vec<f64>,
    /// Milliseconds of one GetToken.
    reads: Vec<f64>,
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// Something does not work as it should. Being slow is no error.
pub async fn run(options: &Options) -> Result<()> {
    let mut sides = [
        Side::new("small", options.small).await?,
        Side::new("large", options.large).await?,
    ];
    for run in 0..options.runs + 2 {
        for side in &mut sides {
            let (claim, read) = side.measure().await?;
            // The first two warm both up.
            if run >= 2 {
                side.claims.push(claim.as_secs_f64() * 1000.0);
                side.reads.push(read.as_secs_f64() * 1000.0);
            }
        }
    }
    print(&sides, options);
    for side in sides {
        side.remove().await?;
    }
    Ok(())
}

impl Side {
    async fn new(name: &str, connections: u32) -> Result<Self> {
        let began = Instant::now();
        let mut database = Database::create_as(name).await?;
        let folder = tempfile::Builder::new().prefix("dromos-bench-").tempdir()?;
        let dromos = Dromos::start(&database.url, folder.path()).await?;
        let id = dromos.connect(1).await?.remove(0);
        // Its broker would take what is due: it starts again when nothing is.
        dromos.stop().await?;
        let ids = credentials::multiply(&database.url, &id, READS as usize - 1).await?;
        database.grow(connections - READS).await?;
        let dromos = Dromos::start(&database.url, folder.path()).await?;
        let store = store::open(&database.url)
            .await
            .map_err(|error| anyhow!("the store: {error}"))?;
        eprintln!(
            "{connections} connections are there after {:.0?}",
            began.elapsed()
        );
        Ok(Self {
            connections,
            database,
            store,
            dromos,
            paths: ids
                .iter()
                .map(Uuid::to_string)
                .chain([id])
                .map(|id| format!("/v1/token/{id}"))
                .collect(),
            _folder: folder,
            claims: vec![],
            reads: vec![],
        })
    }

    async fn measure(&mut self) -> Result<(Duration, Duration)> {
        let began = Instant::now();
        for path in &self.paths {
            self.dromos.get(path).await?;
        }
        let read = began.elapsed() / READS;

        // Due for us only: the broker's clock is behind the moment we ask for.
        self.database.make_due(DUE).await?;
        let ahead = Ambient::system().now() + chrono::TimeDelta::hours(12);
        let limit = i64::try_from(DUE)? + 1;
        let began = Instant::now();
        let taken = self.store.take_due(ahead, limit).await;
        let claim = began.elapsed();
        let taken = taken.map_err(|error| anyhow!("what is due: {error}"))?;
        ensure!(taken.len() == DUE, "{} were due, not {DUE}", taken.len());
        Ok((claim, read))
    }

    async fn remove(self) -> Result<()> {
        self.dromos.stop().await?;
        drop(self.store);
        self.database.remove().await
    }
}

fn print(sides: &[Side; 2], options: &Options) {
    println!(
        "Finding and taking {DUE} that are due, and one GetToken: medians of {} runs, one by one in turn",
        options.runs
    );
    let mut rows = vec![
        [
            "connections",
            "taking what is due",
            "least to most",
            "GetToken",
            "least to most",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let spread = |figures: &[f64]| {
        let (least, most) = range(figures);
        format!("{least:.2} to {most:.2} ms")
    };
    for side in sides {
        rows.push(vec![
            side.connections.to_string(),
            format!("{:.2} ms", median(&side.claims)),
            spread(&side.claims),
            format!("{:.3} ms", median(&side.reads)),
            spread(&side.reads),
        ]);
    }
    let [small, large] = sides;
    let claims = median(&large.claims) / median(&small.claims);
    let reads = median(&large.reads) / median(&small.reads);
    rows.push(vec![
        "ratio".to_owned(),
        format!("{claims:.2}"),
        format!("target {TARGET}"),
        format!("{reads:.2}"),
        format!("target {TARGET}"),
    ]);
    table::print(&rows);
    println!(
        "{}",
        json!({ "benchmark": "scale", "claims_large_to_small": claims, "reads_large_to_small": reads })
    );
}
