//! What each aggregate's part of the store must do.

mod answers;
mod api_keys;
mod audit;
mod confirmations;
mod connections;
mod consents;
mod credentials;
mod due;
mod events;
mod key_rotations;
mod providers;
mod retirements;
mod upkeep;
mod webhooks;
mod workspaces;

pub use answers::{AnswerClaim, AnswerKey, AnswerStore};
pub use api_keys::ApiKeyStore;
pub use audit::AuditStore;
pub use confirmations::ConfirmationStore;
pub use connections::{ConnectionStore, Revocation, Revoked, UpstreamRevocation};
pub use consents::{CompletedConsent, Completion, ConsentStore};
pub use credentials::{Attempt, Claim, Committed, CredentialStore, Refreshed, Release};
pub use due::{Due, DueStore, RESERVED_FOR};
pub use events::EventStore;
pub use key_rotations::{KeyRotationStore, Reseal, SealedRow};
pub use providers::ProviderStore;
pub use retirements::{Removed, Retired, Retirement, RetirementStore};
pub use upkeep::Upkeep;
pub use webhooks::WebhookStore;
pub use workspaces::WorkspaceStore;
