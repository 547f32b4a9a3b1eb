//! The writers of the audit's chains in this process.
//!
//! A lane is a writer whose head this process knows. A transaction that has
//! rows to add takes a lane for itself, signs from its head on, and the head
//! moves once the commit is known to have succeeded: so nothing is serialised
//! but the rows of one transaction, and a rollback leaves no gap. A lane whose
//! commit has an unknown outcome is never written with again; it is *open
//! ended* until a closing row has found out where it ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use uuid::Uuid;

use crate::domain::{
    ambient::Ambient,
    audit::{Action, AuditEvent},
    audit_chain::{AuditSigner, ChainHead, ChainedEvent, GENESIS, system_event},
    error::{Error, Result},
};

/// All lanes of a store.
#[derive(Default)]
pub(super) struct AuditLanes {
    pen: OnceLock<Pen>,
    state: Mutex<State>,
}

struct Pen {
    signer: Arc<dyn AuditSigner>,
    ambient: Ambient,
}

#[derive(Default)]
struct State {
    /// The last one back is the first to go out: few lanes do most of the work.
    idle: Vec<Lane>,
    open_ended: Vec<Ending>,
    /// The durable heads of all lanes, wherever those are now.
    heads: BTreeMap<Uuid, Standing>,
}

/// A writer's durable head, for whoever keeps heads elsewhere.
struct Standing {
    head: ChainHead,
    told: bool,
    ended: bool,
}

/// A writer, and where it stands.
#[derive(Clone, Copy)]
struct Lane {
    writer_id: Uuid,
    /// Its newest durable row; none before its first commit.
    head: Option<ChainHead>,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is durable.
    Committed,
    /// It never will be.
    RolledBack,
    /// Nobody knows, and it may still come.
    Unknown,
}

/// A lane in the hands of one transaction, and the rows that it signed.
pub(super) struct Batch {
    lanes: Arc<AuditLanes>,
    lane: Lane,
    /// Where the lane stands if the transaction commits.
    end: Option<ChainHead>,
    settled: bool,
}

/// How a writer that nobody writes with any more is to end: with closing rows
/// behind its durable head, or behind what was in doubt if that did commit.
/// They are signed once, so that trying again changes nothing.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) after_durable: Vec<ChainedEvent>,
    pub(super) in_doubt: Option<InDoubt>,
}

/// Rows whose commit had an unknown outcome.
#[derive(Clone)]
pub(super) struct InDoubt {
    pub(super) head: ChainHead,
    pub(super) closing: Vec<ChainedEvent>,
}

impl AuditLanes {
    /// Gives the lanes what they sign with; the first one stands.
    pub(super) fn sign_with(&self, signer: Arc<dyn AuditSigner>, ambient: Ambient) {
        // A second one would be another key for the same process: not now.
        let _ = self.pen.set(Pen { signer, ambient });
    }

