//! The journal: what a provider answered, sealed, on disk until it is in the
//! database. Losing a rotated refresh token loses the user's consent, so it
//! is made durable in one place before it is sent to another.
//!
//! One file per entry, written once and deleted once: appending costs two
//! fsyncs, however many entries there are. An entry that is replayed twice
//! does nothing the second time, so its deletion need not be durable.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{
    failpoint::{Failpoint, Failpoints},
    id::{ConnectionId, WorkspaceId},
    sealed::{Place, Sealed},
};

const ENTRY: &str = "entry";
const UNFINISHED: &str = "tmp";
const UNREADABLE: &str = "unreadable";

/// Which flow the answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A refresh.
    Refresh,
    /// The exchange of a consent's code.
    Consent,
}

/// One answer. Everything but the ciphertext's content can be read by an
/// operator, and all of it is bound to the ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: Uuid,
    /// The workspace, whose data key seals it.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The flow.
    pub kind: Kind,
    /// The generation that it follows.
    pub generation: u32,
    /// The answer.
    pub sealed: Sealed,
}

/// Where an entry's ciphertext is sealed.
#[must_use]
pub fn place(
    workspace_id: WorkspaceId,
    connection_id: ConnectionId,
    kind: Kind,
    generation: u32,
) -> Place {
    Place {
        workspace_id,
        table: "journal",
        row: connection_id.0,
        field: match kind {
            Kind::Refresh => "refresh",
            Kind::Consent => "consent",
        },
        generation,
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    workspace_id: Uuid,
    connection_id: Uuid,
    kind: Kind,
    generation: u32,
    sealed: String,
}

impl Entry {
    /// Where its ciphertext is sealed.
    #[must_use]
    pub fn place(&self) -> Place {
        place(
            self.workspace_id,
            self.connection_id,
            self.kind,
            self.generation,
        )
    }

    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let written = Written {
            workspace_id: self.workspace_id.0,
            connection_id: self.connection_id.0,
            kind: self.kind,
            generation: self.generation,
            sealed: STANDARD.encode(&self.sealed.0),
        };
        serde_json::to_vec(&written).map_err(io::Error::other)
    }

    fn parse(id: Uuid, bytes: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            id,
            workspace_id: WorkspaceId(written.workspace_id),
            connection_id: ConnectionId(written.connection_id),
            kind: written.kind,
            generation: written.generation,
            sealed: Sealed(STANDARD.decode(written.sealed).ok()?),
        })
    }
}

struct Held {
    entry: Entry,
    /// Whoever wrote it is still at work on it.
    at_work: bool,
}

/// The entries of one folder, which belongs to one broker.
pub struct Journal {
    folder: PathBuf,
    failpoints: Failpoints,
    held: Arc<Mutex<HashMap<Uuid, Held>>>,
}

