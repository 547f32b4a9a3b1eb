//! What the audit records.

use super::{
    Timestamp,
    access::Caller,
    ambient::Ambient,
    id::{ApiKeyId, AuditEventId, ConnectionId, WorkspaceId},
};

macro_rules! actions {
    ($($(#[$doc:meta])* $action:ident => $text:literal;)*) => {
        /// Something that is audited.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $action,)* }

        impl Action {
            /// As it is stored and answered.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$action => $text,)* }
            }
        }
    };
}

actions! {
    /// A consent was begun for a new connection.
    ConnectionRequested => "connection.requested";
    /// A consent was begun for an existing connection.
    ConnectionReconnectRequested => "connection.reconnect_requested";
    /// A consent succeeded.
    ConnectionActivated => "connection.activated";
    /// A consent was refused or could not be completed.
    ConnectionFailed => "connection.failed";
    /// The provider refused the grant.
    ConnectionAttention => "connection.attention";
    /// A connection was revoked.
    ConnectionRevoked => "connection.revoked";
    /// The provider was told of a revocation.
    ConnectionRevokedUpstream => "connection.revoked_upstream";
    /// A credential was handed out.
    CredentialRead => "credential.read";
    /// A credential was refreshed, or that failed.
    CredentialRefreshed => "credential.refreshed";
    /// A provider was created.
    ProviderCreated => "provider.created";
    /// A provider was changed.
    ProviderUpdated => "provider.updated";
    /// A provider was deleted.
    ProviderDeleted => "provider.deleted";
    /// An API key was created.
    ApiKeyCreated => "api_key.created";
    /// An API key was deleted.
    ApiKeyDeleted => "api_key.deleted";
    /// A consent yielded a credential that waits for its confirmation.
    ConnectionConfirmationRequested => "connection.confirmation_requested";
    /// A webhook was created.
    WebhookCreated => "webhook.created";
    /// A webhook was changed.
    WebhookUpdated => "webhook.updated";
    /// A webhook was deleted.
    WebhookDeleted => "webhook.deleted";
    /// A webhook got a new secret.
    WebhookSecretRotated => "webhook.secret_rotated";
    /// A webhook's endpoint wanted no more.
    WebhookDisabled => "webhook.disabled";
    /// A message to a webhook is sent again.
    WebhookDeliveryReplayed => "webhook.delivery_replayed";
    /// A workspace was created.
    WorkspaceCreated => "workspace.created";
    /// A workspace was changed.
    WorkspaceUpdated => "workspace.updated";
    /// A workspace was deleted.
    WorkspaceDeleted => "workspace.deleted";
    /// A rotation of keys was begun.
    KeysRotationRequested => "keys.rotation_requested";
    /// The first row of an audit writer; its request_id is the key's id.
    AuditWriterBegan => "audit.writer_began";
    /// The last row of an audit writer.
    AuditWriterClosed => "audit.writer_closed";
    /// Old audit rows were deleted up to a checkpoint.
    AuditPruned => "audit.pruned";
}

/// One row of the audit. It stands by itself: it may speak of what does not
/// exist (any more), so nothing in it refers to another table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Its id.
    pub id: AuditEventId,
    /// The workspace it happened in.
    pub workspace_id: WorkspaceId,
    /// When.
    pub occurred_at: Timestamp,
    /// What.
    pub action: String,
    /// Whether it failed, and why: a machine-readable word of ours or of an
    /// RFC, never a provider's text.
    pub error: Option<String>,
    /// Who asked for it.
    pub api_key_id: Option<ApiKeyId>,
    /// Whose connection it is about.
    pub user_id: String,
    /// The connection it is about.
    pub connection_id: Option<ConnectionId>,
    /// The provider it is about.
    pub provider_name: String,
    /// The request that caused it.
    pub request_id: String,
}

/// Who causes an event.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// An API key's holder.
    Caller(&'a Caller),
    /// A browser, or Dromos itself, in a workspace, on a request.
    Anonymous(WorkspaceId, &'a str),
}

impl AuditEvent {
    /// An event that happens now, and succeeded.
    #[must_use]
    pub fn new(ambient: &Ambient, action: Action, actor: Actor<'_>) -> Self {
        let (workspace_id, api_key_id, request_id) = match actor {
            Actor::Caller(caller) => (
                caller.workspace_id(),
                Some(caller.key.id),
                caller.request_id.as_str(),
            ),
            Actor::Anonymous(workspace_id, request_id) => (workspace_id, None, request_id),
        };
        Self {
            id: AuditEventId(ambient.id()),
            workspace_id,
            occurred_at: ambient.now(),
            action: action.as_str().to_owned(),
            error: None,
            api_key_id,
            user_id: String::new(),
            connection_id: None,
            provider_name: String::new(),
            request_id: request_id.to_owned(),
        }
    }

    /// About a connection.
    #[must_use]
    pub fn about(mut self, id: ConnectionId, user_id: &str, provider_name: &str) -> Self {
        self.connection_id = Some(id);
        user_id.clone_into(&mut self.user_id);
        provider_name.clone_into(&mut self.provider_name);
        self
    }

    /// About a provider.
    #[must_use]
    pub fn about_provider(mut self, name: &str) -> Self {
        name.clone_into(&mut self.provider_name);
        self
    }

    /// It failed.
    #[must_use]
    pub fn failed(mut self, reason: impl Into<String>) -> Self {
        self.error = Some(reason.into());
        self
    }
}

/// Which audit events a list shows.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only those about this connection.
    pub connection_id: Option<ConnectionId>,
    /// Only those of this action.
    pub action: Option<String>,
}
