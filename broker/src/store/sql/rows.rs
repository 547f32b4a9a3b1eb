//! Rows, and how they become domain values. A row that can't is a fault of
//! ours, not of the caller.

use diesel::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::super::{Db, types::DbId};
use super::schema;
use crate::domain::{
    Timestamp,
    access::ApiKey,
    connection::{Connection, Status},
    consent::Consent,
    credential::{Credential, NewCredential},
    error::{Error, Result},
    event::{ConnectionEvent, EventKind},
    id::{ApiKeyId, ConnectionId, ConsentId, DataKeyId, EventId, ProviderId, WorkspaceId},
    provider::Provider,
    sealed::{Sealed, WrappedDataKey},
    workspace::Workspace,
};
use crate::store::UpstreamRevocation;

/// A row that our own code can't have written.
pub(super) fn impossible(what: &'static str) -> Error {
    Error::internal(format!("an impossible row: {what}"))
}

pub(super) fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

pub(super) fn from_json<T: DeserializeOwned>(value: Value, what: &'static str) -> Result<T> {
    serde_json::from_value(value).map_err(|_| impossible(what))
}

pub(super) fn to_u32(value: i64) -> Result<u32> {
    u32::try_from(value).map_err(|_| impossible("a generation"))
}

pub(super) fn hash(bytes: Vec<u8>) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| impossible("a hash"))
}

pub(super) fn status(text: &str) -> Result<Status> {
    Status::parse(text).ok_or_else(|| impossible("a status"))
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = schema::workspaces, check_for_backend(Db))]
pub(super) struct WorkspaceRow {
    pub workspace_id: DbId,
    pub name: String,
    pub allowed_return_urls: Value,
    pub created_at: Timestamp,
}

impl From<&Workspace> for WorkspaceRow {
    fn from(workspace: &Workspace) -> Self {
        Self {
            workspace_id: DbId(workspace.id.0),
            name: workspace.name.clone(),
            allowed_return_urls: to_json(&workspace.allowed_return_urls),
            created_at: workspace.created_at,
        }
    }
}

