//! How a writer's chain ends, when nobody writes with it any more.
//!
//! A commit with an unknown outcome may still come. The closing row takes the
//! number that its first row would have: the primary key lets one of the two
//! in, and whichever it is, the chain has one end.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::{Conn, types::DbId};
use super::SqlStore;
use super::schema::audit_events;
use crate::domain::{
    audit_chain::{ChainHead, ChainedEvent},
    error::{ErrorKind, Result},
};
use crate::store::lanes::Ending;

impl SqlStore {
    /// Ends the writers that must end. Those that could not be ended stay due.
    pub(super) async fn end_writers(&self, all: bool) -> Result<()> {
        let mut due = self.lanes.take_endings(all)?.into_iter();
        while let Some(ending) = due.next() {
            match self.end_writer(&ending).await {
                Ok(Some(head)) => self.lanes.ended(head),
                Ok(None) => {
                    let writer = head_of(&ending.after_durable).map(|head| head.writer_id);
                    tracing::error!(
                        ?writer,
                        "an audit writer's chain was written to by somebody else; verify the audit"
                    );
                }
                Err(error) => {
                    self.lanes.put_back(ending);
                    due.for_each(|ending| self.lanes.put_back(ending));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The writer's last row; none where neither end fits what is stored.
    async fn end_writer(&self, ending: &Ending) -> Result<Option<ChainHead>> {
        if let Some(head) = self.add_closing(&ending.after_durable).await? {
            return Ok(Some(head));
        }
        match &ending.in_doubt {
            Some(doubt) if self.stands(doubt.head).await? => self.add_closing(&doubt.closing).await,
            _ => Ok(None),
        }
    }

    /// Adds closing rows, or finds that they are there already; none where
    /// another row has their number.
    async fn add_closing(&self, rows: &[ChainedEvent]) -> Result<Option<ChainHead>> {
        let Some(last) = head_of(rows) else {
            return Ok(None);
        };
        let mut connection = self.connection_from_pool().await?;
        let rows = rows.to_vec();
        match commit_audit!(connection, rows) {
            Ok(_) => Ok(Some(last)),
            // Its kind tells a broken rule from a database that is away.
            Err(error) if error.kind == ErrorKind::Internal => {
                drop(connection);
                Ok(self.stands(last).await?.then_some(last))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether this very row is stored.
    async fn stands(&self, head: ChainHead) -> Result<bool> {
        let mac = self.mac_at(head.writer_id, head.seq).await?;
        Ok(mac.as_deref() == Some(&head.mac[..]))
    }

    async fn mac_at(&self, writer_id: Uuid, seq: i64) -> Result<Option<Vec<u8>>> {
        let mac = audit_events::table
            .find((DbId(writer_id), seq))
            .select(audit_events::mac)
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        Ok(mac)
    }
}

fn head_of(rows: &[ChainedEvent]) -> Option<ChainHead> {
    let last = rows.last()?;
    Some(ChainHead {
        writer_id: last.writer_id,
        seq: last.seq,
        mac: last.mac.as_slice().try_into().ok()?,
    })
}
