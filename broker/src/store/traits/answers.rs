//! Answers of mutations by their `request_id`.

use async_trait::async_trait;

use crate::domain::{
    Timestamp,
    error::Result,
    id::{ApiKeyId, WorkspaceId},
    sealed::Sealed,
};

/// Answers of mutations by their `request_id` (AIP-155).
#[async_trait]
pub trait AnswerStore: Send + Sync {
    /// Takes a key for a call, unless it is taken.
    async fn claim_answer(
        &self,
        key: &AnswerKey,
        request_hash: [u8; 32],
        at: Timestamp,
    ) -> Result<AnswerClaim>;
    /// Stores the call's answer, sealed.
    async fn finish_answer(&self, key: &AnswerKey, answer: Sealed) -> Result<()>;
    /// The call failed: gives the key back.
    async fn drop_answer(&self, key: &AnswerKey) -> Result<()>;
}

/// Whose call it is, of which method, with which `request_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerKey {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The caller's key.
    pub api_key_id: ApiKeyId,
    /// The method's path.
    pub method: String,
    /// The caller's `request_id`.
    pub request_id: String,
}

/// What is known of an [`AnswerKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerClaim {
    /// It is ours: make the call.
    New,
    /// The call is being made.
    Running {
        /// SHA-256 of its request.
        request_hash: [u8; 32],
    },
    /// The call was made.
    Done {
        /// SHA-256 of its request.
        request_hash: [u8; 32],
        /// Its answer.
        answer: Sealed,
    },
}
