//! The primary is killed under load: is everything there that was
//! acknowledged, and how long did callers wait?

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use dromos_simulator::Behaviour;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    cluster::Cluster,
    services::{Dromos, http_client},
    table,
};

mod check;
mod load;

use load::{KINDS, Load};

/// How long, and how much.
#[derive(Debug, Args)]
pub struct Options {
    /// Seconds of load before the primary is killed.
    #[arg(long, default_value_t = 5)]
    before: u64,
    /// Seconds of load after the service is back.
    #[arg(long, default_value_t = 5)]
    after: u64,
    /// Seconds that the service may take to be back.
    #[arg(long, default_value_t = 90)]
    patience: u64,
    /// Connections whose credentials are read and refreshed.
    #[arg(long, default_value_t = 8)]
    connections: usize,
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// Something acknowledged is not there, or the service does not come back.
pub async fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    let http = http_client()?;
    let cluster = Cluster::start().await?;
    let folder = tempfile::Builder::new().prefix("dromos-bench-").tempdir()?;
    let dromos = Arc::new(Dromos::start(&cluster.database_url, folder.path()).await?);
    // The strictest provider: a refresh token that comes twice ends them all.
    let simulator = dromos
        .provider(Behaviour {
            rotate_refresh_tokens: true,
            revoke_family_on_reuse: true,
            ..Behaviour::default()
        })
        .await?;
    let mut ids = Vec::new();
    for number in 0..options.connections {
        ids.push(dromos.consent(&format!("user-{number}")).await?);
    }

    let (load, mut tasks) = Load::start(dromos.clone(), &ids);
    sleep(Duration::from_secs(options.before)).await;
    let old = cluster.primary(&http).await?;
    old.kill()?;
    load.was_cut();
    println!("killed {}: its Patroni and its PostgreSQL", old.name);
    let patience = Duration::from_secs(options.patience);
    let returned = timeout(patience, async {
        while load.back().len() < KINDS {
            sleep(Duration::from_millis(20)).await;
        }
        sleep(Duration::from_secs(options.after)).await;
    })
    .await;
    load.stop();
    while tasks.join_next().await.is_some() {}
    returned.with_context(|| format!("the service was not back {patience:?} after the kill"))?;
    let new = cluster.primary(&http).await?;
    println!(
        "{} took over; broker and gateway were not restarted",
        new.name
    );

    let done = std::mem::take(&mut *load.done());
    let lost = check::lost(&done, &dromos, &cluster.database_url).await?;
    let mut inactive = 0;
    for id in &ids {
        inactive += usize::from(!dromos.is_active(id).await?);
    }
    let back = load.back();
    let row = |rpc: &str, what: &str, count: u64, lost: usize| {
        let first = back.get(rpc).map_or(0.0, Duration::as_secs_f64);
        vec![
            format!("{rpc}: {what}"),
            count.to_string(),
            lost.to_string(),
            format!("{first:.1} s"),
        ]
    };
    let (requested, reads) = (done.requested.len() as u64, done.reads.len() as u64);
    table::print(&[
        ["", "acknowledged", "lost", "first success after the kill"]
            .map(str::to_owned)
            .to_vec(),
        row(
            "RequestConnection",
            "connections",
            requested,
            lost.requested,
        ),
        row(
            "RefreshConnection",
            "generations",
            done.refreshes,
            lost.refreshes,
        ),
        row("GetToken", "audit rows", reads, lost.reads),
    ]);
    let reuses = simulator.counts().refresh_reuses;
    println!(
        "{} refreshes at the provider, {reuses} refresh tokens sent twice, {inactive} of {} connections out of ACTIVE, \
         {} calls answered with an error meanwhile; {:.0} s in all",
        simulator.counts().refreshes,
        ids.len(),
        load.failures(),
        began.elapsed().as_secs_f64(),
    );
    let first: BTreeMap<&str, f64> = back
        .iter()
        .map(|(rpc, back)| (*rpc, back.as_secs_f64()))
        .collect();
    let record = json!({
        "benchmark": "failover",
        "acknowledged_writes": requested + done.refreshes + reads,
        "lost": lost.total(),
        "refresh_token_reuses": reuses,
        "connections_out_of_active": inactive,
        "first_success_seconds": first,
    });
    println!("{record}");
    drop(load);
    if let Ok(dromos) = Arc::try_unwrap(dromos) {
        dromos.stop().await?;
    }
    simulator.shutdown().await;
    cluster.stop().await?;
    ensure!(
        lost.total() == 0,
        "{} acknowledged writes were lost",
        lost.total()
    );
    ensure!(reuses == 0, "{reuses} refresh tokens were sent twice");
    ensure!(inactive == 0, "{inactive} connections are not ACTIVE");
    Ok(())
}
