//! The store: domain in, domain out, and for a secret ciphertext only. Each
//! trait here is one aggregate's part; PostgreSQL and SQLite implement them
//! with the same source (`sql/`), compiled once for each.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{
    Timestamp,
    access::{ApiKey, KeyHash},
    audit::{AuditEvent, AuditFilter},
    connection::{Connection, ConnectionFilter, Status},
    consent::Consent,
    credential::{Credential, NewCredential, TokenView},
    error::Result,
    id::{ApiKeyId, ConnectionId, ConsentId, ProviderId, WorkspaceId},
    page::PageRequest,
    provider::Provider,
    sealed::{DataKeyStore, Sealed},
    workspace::Workspace,
};

mod pg;
mod sqlite;

/// How long a caller waits for a database connection before the answer is
/// STORE_UNAVAILABLE.
const CONNECTION_WAIT: Duration = Duration::from_secs(2);

/// How long a refresh lease holds, in seconds. The exchange's own deadline is
/// shorter, so that a lease never ends under a living exchange.
pub const LEASE_SECONDS: i64 = 60;

/// Everything that a broker keeps.
pub trait Store:
    WorkspaceStore
    + ApiKeyStore
    + DataKeyStore
    + ProviderStore
    + ConnectionStore
    + ConsentStore
    + CredentialStore
    + AnswerStore
    + AuditStore
    + Upkeep
{
}

impl<T> Store for T where
    T: WorkspaceStore
        + ApiKeyStore
        + DataKeyStore
        + ProviderStore
        + ConnectionStore
        + ConsentStore
        + CredentialStore
        + AnswerStore
        + AuditStore
        + Upkeep
{
}

/// Workspaces.
#[async_trait]
pub trait WorkspaceStore: Send + Sync {
    /// Adds one.
    async fn insert_workspace(&self, workspace: &Workspace, audit: AuditEvent) -> Result<()>;
    /// Adds the default one, unless it is there.
    async fn ensure_workspace(&self, workspace: &Workspace) -> Result<()>;
    /// One.
    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>>;
    /// A page of them.
    async fn workspaces(&self, page: PageRequest) -> Result<Vec<Workspace>>;
    /// Replaces one; false where there is none.
    async fn update_workspace(&self, workspace: &Workspace, audit: AuditEvent) -> Result<bool>;
    /// Deletes one and all that is in it but its audit; false where there is none.
    async fn delete_workspace(&self, id: WorkspaceId, audit: AuditEvent) -> Result<bool>;
}

