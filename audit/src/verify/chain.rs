//! One writer's chain.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Broken, Fault};
use crate::{BEGAN, CLOSED, GENESIS, Key, Mac, Mark, SYSTEM_WORKSPACE, record::ExportedRow};

/// How many rows from a break on are looked at, to tell what happened.
const WINDOW: usize = 64;

/// How far a writer's chain was followed.
pub(super) struct Chain {
    writer_id: Uuid,
    key: Option<Key>,
    /// The next row is the first behind a checkpoint.
    at_checkpoint: bool,
    next: u64,
    previous: Mac,
    /// The last row was a closing row.
    closed: bool,
    /// Ascending.
    heads: Vec<Mark>,
    /// The rows from where it breaks on.
    break_: Vec<ExportedRow>,
    found: Option<Broken>,
}

impl Chain {
    /// A chain from its beginning or from a checkpoint.
    pub(super) fn begin(
        writer_id: Uuid,
        keys: &BTreeMap<Uuid, Key>,
        checkpoint: Option<Mark>,
        heads: Vec<Mark>,
    ) -> Self {
        let mut chain = Self {
            writer_id,
            key: None,
            at_checkpoint: checkpoint.is_some(),
            next: 0,
            previous: GENESIS,
            closed: false,
            heads,
            break_: Vec::new(),
            found: None,
        };
        if let Some(mark) = checkpoint {
            chain.key = keys.get(&mark.key_id).cloned();
            chain.next = mark.seq + 1;
            // A genuine one holds 32 bytes.
            chain.previous = mark.row_mac.as_slice().try_into().unwrap_or(GENESIS);
            let at = chain.heads.iter().find(|head| head.seq == mark.seq);
            if at.is_some_and(|head| head.row_mac != mark.row_mac) {
                chain.find(mark.seq, None, Fault::DiffersFromHead);
            }
        }
        chain
    }

    /// Rows of a writer whose chain has ended before in the export.
    pub(super) fn again(writer_id: Uuid) -> Self {
        let mut chain = Self::begin(writer_id, &BTreeMap::new(), None, Vec::new());
        chain.closed = true;
        chain
    }

    pub(super) fn writer_id(&self) -> Uuid {
        self.writer_id
    }

    fn find(&mut self, seq: u64, id: Option<Uuid>, fault: Fault) {
        self.found.get_or_insert(Broken {
            writer_id: self.writer_id,
            seq,
            id,
            fault,
        });
    }

    pub(super) fn row(&mut self, row: ExportedRow, keys: &BTreeMap<Uuid, Key>) {
        if !self.break_.is_empty() {
            if self.break_.len() < WINDOW {
                self.break_.push(row);
            }
            return;
        }
        if self.found.is_some() {
            return;
        }
        if self.closed {
            return self.find(row.seq, Some(row.id), Fault::Inserted);
        }
        if self.next == 0 && row.seq == 0 {
            let named = row.request_id.parse().ok();
            match named.and_then(|id| keys.get(&id)) {
                Some(key) => self.key = Some(key.clone()),
                None => return self.find(0, Some(row.id), Fault::UnknownKey),
            }
        }
        if std::mem::take(&mut self.at_checkpoint) {
            // The row that named the key is gone, and the checkpoint may be
            // signed by a later one. All these keys are the audit's own.
            let signs = |key: &&Key| key.is_signed(&self.previous, &row.at(self.next), &row.mac);
            if let Some(key) = keys.values().find(signs) {
                self.key = Some(key.clone());
            }
        }
        if row.seq != self.next || !self.fits(&row, self.next, &self.previous) {
            self.break_.push(row);
            return;
        }
        // A system's row elsewhere would be somebody's who holds the key.
        if (row.seq == 0) != (row.action == BEGAN && row.workspace_id == SYSTEM_WORKSPACE) {
            return self.find(row.seq, Some(row.id), Fault::Inserted);
        }
        let mut heads = self.heads.iter().filter(|head| head.seq == row.seq);
        if heads.any(|head| head.row_mac != row.mac) {
            return self.find(row.seq, Some(row.id), Fault::DiffersFromHead);
        }
        self.closed = row.action == CLOSED && row.workspace_id == SYSTEM_WORKSPACE;
        self.previous = mac_of(&row);
        self.next += 1;
    }

    fn fits(&self, row: &ExportedRow, seq: u64, previous: &Mac) -> bool {
        let is_signed = |key: &Key| key.is_signed(previous, &row.at(seq), &row.mac);
        row.has_whole_time() && self.key.as_ref().is_some_and(is_signed)
    }

    /// Whether it ended with a closing row, and what is wrong.
    pub(super) fn end(mut self) -> (bool, Option<Broken>) {
        if let Some(first) = self.break_.first() {
            let (seq, id) = (self.next, first.id);
            let (fault, stands_there) = self.diagnose();
            self.find(seq, stands_there.then_some(id), fault);
        }
        let reached = self.heads.last().map(|head| head.seq);
        if self.found.is_none()
            && let Some(stood_at) = reached.filter(|reached| *reached >= self.next)
        {
            self.find(self.next, None, Fault::CutTail { stood_at });
        }
        (self.closed && self.found.is_none(), self.found)
    }

    /// What happened where the chain breaks, and whether the row that is found
    /// there belongs to the answer.
    fn diagnose(&self) -> (Fault, bool) {
        let [first, rest @ ..] = &self.break_[..] else {
            return (Fault::Changed, false);
        };
        if first.seq > self.next {
            return if rest.iter().any(|row| row.seq == self.next) {
                (Fault::Reordered, true)
            } else {
                let rows = first.seq - self.next;
                (Fault::Removed { rows }, false)
            };
        }
        if first.seq < self.next {
            return (Fault::Inserted, true);
        }
        // The row that belongs here stands further on: something came between.
        if rest
            .iter()
            .any(|row| self.fits(row, self.next, &self.previous))
        {
            let written = (self.next + 1..).take(WINDOW);
            let is_ours = written.into_iter().any(|seq| {
                rest.iter()
                    .any(|before| self.fits(first, seq, &mac_of(before)))
            });
            let fault = if is_ours {
                Fault::Reordered
            } else {
                Fault::Inserted
            };
            return (fault, true);
        }
        let Some(second) = rest.first() else {
            let head = self.heads.iter().find(|head| head.seq == self.next);
            return match head {
                Some(head) if head.row_mac == first.mac => (Fault::Changed, true),
                _ => (Fault::ChangedOrInserted, true),
            };
        };
        // The rows behind it were counted down to close a gap.
        let behind = mac_of(first);
        let shifted = (1..=WINDOW as u64)
            .find(|gap| self.fits(second, second.seq.saturating_add(*gap), &behind));
        match shifted {
            Some(rows) => (Fault::Removed { rows }, false),
            None => (Fault::Changed, true),
        }
    }
}

/// A row's MAC; one of another length fits nowhere, and so do zeros.
fn mac_of(row: &ExportedRow) -> Mac {
    row.mac.as_slice().try_into().unwrap_or(GENESIS)
}
