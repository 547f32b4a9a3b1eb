//! A consent: one user's way through a provider's authorization endpoint.

use url::Url;

use super::{
    Timestamp,
    id::{ConnectionId, ConsentId, ProviderId, WorkspaceId},
    sealed::Sealed,
};

/// How long a user may take, in seconds.
pub const CONSENT_LIFETIME: i64 = 600;

/// A consent as it is stored. The handle of its page and its state are stored
/// as hashes only; what the callback needs besides is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Its id.
    pub id: ConsentId,
    /// SHA-256 of the state.
    pub state_hash: [u8; 32],
    /// SHA-256 of the handle in `auth_url`.
    pub handle_hash: [u8; 32],
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection that it will activate.
    pub connection_id: ConnectionId,
    /// The provider that was asked.
    pub provider_id: ProviderId,
    /// State, PKCE verifier and nonce, sealed.
    pub secrets: Sealed,
    /// Where the browser goes in the end.
    pub return_url: Url,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// Until when it may be completed.
    pub expires_at: Timestamp,
    /// When it was completed, refused or superseded.
    pub spent_at: Option<Timestamp>,
    /// Whether what it yields waits until the application confirms it.
    pub require_confirmation: bool,
}

impl Consent {
    /// Whether it can still be completed.
    #[must_use]
    pub fn is_open_at(&self, now: Timestamp) -> bool {
        self.spent_at.is_none() && now < self.expires_at
    }
}
