//! Consents.

use async_trait::async_trait;

use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    consent::Consent,
    credential::NewCredential,
    error::Result,
    id::{ConnectionId, ConsentId, WorkspaceId},
};

/// Consents.
#[async_trait]
pub trait ConsentStore: Send + Sync {
    /// Adds one to an existing connection and deletes its others; false where
    /// the connection is revoked or gone.
    async fn insert_consent(&self, consent: &Consent, audit: AuditEvent) -> Result<bool>;
    /// The consent of this page.
    async fn consent_by_handle(&self, handle_hash: [u8; 32]) -> Result<Option<Consent>>;
    /// The consent of this state.
    async fn consent_by_state(&self, state_hash: [u8; 32]) -> Result<Option<Consent>>;
    /// Spends one; false where somebody else did, or it has expired.
    async fn spend_consent(&self, state_hash: [u8; 32], at: Timestamp) -> Result<bool>;
    /// A consent failed: a connection that is still PENDING becomes FAILED.
    async fn fail_consent(
        &self,
        consent: &Consent,
        reason: &str,
        at: Timestamp,
        audit: AuditEvent,
    ) -> Result<()>;
    /// A consent succeeded: its credential replaces the one of `generation`
    /// (0: none yet), and the connection becomes ACTIVE. The consent was spent
    /// before; `Superseded` says that a newer one was begun since, or that the
    /// connection was revoked. Completed twice, it changes nothing the second time.
    async fn complete_consent(
        &self,
        completed: CompletedConsent,
        audit: AuditEvent,
    ) -> Result<Completion>;
}

/// A consent's success.
#[derive(Debug, Clone)]
pub struct CompletedConsent {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The consent.
    pub consent_id: ConsentId,
    /// Now.
    pub at: Timestamp,
    /// The generation that is replaced; 0 where there is none.
    pub generation: u32,
    /// The credential, sealed under the next generation.
    pub credential: NewCredential,
    /// The scopes granted.
    pub scopes: Vec<String>,
    /// The provider's subject.
    pub subject: Option<String>,
    /// Whether it waited for a confirmation: then it counts only if it still
    /// does, and does no more afterwards.
    pub confirmed: bool,
}

/// What became of a consent's success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The connection is ACTIVE.
    Done,
    /// Another credential was stored in between: seal again and retry.
    Conflict,
    /// The connection is revoked or gone, or a newer consent was begun.
    Superseded,
}
