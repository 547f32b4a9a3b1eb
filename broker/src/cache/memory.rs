//! The cache of one process.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;

use super::{Cache, Entry, count};
use crate::domain::ambient::Ambient;

/// Bytes kept, names included; beyond that, what expires first goes first.
const CAPACITY: usize = 16 << 20;

#[derive(Default)]
struct Kept {
    entries: HashMap<String, Entry>,
    bytes: usize,
}

impl Kept {
    fn remove(&mut self, name: &str) {
        if let Some(entry) = self.entries.remove(name) {
            self.bytes -= size(name, &entry);
        }
    }

    fn first_to_expire(&self) -> Option<String> {
        let first = self.entries.iter().min_by_key(|(_, entry)| entry.until)?;
        Some(first.0.clone())
    }
}

fn size(name: &str, entry: &Entry) -> usize {
    name.len() + entry.value.len()
}

/// Keeps values in this process.
pub struct Memory {
    ambient: Ambient,
    kept: Mutex<Kept>,
}

impl Memory {
    /// An empty cache.
    #[must_use]
    pub fn new(ambient: Ambient) -> Self {
        Self {
            ambient,
            kept: Mutex::default(),
        }
    }
}

#[async_trait]
impl Cache for Memory {
    async fn get(&self, name: &str) -> Option<Entry> {
        let now = self.ambient.now();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.entries.get(name).filter(|entry| now < entry.until);
        count("memory", if found.is_some() { "hit" } else { "miss" });
        found.cloned()
    }

    async fn put(&self, name: &str, entry: Entry) {
        let size = size(name, &entry);
        let now = self.ambient.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(name);
        if size > CAPACITY || entry.until <= now {
            return;
        }
        while kept.bytes + size > CAPACITY {
            let Some(first) = kept.first_to_expire() else {
                break;
            };
            kept.remove(&first);
        }
        kept.bytes += size;
        kept.entries.insert(name.to_owned(), entry);
    }

    async fn forget(&self, name: &str) {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}
