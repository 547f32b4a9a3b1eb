//! `dromos-broker audit …`: the audit straight from the database, by the
//! broker's settings. No listener is opened.

use std::{io::Write, sync::Arc};

use chrono::NaiveDate;
use dromos_serve::Settings;

use super::{StartError, connect, database_url, open_vault, reason};
use crate::{
    domain::{Timestamp, ambient::Ambient, error::Error},
    flow::audit_export::Auditor,
    store::Store,
    vault::Vault,
};

/// What goes wrong with a command.
fn database(error: Error) -> StartError {
    StartError::Database(reason(&error))
}

/// The database and its vault, by a broker's settings.
async fn open(settings: &Settings) -> Result<(Arc<dyn Store>, Vault), StartError> {
    let url = database_url(settings)?;
    let store = connect(&url, super::DATABASE_WAIT).await?;
    if !store.is_migrated().await.map_err(database)? {
        return Err(StartError::Database(
            "its schema is not up to date; run `dromos-broker migrate`".to_owned(),
        ));
    }
    let vault = open_vault(settings, store.clone(), &Ambient::system()).await?;
    Ok((store, vault))
}

/// An auditor by a broker's settings.
async fn auditor(settings: &Settings) -> Result<Auditor, StartError> {
    let (store, vault) = open(settings).await?;
    let ambient = Ambient::system();
    let key = vault.audit_key().await.map_err(database)?;
    store.sign_audit_with(key.clone(), ambient.clone());
    Ok(Auditor {
        store,
        key,
        ambient,
    })
}

/// Writes an export, as `dromos audit verify` takes it: how many lines.
///
/// # Errors
/// A setting, the database, or the writer.
pub async fn export_audit(settings: &Settings, mut to: impl Write) -> Result<u64, StartError> {
    let mut records = auditor(settings).await?.export();
    let mut lines = 0;
    while let Some(record) = records.recv().await {
        let record = record.map_err(database)?;
        serde_json::to_writer(&mut to, &record)
            .map_err(std::io::Error::from)
            .and_then(|()| to.write_all(b"\n"))
            .map_err(StartError::Output)?;
        lines += 1;
    }
    to.flush().map_err(StartError::Output)?;
    Ok(lines)
}

/// Writes the audit's keys, as `dromos audit verify --audit-keys` takes them:
/// how many. Whoever has them can verify the audit, and could forge it.
///
/// # Errors
/// A setting, the database, the key provider, or the writer.
pub async fn export_audit_keys(
    settings: &Settings,
    mut to: impl Write,
) -> Result<usize, StartError> {
    let (store, vault) = open(settings).await?;
    let keys = store.audit_keys().await.map_err(database)?;
    for key in &keys {
        let line = vault.audit_key_line(key).await.map_err(database)?;
        to.write_all(line.as_bytes()).map_err(StartError::Output)?;
    }
    to.flush().map_err(StartError::Output)?;
    Ok(keys.len())
}

/// Deletes audit rows from before a day (UTC), or only tells how many that
/// would be.
///
/// # Errors
/// A setting, or the database.
pub async fn prune_audit(
    settings: &Settings,
    before: NaiveDate,
    delete: bool,
) -> Result<usize, StartError> {
    let auditor = auditor(settings).await?;
    let before: Timestamp = before.and_time(chrono::NaiveTime::MIN).and_utc();
    if !delete {
        return auditor.prunable(before).await.map_err(database);
    }
    let pruned = auditor.prune(before).await.map_err(database)?;
    // Its own row is its writer's last but one.
    let closed = auditor.store.close_audit_writers(true).await;
    closed.map_err(database)?;
    Ok(pruned)
}