    /// Takes a lane; makes one where all are taken.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Batch> {
        let pen = self.pen()?;
        let idle = self.state().idle.pop();
        let lane = idle.unwrap_or_else(|| Lane {
            writer_id: pen.ambient.id(),
            head: None,
        });
        Ok(Batch {
            lanes: self.clone(),
            lane,
            end: lane.head,
            settled: false,
        })
    }

    /// The writers that must end: those in doubt, and `all` the idle ones too.
    pub(super) fn take_endings(self: &Arc<Self>, all: bool) -> Result<Vec<Ending>> {
        let (mut endings, idle) = {
            let mut state = self.state();
            let idle = if all {
                std::mem::take(&mut state.idle)
            } else {
                vec![]
            };
            (std::mem::take(&mut state.open_ended), idle)
        };
        for lane in idle.iter().filter(|lane| lane.head.is_some()) {
            endings.push(Ending {
                after_durable: self.closing(lane.writer_id, lane.head)?,
                in_doubt: None,
            });
        }
        Ok(endings)
    }

    /// An ending that did not work out yet.
    pub(super) fn put_back(&self, ending: Ending) {
        self.state().open_ended.push(ending);
    }

    /// A writer has ended with this row.
    pub(super) fn ended(&self, head: ChainHead) {
        self.state().stands(head, true);
    }

    /// The durable heads that nobody was told of.
    pub(super) fn untold_heads(&self) -> Vec<ChainHead> {
        let state = self.state();
        let untold = state.heads.values().filter(|standing| !standing.told);
        untold.map(|standing| standing.head).collect()
    }

    /// These were told; of writers that have ended nothing more will come.
    pub(super) fn told(&self, heads: &[ChainHead]) {
        let mut state = self.state();
        for head in heads {
            if let Some(standing) = state.heads.get_mut(&head.writer_id) {
                standing.told = standing.head == *head;
            }
        }
        state
            .heads
            .retain(|_, standing| !(standing.told && standing.ended));
    }

    fn pen(&self) -> Result<&Pen> {
        self.pen
            .get()
            .ok_or_else(|| Error::internal("the audit has no key to sign with"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows that end a writer which stands at `head`. One that may have
    /// come to nothing gets its first row too: then its number is taken, and a
    /// commit that still comes fails.
    fn closing(
        self: &Arc<Self>,
        writer_id: Uuid,
        head: Option<ChainHead>,
    ) -> Result<Vec<ChainedEvent>> {
        let pen = self.pen()?;
        let (id, now) = (pen.ambient.id(), pen.ambient.now());
        let event = system_event(id, now, Action::AuditWriterClosed, String::new());
        let lane = Lane { writer_id, head };
        let mut batch = Batch {
            lanes: self.clone(),
            lane,
            end: head,
            settled: true,
        };
        Ok(batch.sign([event]))
    }
}

impl State {
    fn stands(&mut self, head: ChainHead, ended: bool) {
        let before = self.heads.get(&head.writer_id);
        let told = before.is_some_and(|before| before.told && before.head == head);
        let standing = Standing { head, told, ended };
        self.heads.insert(head.writer_id, standing);
    }
}

impl Batch {
    /// Signs events behind those before: the rows to insert, in this order. A
    /// new writer's first row comes before them.
    pub(super) fn sign(
        &mut self,
        events: impl IntoIterator<Item = AuditEvent>,
    ) -> Vec<ChainedEvent> {
        let lanes = self.lanes.clone();
        // `begin` has seen to it that there is one.
        let Some(pen) = lanes.pen.get() else {
            return Vec::new();
        };
        let events = events.into_iter();
        let mut rows = Vec::with_capacity(events.size_hint().0 + 1);
        if self.end.is_none() {
            let key = pen.signer.key_id().to_string();
            let (id, now) = (pen.ambient.id(), pen.ambient.now());
            let began = system_event(id, now, Action::AuditWriterBegan, key);
            rows.push(self.sign_one(pen, began));
        }
        for event in events {
            rows.push(self.sign_one(pen, event));
        }
        rows
    }

    fn sign_one(&mut self, pen: &Pen, event: AuditEvent) -> ChainedEvent {
        let writer_id = self.lane.writer_id;
        let (seq, previous) = match &self.end {
            Some(end) => (end.seq + 1, &end.mac),
            None => (0, &GENESIS),
        };
        let mac = pen.signer.sign(writer_id, seq, previous, &event);
        self.end = Some(ChainHead {
            writer_id,
            seq,
            mac,
        });
        ChainedEvent {
            writer_id,
            seq,
            mac: mac.to_vec(),
            event,
        }
    }

    /// Gives the lane back, as the transaction ended.
    pub(super) fn settle(mut self, outcome: Outcome) {
        self.give_back(outcome);
    }

    fn give_back(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        match outcome {
            Outcome::Committed => {
                self.lane.head = self.end;
                let mut state = self.lanes.state();
                if let Some(head) = self.end {
                    state.stands(head, false);
                }
                state.idle.push(self.lane);
            }
            Outcome::RolledBack => self.lanes.state().idle.push(self.lane),
            // Nothing was sent that could still come.
            Outcome::Unknown if self.end == self.lane.head => {
                self.lanes.state().idle.push(self.lane);
            }
            Outcome::Unknown => {
                let ending = self.ending();
                self.lanes.state().open_ended.extend(ending);
            }
        }
    }

    fn ending(&self) -> Option<Ending> {
        let Lane { writer_id, head } = self.lane;
        // Where nothing was signed there is nothing to end.
        let in_doubt = self.end?;
        Some(Ending {
            after_durable: self.lanes.closing(writer_id, head).ok()?,
            in_doubt: Some(InDoubt {
                head: in_doubt,
                closing: self.lanes.closing(writer_id, self.end).ok()?,
            }),
        })
    }
}

/// Dropped on the way: the transaction's caller went away, and its commit may
/// be on the wire.
impl Drop for Batch {
    fn drop(&mut self) {
        self.give_back(Outcome::Unknown);
    }
}
