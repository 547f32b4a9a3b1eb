//! What the new primary lacks of what was acknowledged.

use std::collections::BTreeSet;

use anyhow::Result;
use diesel::{QueryableByName, sql_types};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::load::Acknowledged;
use crate::services::Dromos;

/// How much is not there, by kind.
pub struct Lost {
    /// Connections.
    pub requested: usize,
    /// Credentials older than the newest acknowledged refresh.
    pub refreshes: usize,
    /// Audit rows of credentials that were handed out.
    pub reads: usize,
}

impl Lost {
    /// All of it.
    pub fn total(&self) -> usize {
        self.requested + self.refreshes + self.reads
    }
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = sql_types::Text)]
    line: String,
}

/// Looks for everything, in the database and through the API.
///
/// # Errors
/// One of them does not answer.
pub async fn lost(done: &Acknowledged, dromos: &Dromos, database_url: &str) -> Result<Lost> {
    let mut database = AsyncPgConnection::establish(database_url).await?;
    let mut lines = async |sql: &str| -> Result<BTreeSet<String>> {
        let lines: Vec<Line> = diesel::sql_query(sql).load(&mut database).await?;
        Ok(lines.into_iter().map(|line| line.line).collect())
    };
    let connections = lines("select connection_id::text as line from connections").await?;
    let audited = lines(
        "select request_id as line from audit_events where action = 'credential.read' and error is null",
    )
    .await?;
    let mut refreshes = 0;
    for (id, acknowledged) in &done.generations {
        let stored = dromos.generation(id, "check").await?;
        refreshes += usize::from(stored < *acknowledged);
    }
    Ok(Lost {
        requested: done.requested.difference(&connections).count(),
        refreshes,
        reads: done.reads.difference(&audited).count(),
    })
}
