//! Who may call: scopes, API keys and the caller they identify.

use std::{fmt, str::FromStr};

use super::{
    Timestamp,
    id::{ApiKeyId, WorkspaceId},
};

macro_rules! scopes {
    ($($(#[$doc:meta])* $scope:ident => $text:literal;)*) => {
        /// What an API key may do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Scope { $($(#[$doc])* $scope,)* }

        impl Scope {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$scope,)*];

            /// As it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$scope => $text,)* }
            }
        }
    };
}

scopes! {
    /// See where connections stand.
    ConnectionsRead => "connections:read";
    /// Begin, reconnect and revoke connections.
    ConnectionsWrite => "connections:write";
    /// Fetch credentials.
    CredentialsRead => "credentials:read";
    /// Force a refresh.
    CredentialsRefresh => "credentials:refresh";
    /// See providers.
    ProvidersRead => "providers:read";
    /// Change providers.
    ProvidersWrite => "providers:write";
    /// Read the audit.
    AuditRead => "audit:read";
    /// Everything in the key's own workspace.
    Admin => "admin";
    /// Workspaces.
    Operator => "operator";
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a scope")]
pub struct NotAScope;

impl FromStr for Scope {
    type Err = NotAScope;
    fn from_str(text: &str) -> Result<Self, NotAScope> {
        Self::ALL
            .iter()
            .copied()
            .find(|scope| scope.as_str() == text)
            .ok_or(NotAScope)
    }
}

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The workspace it belongs to.
    pub workspace_id: WorkspaceId,
    /// Its name for people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether the key holds a scope; `admin` holds every one but `operator`.
    #[must_use]
    pub fn holds(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
            || (scope != Scope::Operator && self.scopes.contains(&Scope::Admin))
    }

    /// Whether the key still works.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// The SHA-256 of a key's secret: what is stored of it. The secrets are random
/// and long, so a slow hash would add nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Of a secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, secret.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// Who is calling, on which request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key that identified them.
    pub key: std::sync::Arc<ApiKey>,
    /// The request's id, as in the logs.
    pub request_id: String,
}

impl Caller {
    /// The workspace they act in.
    #[must_use]
    pub fn workspace_id(&self) -> WorkspaceId {
        self.key.workspace_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_holds_every_scope_but_operator() {
        let key = ApiKey {
            id: ApiKeyId(uuid::Uuid::nil()),
            workspace_id: WorkspaceId::DEFAULT,
            name: String::new(),
            scopes: vec![Scope::Admin],
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            last_used_at: None,
        };
        for &scope in Scope::ALL {
            assert_eq!(key.holds(scope), scope != Scope::Operator, "{scope}");
        }
    }
}
