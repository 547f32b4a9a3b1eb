//! What GetToken does in the store, counted on the wire to PostgreSQL.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::{
    database::Database,
    h2load::{self, Target},
    services::Dromos,
    wire::{CountingProxy, Statements},
};

/// What was counted.
#[derive(Debug)]
pub struct Proof {
    /// Calls that were made one after another, and as many 32 at a time.
    pub calls: u64,
    /// The statement that reads.
    pub select: String,
    /// How PostgreSQL carries it out.
    pub plan: Vec<String>,
    /// Executions of all other statements, for the calls one by one.
    pub alone: Statements,
    /// Executions of all statements, for the calls 32 at a time.
    pub together: Statements,
}

/// Makes `calls` calls to a Dromos of its own whose broker reaches the
/// database through a counting proxy, one by one and then together.
///
/// # Errors
/// A call fails, or makes another number of SELECTs than one (or a share of
/// one, where calls come together), or the SELECT reads a table without an
/// index.
pub async fn prove(
    database: &mut Database,
    folder: &Path,
    connection_ids: &[String; h2load::TARGETS],
    calls: u64,
) -> Result<Proof> {
    let proxy = CountingProxy::start(database.address()?).await?;
    let dromos = Dromos::start(&database.url_at(proxy.port)?, folder).await?;
    let path = format!("/v1/token/{}", connection_ids[0]);
    // Keys are looked up and kept now, so that what follows is GetToken's own.
    dromos.get(&path).await?;
    drop(proxy.take());
    for _ in 0..calls {
        dromos.get(&path).await?;
    }
    let mut alone = proxy.take();
    let headers = [crate::token::authorization()];
    let targets = connection_ids.each_ref().map(|id| Target {
        url: format!("{}/v1/token/{id}", dromos.url),
        headers: &headers,
        body: None,
    });
    h2load::run(&targets, calls / h2load::TARGETS as u64, h2load::IN_FLIGHT).await?;
    let together = proxy.take();
    dromos.stop().await?;

    let found = reads(&alone);
    let [(select, count)] = &found[..] else {
        bail!(
            "GetToken makes {} kinds of SELECTs: {found:#?}",
            found.len()
        );
    };
    let found_together = reads(&together);
    let only = found_together.iter().all(|(sql, _)| sql == select);
    let count_together = together.get(select).copied().unwrap_or_default();
    ensure!(
        *count == calls && only && (1..=calls).contains(&count_together),
        "{calls} calls made {count} SELECTs one by one, and together {found_together:#?}"
    );
    let select = select.clone();
    alone.remove(&select);
    let workspace = format!("'{}'", crate::floor::WORKSPACE);
    let ids = format!("ARRAY['{}']::uuid[]", connection_ids.join("','"));
    let parameters = [workspace.as_str(), &ids];
    let plan = database.plan(&select, &parameters).await?;
    ensure!(
        plan.iter().all(|line| !line.contains("Seq Scan")),
        "the SELECT reads a whole table:\n{}",
        plan.join("\n")
    );
    Ok(Proof {
        calls,
        select,
        plan,
        alone,
        together,
    })
}

/// The SELECTs that calls make: the broker's look at the caller's key every few
/// seconds, and what it does in the background, are others.
fn reads(statements: &Statements) -> Vec<(String, u64)> {
    let is_read = |entry: &(&String, &u64)| {
        entry.0.starts_with("SELECT") && entry.0.contains("\"connections\"") && *entry.1 > 1
    };
    let reads = statements.iter().filter(is_read);
    reads.map(|(sql, count)| (sql.clone(), *count)).collect()
}