impl TryFrom<WorkspaceRow> for Workspace {
    type Error = Error;
    fn try_from(row: WorkspaceRow) -> Result<Self> {
        Ok(Self {
            id: WorkspaceId(row.workspace_id.0),
            name: row.name,
            allowed_return_urls: from_json(row.allowed_return_urls, "allowed_return_urls")?,
            created_at: row.created_at,
        })
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = schema::api_keys, check_for_backend(Db))]
pub(super) struct ApiKeyRow {
    pub key_hash: Vec<u8>,
    pub api_key_id: DbId,
    pub workspace_id: DbId,
    pub name: String,
    pub scopes: Value,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

impl ApiKeyRow {
    pub(super) fn new(key: &ApiKey, hash: [u8; 32]) -> Self {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        Self {
            key_hash: hash.to_vec(),
            api_key_id: DbId(key.id.0),
            workspace_id: DbId(key.workspace_id.0),
            name: key.name.clone(),
            scopes: to_json(&scopes),
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
        }
    }
}

impl TryFrom<ApiKeyRow> for ApiKey {
    type Error = Error;
    fn try_from(row: ApiKeyRow) -> Result<Self> {
        let scopes: Vec<String> = from_json(row.scopes, "scopes")?;
        let scopes = scopes
            .iter()
            .map(|scope| scope.parse().map_err(|_| impossible("a scope")));
        Ok(Self {
            id: ApiKeyId(row.api_key_id.0),
            workspace_id: WorkspaceId(row.workspace_id.0),
            name: row.name,
            scopes: scopes.collect::<Result<_>>()?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        })
    }
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = schema::providers, check_for_backend(Db), treat_none_as_null = true)]
pub(super) struct ProviderRow {
    pub workspace_id: DbId,
    pub provider_id: DbId,
    pub name: String,
    pub definition: Value,
    pub strategy: Value,
    pub client_secret: Option<Vec<u8>>,
    pub secret_generation: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<&Provider> for ProviderRow {
    fn from(provider: &Provider) -> Self {
        Self {
            workspace_id: DbId(provider.workspace_id.0),
            provider_id: DbId(provider.id.0),
            name: provider.name.clone(),
            definition: to_json(&provider.definition),
            strategy: to_json(&provider.definition.strategy),
            client_secret: provider.client_secret.clone().map(|sealed| sealed.0),
            secret_generation: provider.secret_generation.into(),
            created_at: provider.created_at,
            updated_at: provider.updated_at,
        }
    }
}

impl TryFrom<ProviderRow> for Provider {
    type Error = Error;
    fn try_from(row: ProviderRow) -> Result<Self> {
        Ok(Self {
            id: ProviderId(row.provider_id.0),
            workspace_id: WorkspaceId(row.workspace_id.0),
            name: row.name,
            definition: from_json(row.definition, "a provider's definition")?,
            client_secret: row.client_secret.map(Sealed),
            secret_generation: to_u32(row.secret_generation)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = schema::connections, check_for_backend(Db))]
pub(super) struct ConnectionRow {
    pub workspace_id: DbId,
    pub connection_id: DbId,
    pub user_id: String,
    pub provider_id: DbId,
    pub provider_name: String,
    pub status: String,
    pub reason: String,
    pub scopes: Value,
    pub connection_config: Value,
    pub metadata: Value,
    pub subject: Option<String>,
    pub consent_expires_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub refreshable: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<&Connection> for ConnectionRow {
    fn from(connection: &Connection) -> Self {
        Self {
            workspace_id: DbId(connection.workspace_id.0),
            connection_id: DbId(connection.id.0),
            user_id: connection.user_id.clone(),
            provider_id: DbId(connection.provider_id.0),
            provider_name: connection.provider_name.clone(),
            status: connection.status.as_str().to_owned(),
            reason: connection.reason.clone(),
            scopes: to_json(&connection.scopes),
            connection_config: to_json(&connection.connection_config),
            metadata: to_json(&connection.metadata),
            subject: connection.subject.clone(),
            consent_expires_at: connection.consent_expires_at,
            expires_at: connection.expires_at,
            refreshable: connection.refreshable,
            created_at: connection.created_at,
            updated_at: connection.updated_at,
        }
    }
}

impl TryFrom<ConnectionRow> for Connection {
    type Error = Error;
    fn try_from(row: ConnectionRow) -> Result<Self> {
        Ok(Self {
            id: ConnectionId(row.connection_id.0),
            workspace_id: WorkspaceId(row.workspace_id.0),
            user_id: row.user_id,
            provider_id: ProviderId(row.provider_id.0),
            provider_name: row.provider_name,
            status: status(&row.status)?,
            reason: row.reason,
            scopes: from_json(row.scopes, "scopes")?,
            connection_config: from_json(row.connection_config, "connection_config")?,
            metadata: from_json(row.metadata, "metadata")?,
            subject: row.subject,
            consent_expires_at: row.consent_expires_at,
            expires_at: row.expires_at,
            refreshable: row.refreshable,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// What a consent or a refresh writes of a credential.
#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = schema::credentials, check_for_backend(Db), treat_none_as_null = true)]
pub(super) struct CredentialContentRow {
    pub usage: Vec<u8>,
    pub refresh: Option<Vec<u8>>,
    pub issued_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub refresh_at: Option<Timestamp>,
    pub due_at: Option<Timestamp>,
    pub token_origin: String,
}

impl From<NewCredential> for CredentialContentRow {
    fn from(credential: NewCredential) -> Self {
        Self {
            usage: credential.usage.0,
            refresh: credential.refresh.map(|sealed| sealed.0),
            issued_at: credential.issued_at,
            expires_at: credential.expires_at,
            refresh_at: credential.refresh_at,
            due_at: credential.due_at,
            token_origin: credential.token_origin,
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = schema::credentials, check_for_backend(Db))]
pub(super) struct CredentialRow {
    pub workspace_id: DbId,
    pub connection_id: DbId,
    #[diesel(embed)]
    pub content: CredentialContentRow,
    pub generation: i64,
    pub lease_epoch: i64,
    pub lease_until: Option<Timestamp>,
    pub next_attempt_at: Option<Timestamp>,
    pub attempts: i64,
    pub uncertain_since: Option<Timestamp>,
}

impl TryFrom<CredentialRow> for Credential {
    type Error = Error;
    fn try_from(row: CredentialRow) -> Result<Self> {
        Ok(Self {
            workspace_id: WorkspaceId(row.workspace_id.0),
            connection_id: ConnectionId(row.connection_id.0),
            generation: to_u32(row.generation)?,
            content: NewCredential {
                usage: Sealed(row.content.usage),
                refresh: row.content.refresh.map(Sealed),
                issued_at: row.content.issued_at,
                expires_at: row.content.expires_at,
                refresh_at: row.content.refresh_at,
                due_at: row.content.due_at,
                token_origin: row.content.token_origin,
            },
            lease_epoch: row.lease_epoch,
            lease_until: row.lease_until,
            next_attempt_at: row.next_attempt_at,
            attempts: to_u32(row.attempts)?,
            uncertain_since: row.uncertain_since,
        })
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = schema::consents, check_for_backend(Db))]
pub(super) struct ConsentRow {
    pub state_hash: Vec<u8>,
    pub handle_hash: Vec<u8>,
    pub consent_id: DbId,
    pub workspace_id: DbId,
    pub connection_id: DbId,
    pub provider_id: DbId,
    pub secrets: Vec<u8>,
    pub return_url: String,
    pub scopes: Value,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub spent_at: Option<Timestamp>,
    pub require_confirmation: bool,
}

impl From<&Consent> for ConsentRow {
    fn from(consent: &Consent) -> Self {
        Self {
            state_hash: consent.state_hash.to_vec(),
            handle_hash: consent.handle_hash.to_vec(),
            consent_id: DbId(consent.id.0),
            workspace_id: DbId(consent.workspace_id.0),
            connection_id: DbId(consent.connection_id.0),
            provider_id: DbId(consent.provider_id.0),
            secrets: consent.secrets.0.clone(),
            return_url: consent.return_url.to_string(),
            scopes: to_json(&consent.scopes),
            created_at: consent.created_at,
            expires_at: consent.expires_at,
            spent_at: consent.spent_at,
            require_confirmation: consent.require_confirmation,
        }
    }
}

impl TryFrom<ConsentRow> for Consent {
    type Error = Error;
    fn try_from(row: ConsentRow) -> Result<Self> {
        Ok(Self {
            id: ConsentId(row.consent_id.0),
            state_hash: hash(row.state_hash)?,
            handle_hash: hash(row.handle_hash)?,
            workspace_id: WorkspaceId(row.workspace_id.0),
            connection_id: ConnectionId(row.connection_id.0),
            provider_id: ProviderId(row.provider_id.0),
            secrets: Sealed(row.secrets),
            return_url: row
                .return_url
                .parse()
                .map_err(|_| impossible("a return_url"))?,
            scopes: from_json(row.scopes, "scopes")?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            spent_at: row.spent_at,
            require_confirmation: row.require_confirmation,
        })
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = schema::data_keys, check_for_backend(Db))]
pub(super) struct DataKeyRow {
    pub workspace_id: DbId,
    pub data_key_id: DbId,
    pub kek_id: String,
    pub wrapped: Vec<u8>,
    pub active: bool,
    pub created_at: Timestamp,
}

impl DataKeyRow {
    pub(super) fn active(key: &WrappedDataKey) -> Self {
        Self {
            workspace_id: DbId(key.workspace_id.0),
            data_key_id: DbId(key.data_key_id.0),
            kek_id: key.kek_id.clone(),
            wrapped: key.wrapped.clone(),
            active: true,
            created_at: key.created_at,
        }
    }
}

impl From<DataKeyRow> for WrappedDataKey {
    fn from(row: DataKeyRow) -> Self {
        Self {
            workspace_id: WorkspaceId(row.workspace_id.0),
            data_key_id: DataKeyId(row.data_key_id.0),
            kek_id: row.kek_id,
            wrapped: row.wrapped,
            created_at: row.created_at,
        }
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = schema::upstream_revocations, check_for_backend(Db))]
pub(super) struct UpstreamRevocationRow {
    pub workspace_id: DbId,
    pub upstream_revocation_id: DbId,
    pub connection_id: DbId,
    pub provider_id: DbId,
    pub token: Vec<u8>,
    pub created_at: Timestamp,
    pub attempts: i64,
    pub next_attempt_at: Timestamp,
}

impl From<UpstreamRevocation> for UpstreamRevocationRow {
    fn from(revocation: UpstreamRevocation) -> Self {
        Self {
            workspace_id: DbId(revocation.workspace_id.0),
            upstream_revocation_id: DbId(revocation.id),
            connection_id: DbId(revocation.connection_id.0),
            provider_id: DbId(revocation.provider_id.0),
            token: revocation.token.0,
            created_at: revocation.created_at,
            attempts: revocation.attempts.into(),
            next_attempt_at: revocation.next_attempt_at,
        }
    }
}

impl From<UpstreamRevocationRow> for UpstreamRevocation {
    fn from(row: UpstreamRevocationRow) -> Self {
        Self {
            id: row.upstream_revocation_id.0,
            workspace_id: WorkspaceId(row.workspace_id.0),
            connection_id: ConnectionId(row.connection_id.0),
            provider_id: ProviderId(row.provider_id.0),
            token: Sealed(row.token),
            created_at: row.created_at,
            attempts: row.attempts.try_into().unwrap_or(u32::MAX),
            next_attempt_at: row.next_attempt_at,
        }
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = schema::events, check_for_backend(Db))]
pub(super) struct EventRow {
    pub workspace_id: DbId,
    pub connection_id: DbId,
    pub sequence: i64,
    pub event_id: DbId,
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub generation: i64,
    pub user_id: String,
    pub provider_name: String,
    pub occurred_at: Timestamp,
}

impl From<&ConnectionEvent> for EventRow {
    fn from(event: &ConnectionEvent) -> Self {
        Self {
            workspace_id: DbId(event.workspace_id.0),
            connection_id: DbId(event.connection_id.0),
            sequence: event.sequence,
            event_id: DbId(event.id.0),
            kind: event.kind.as_str().to_owned(),
            status: event.status.as_str().to_owned(),
            reason: event.reason.clone(),
            generation: event.generation.into(),
            user_id: event.user_id.clone(),
            provider_name: event.provider_name.clone(),
            occurred_at: event.occurred_at,
        }
    }
}

impl TryFrom<EventRow> for ConnectionEvent {
    type Error = Error;
    fn try_from(row: EventRow) -> Result<Self> {
        Ok(Self {
            id: EventId(row.event_id.0),
            workspace_id: WorkspaceId(row.workspace_id.0),
            connection_id: ConnectionId(row.connection_id.0),
            sequence: row.sequence,
            kind: EventKind::parse(&row.kind).ok_or_else(|| impossible("an event's kind"))?,
            status: status(&row.status)?,
            reason: row.reason,
            generation: to_u32(row.generation)?,
            user_id: row.user_id,
            provider_name: row.provider_name,
            occurred_at: row.occurred_at,
        })
    }
}
