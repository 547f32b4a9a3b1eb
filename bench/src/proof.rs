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
    /// The same, for the calls 32 at a time.
    pub together: Statements,
}

/// Makes `calls` calls to a Dromos of its own whose broker reaches the
/// database through a counting proxy, one by one and then together.
///
/// # Errors
/// A call fails, or makes another number of SELECTs than one, or the SELECT
/// reads a table without an index.
pub async fn prove(
    database: &mut Database,
    folder: &Path,
    connection_id: &str,
    calls: u64,
) -> Result<Proof> {
    let proxy = CountingProxy::start(database.address()?).await?;
    let dromos = Dromos::start(&database.url_at(proxy.port)?, folder).await?;
    let path = format!("/v1/token/{connection_id}");
    // Keys are looked up and kept now, so that what follows is GetToken's own.
    dromos.get(&path).await?;
    drop(proxy.take());
    for _ in 0..calls {
        dromos.get(&path).await?;
    }
    let mut alone = proxy.take();
    let headers = [crate::token::authorization()];
    let target = Target {
        url: &format!("{}{path}", dromos.url),
        headers: &headers,
        body: None,
    };
    h2load::run(target, calls).await?;
    let mut together = proxy.take();
    dromos.stop().await?;

    let (found, found_together) = (reads(&alone, calls), reads(&together, calls));
    let [(select, count)] = &found[..] else {
        bail!(
            "GetToken makes {} kinds of SELECTs: {found:#?}",
            found.len()
        );
    };
    ensure!(
        *count == calls && found_together == found,
        "{calls} calls made {count} SELECTs one by one, and together {found_together:#?}"
    );
    let select = select.clone();
    alone.remove(&select);
    together.remove(&select);
    let id = format!("'{connection_id}'");
    let workspace = format!("'{}'", crate::floor::WORKSPACE);
    let limit = if select.contains("$3") {
        &["1"][..]
    } else {
        &[]
    };
    let parameters: Vec<&str> = [workspace.as_str(), &id]
        .into_iter()
        .chain(limit.iter().copied())
        .collect();
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

/// The SELECTs that calls make: what the broker does in the background, and
/// its look at the caller's key every few seconds, is rare beside them.
fn reads(statements: &Statements, calls: u64) -> Vec<(String, u64)> {
    let is_read = |entry: &(&String, &u64)| entry.0.starts_with("SELECT") && *entry.1 * 10 >= calls;
    let reads = statements.iter().filter(is_read);
    reads.map(|(sql, count)| (sql.clone(), *count)).collect()
}
