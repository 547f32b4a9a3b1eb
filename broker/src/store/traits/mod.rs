//! What each aggregate's part of the store must do.

mod answers;
mod api_keys;
mod audit;
mod connections;
mod consents;
mod credentials;
mod providers;
mod upkeep;
mod workspaces;

pub use answers::{AnswerClaim, AnswerKey, AnswerStore};
pub use api_keys::ApiKeyStore;
pub use audit::AuditStore;
pub use connections::{ConnectionStore, Revocation, Revoked, UpstreamRevocation};
pub use consents::{CompletedConsent, Completion, ConsentStore};
pub use credentials::{Attempt, Claim, Committed, CredentialStore, Refreshed, Release};
pub use providers::ProviderStore;
pub use upkeep::Upkeep;
pub use workspaces::WorkspaceStore;