impl Journal {
    /// Reads what a former run left behind. An entry that can't be read is
    /// put aside, for a person.
    ///
    /// # Errors
    /// The folder can't be made or read.
    pub fn open(folder: PathBuf, failpoints: Failpoints) -> io::Result<Self> {
        make_folder(&folder)?;
        let mut held = HashMap::new();
        for file in std::fs::read_dir(&folder)? {
            let path = file?.path();
            match path.extension().and_then(|end| end.to_str()) {
                Some(ENTRY) => {}
                // Its fsync had not returned, so nobody relied on it.
                Some(UNFINISHED) => {
                    let _ = std::fs::remove_file(&path);
                    continue;
                }
                _ => continue,
            }
            let id = path
                .file_stem()
                .and_then(|name| Uuid::parse_str(name.to_str()?).ok());
            let entry = match id {
                Some(id) => Entry::parse(id, &std::fs::read(&path)?),
                None => None,
            };
            match entry {
                Some(entry) => {
                    let at_work = false;
                    held.insert(entry.id, Held { entry, at_work });
                }
                None => put_aside(&path),
            }
        }
        Ok(Self {
            folder,
            failpoints,
            held: Arc::new(Mutex::new(held)),
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Uuid, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, id: Uuid, end: &str) -> PathBuf {
        self.folder.join(format!("{id}.{end}"))
    }

    /// Makes an entry durable. Until what this answers is settled or dropped,
    /// nobody else works on it.
    ///
    /// # Errors
    /// The disk is full or read-only, or fails.
    pub async fn append(&self, entry: Entry) -> io::Result<AtWork<'_>> {
        let id = entry.id;
        let (unfinished, path) = (self.path(id, UNFINISHED), self.path(id, ENTRY));
        let (folder, failpoints) = (self.folder.clone(), self.failpoints.clone());
        let bytes = entry.to_bytes()?;
        let written = tokio::task::spawn_blocking(move || {
            let written = write(&unfinished, &path, &folder, &bytes, &failpoints);
            if written.is_err() {
                let _ = std::fs::remove_file(&unfinished);
            }
            written
        });
        written.await.map_err(io::Error::other)??;
        let at_work = true;
        self.held().insert(id, Held { entry, at_work });
        self.measure();
        Ok(AtWork { journal: self, id })
    }

    /// Entries that nobody works on, the oldest first.
    #[must_use]
    pub fn left(&self) -> Vec<Entry> {
        let held = self.held();
        let left = held.values().filter(|held| !held.at_work);
        let mut left: Vec<Entry> = left.map(|held| held.entry.clone()).collect();
        left.sort_by_key(|entry| entry.id);
        left
    }

    /// Those of one connection.
    #[must_use]
    pub fn left_of(&self, connection_id: ConnectionId) -> Vec<Entry> {
        let mut left = self.left();
        left.retain(|entry| entry.connection_id == connection_id);
        left
    }

    /// Takes one that was left; none where somebody else did.
    #[must_use]
    pub fn take(&self, id: Uuid) -> Option<AtWork<'_>> {
        let mut all = self.held();
        let held = all.get_mut(&id).filter(|held| !held.at_work)?;
        held.at_work = true;
        Some(AtWork { journal: self, id })
    }

    fn measure(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        let entries = self.held().len() as f64;
        metrics::gauge!("journal_entries").set(entries);
    }
}

/// An entry that somebody works on. Dropped unsettled, it stays for the next.
pub struct AtWork<'a> {
    journal: &'a Journal,
    id: Uuid,
}

impl AtWork<'_> {
    /// What it speaks of is in the database, or nowhere for good.
    pub async fn settled(self) {
        let path = self.journal.path(self.id, ENTRY);
        if let Err(error) = tokio::fs::remove_file(&path).await {
            tracing::warn!(%error, "a settled entry can't be deleted from the journal; it is replayed once more");
        }
        self.journal.held().remove(&self.id);
        self.journal.measure();
    }

    /// Nothing can be made of it: it is put aside, for a person.
    pub async fn unreadable(self) {
        put_aside(&self.journal.path(self.id, ENTRY));
        self.journal.held().remove(&self.id);
        self.journal.measure();
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.journal.held().get_mut(&self.id) {
            held.at_work = false;
        }
    }
}

fn put_aside(path: &Path) {
    tracing::error!(
        file = %path.display(),
        "an entry of the journal can't be read; it is put aside, and its connection may need a reconnect"
    );
    metrics::counter!("journal_unreadable_total").increment(1);
    if let Err(error) = std::fs::rename(path, path.with_extension(UNREADABLE)) {
        tracing::warn!(%error, "it could not even be renamed");
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}

fn write(
    unfinished: &Path,
    path: &Path,
    folder: &Path,
    bytes: &[u8],
    failpoints: &Failpoints,
) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(unfinished)?;
    file.write_all(bytes)?;
    failpoints.hit(Failpoint::JournalWritten);
    file.sync_all()?;
    std::fs::rename(unfinished, path)?;
    // The name is durable only with its folder.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
