//! The heads of this broker's audit writers, told to the outside: whoever
//! changes the database later can't change what was told.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dromos_audit::Record;

use super::Core;
use crate::domain::{
    Timestamp,
    error::{Error, Result},
};

/// How often. What a writer adds in between could be cut off unnoticed, if
/// the broker then died without a closing row.
const INTERVAL: Duration = Duration::from_secs(60);

/// Runs for as long as the broker does.
pub async fn run(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = tell(&core, false).await {
            tracing::warn!(cause = ?error.cause, "the audit's heads were not exported; it is tried again");
        }
    }
}

/// Ends writers in doubt, or `all` at the end of the process, and tells of the
/// heads that have changed: a line each in the log (target
/// `dromos::audit_head`), and in a file of the day, where there is a folder.
///
/// # Errors
/// STORE_UNAVAILABLE, or INTERNAL where the file can't be written. Then
/// nothing counts as told.
pub async fn tell(core: &Core, all: bool) -> Result<()> {
    let ended = core.store.close_audit_writers(all).await;
    let heads = core.store.untold_audit_heads();
    if !heads.is_empty() {
        let now = core.ambient.now();
        let mut lines = String::new();
        for head in &heads {
            let mark = core.audit_key.head(head, now);
            let line = serde_json::to_string(&Record::Head(mark)).map_err(Error::internal)?;
            tracing::info!(
                target: "dromos::audit_head",
                writer_id = %head.writer_id,
                seq = head.seq,
                head = line,
                "an audit writer's head"
            );
            lines.push_str(&line);
            lines.push('\n');
        }
        if let Some(folder) = &core.audit_heads_dir {
            let file = file_of(folder, now);
            tokio::task::spawn_blocking(move || append(&file, &lines))
                .await
                .map_err(Error::internal)?
                .map_err(Error::internal)?;
        }
        core.store.audit_heads_told(&heads);
    }
    ended
}

fn file_of(folder: &Path, now: Timestamp) -> PathBuf {
    folder.join(format!("{}.jsonl", now.format("%Y-%m-%d")))
}

fn append(file: &Path, lines: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(file)?;
    file.write_all(lines.as_bytes())?;
    file.sync_all()
}
