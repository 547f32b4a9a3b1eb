//! A credential that waits until the application has confirmed that the user
//! who consented is the user who asked.

use super::{
    Timestamp,
    id::{ConnectionId, ConsentId, WorkspaceId},
    sealed::{Place, Sealed},
};

/// How long the application may take, in seconds.
pub const CONFIRMATION_LIFETIME: i64 = 600;
/// After so many wrong codes the credential is given up.
pub const MAX_TRIES: i64 = 5;
/// The reason of a connection that is PENDING because of it.
pub const CONFIRMATION_REQUIRED: &str = "confirmation_required";

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The consent that yielded it.
    pub consent_id: ConsentId,
    /// SHA-256 of the code.
    pub code_hash: [u8; 32],
    /// The tokens, sealed.
    pub credential: Sealed,
    /// The scopes granted.
    pub scopes: Vec<String>,
    /// The provider's subject.
    pub subject: Option<String>,
    /// The origin of the token endpoint that issued them.
    pub token_origin: String,
    /// Since when it waits.
    pub created_at: Timestamp,
    /// Until when it waits.
    pub expires_at: Timestamp,
}

impl Confirmation {
    /// Where the tokens are sealed: with the consent, so that a later one's
    /// don't open here.
    #[must_use]
    pub fn place(workspace_id: WorkspaceId, consent_id: ConsentId) -> Place {
        Place {
            workspace_id,
            table: "confirmations",
            row: consent_id.0,
            field: "credential",
            generation: 0,
        }
    }
}