/// API keys.
#[async_trait]
pub trait ApiKeyStore: Send + Sync {
    /// Adds one; false where its workspace does not exist.
    async fn insert_api_key(&self, key: &ApiKey, hash: KeyHash, audit: AuditEvent) -> Result<bool>;
    /// Adds the bootstrap key if there never was a key; tells whether it did.
    async fn take_bootstrap_key(
        &self,
        key: &ApiKey,
        hash: KeyHash,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// The key with this secret.
    async fn api_key_by_hash(&self, hash: KeyHash) -> Result<Option<ApiKey>>;
    /// One of a workspace.
    async fn api_key(&self, workspace: WorkspaceId, id: ApiKeyId) -> Result<Option<ApiKey>>;
    /// A page of a workspace's.
    async fn api_keys(&self, workspace: WorkspaceId, page: PageRequest) -> Result<Vec<ApiKey>>;
    /// Deletes one; false where there is none.
    async fn delete_api_key(
        &self,
        workspace: WorkspaceId,
        id: ApiKeyId,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// Records a use.
    async fn touch_api_key(&self, id: ApiKeyId, at: Timestamp) -> Result<()>;
}

/// Providers.
#[async_trait]
pub trait ProviderStore: Send + Sync {
    /// Adds one; false where its name is taken.
    async fn insert_provider(&self, provider: &Provider, audit: AuditEvent) -> Result<bool>;
    /// One, by id.
    async fn provider(&self, workspace: WorkspaceId, id: ProviderId) -> Result<Option<Provider>>;
    /// One, by name.
    async fn provider_by_name(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Option<Provider>>;
    /// A page of a workspace's.
    async fn providers(&self, workspace: WorkspaceId, page: PageRequest) -> Result<Vec<Provider>>;
    /// Replaces one that was read with this `updated_at`; false where it has
    /// changed since, or is gone.
    async fn update_provider(
        &self,
        provider: &Provider,
        read_at: Timestamp,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// Deletes one that no connection uses; false where one does, or it is gone.
    async fn delete_provider(
        &self,
        workspace: WorkspaceId,
        id: ProviderId,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// The connections, not revoked, that use a provider.
    async fn connections_of_provider(
        &self,
        workspace: WorkspaceId,
        id: ProviderId,
    ) -> Result<Vec<ConnectionId>>;
}

/// Connections.
#[async_trait]
pub trait ConnectionStore: Send + Sync {
    /// Adds one with its first consent.
    async fn insert_connection(
        &self,
        connection: &Connection,
        consent: &Consent,
        audit: AuditEvent,
    ) -> Result<()>;
    /// One.
    async fn connection(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<Connection>>;
    /// A page of a workspace's.
    async fn connections(
        &self,
        workspace: WorkspaceId,
        filter: &ConnectionFilter,
        page: PageRequest,
    ) -> Result<Vec<Connection>>;
    /// How many of a workspace's are not revoked.
    async fn count_connections(&self, workspace: WorkspaceId) -> Result<i64>;
    /// Revokes one: deletes its credential, spends its consents, and keeps the
    /// sealed token until the provider has been told.
    async fn revoke_connection(&self, revocation: Revocation, audit: AuditEvent)
    -> Result<Revoked>;
    /// What the provider has yet to be told.
    async fn upstream_revocations(&self, limit: i64) -> Result<Vec<UpstreamRevocation>>;
    /// The provider has been told, or can't be.
    async fn end_upstream_revocation(
        &self,
        revocation: &UpstreamRevocation,
        audit: AuditEvent,
    ) -> Result<()>;
}

/// A connection's end.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// Now.
    pub at: Timestamp,
    /// Ends only a credential of this generation (0: none), so that the sealed
    /// token below is the one that was deleted.
    pub generation: u32,
    /// What the provider has to be told.
    pub upstream: Option<UpstreamRevocation>,
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The connection is revoked.
    Done,
    /// It was before, or is gone.
    Before,
    /// Another credential was stored in between: read again and retry.
    Conflict,
}

/// A token that the provider has yet to revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRevocation {
    /// Its own id.
    pub id: uuid::Uuid,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection it came from.
    pub connection_id: ConnectionId,
    /// The provider to tell.
    pub provider_id: ProviderId,
    /// The token, sealed.
    pub token: Sealed,
    /// When the connection was revoked.
    pub created_at: Timestamp,
}

/// Consents.
#[async_trait]
pub trait ConsentStore: Send + Sync {
    /// Adds one to an existing connection and spends its others; false where
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
    /// before; `superseded` says that a newer one was begun since, or that the
    /// connection was revoked.
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

/// Credentials and their refresh leases.
#[async_trait]
pub trait CredentialStore: Send + Sync {
    /// What GetToken needs, in one query by primary key.
    async fn token_view(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<TokenView>>;
    /// The credential as a whole.
    async fn credential(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<Credential>>;
    /// Takes the lease, on the database's clock: the new epoch, or none where
    /// the generation has moved on, a lease is unexpired, or it is too early.
    async fn claim_refresh(&self, claim: Claim) -> Result<Option<i64>>;
    /// New tokens: accepted if their epoch is above the committed one.
    async fn commit_refresh(&self, refreshed: Refreshed, audit: AuditEvent) -> Result<Committed>;
    /// The provider refused the grant: counts only if epoch and generation are
    /// unchanged; tells whether it did.
    async fn refuse_refresh(
        &self,
        attempt: Attempt,
        reason: &str,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// The attempt yielded nothing: releases the lease.
    async fn release_refresh(
        &self,
        attempt: Attempt,
        release: Release,
        audit: AuditEvent,
    ) -> Result<()>;
}

/// Asks for the refresh lease.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The generation that was read.
    pub generation: u32,
    /// This broker.
    pub owner: uuid::Uuid,
    /// Now; for `next_attempt_at`.
    pub at: Timestamp,
    /// A person asked: `next_attempt_at` does not hold them up.
    pub forced: bool,
}

/// A refresh attempt that holds, or held, the lease.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The lease's epoch.
    pub epoch: i64,
    /// The generation that was refreshed.
    pub generation: u32,
    /// Now.
    pub at: Timestamp,
}

/// A refresh's success.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// The attempt.
    pub attempt: Attempt,
    /// The credential, sealed under the next generation.
    pub credential: NewCredential,
    /// The scopes granted, where the answer named them.
    pub scopes: Option<Vec<String>>,
}

/// What became of a refresh's success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Stored.
    Done,
    /// A newer epoch was committed before, by a reconnect or another refresh.
    Superseded,
    /// The connection is revoked: the new tokens have to be revoked upstream.
    Revoked,
}

/// How an attempt without new tokens ends.
#[derive(Debug, Clone, Copy)]
pub struct Release {
    /// Not before this time is another one made.
    pub next_attempt_at: Timestamp,
    /// Bytes were sent and no complete answer came.
    pub uncertain: bool,
}

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

/// The audit.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Adds rows; when it returns they are durable.
    async fn append_audit(&self, events: Vec<AuditEvent>) -> Result<()>;
    /// A page of a workspace's.
    async fn audit_events(
        &self,
        workspace: WorkspaceId,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Vec<AuditEvent>>;
}

/// What keeps the store in order.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;
    /// Brings the schema up to date; how many migrations that took.
    async fn migrate(&self) -> Result<usize>;
    /// Whether the schema is up to date.
    async fn is_migrated(&self) -> Result<bool>;
    /// Forgets consents a day after they ended and answers after 24 hours, and
    /// records what time has done to connections.
    async fn tidy(&self, at: Timestamp) -> Result<()>;
    /// How many connections stand where.
    async fn count_by_status(&self) -> Result<Vec<(Status, i64)>>;
    /// The pool: connections open, and of these idle.
    fn pool_state(&self) -> (u32, u32);
}

/// Opens the store of a URL: `postgres://…`, or else the path of an SQLite
/// file.
///
/// # Errors
/// The database can't be reached within the bound.
pub async fn open(url: &str) -> Result<std::sync::Arc<dyn Store>> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Ok(std::sync::Arc::new(pg::open(url).await?))
    } else {
        Ok(std::sync::Arc::new(sqlite::open(url).await?))
    }
}

/// What a database error means to a caller: a broken rule is a fault of ours,
/// everything else is a database that can't serve now.
impl From<diesel::result::Error> for crate::domain::error::Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind as Kind, Error as E};
        match &error {
            E::DatabaseError(
                Kind::UniqueViolation
                | Kind::ForeignKeyViolation
                | Kind::NotNullViolation
                | Kind::CheckViolation,
                _,
            )
            | E::DeserializationError(_)
            | E::SerializationError(_)
            | E::QueryBuilderError(_)
            | E::NotFound => Self::internal(error),
            _ => Self::store_unavailable(error),
        }
    }
}
