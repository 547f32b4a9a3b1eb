//! Every error that a caller can meet, in one closed table.

use std::{borrow::Cow, time::Duration};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $reason:literal, $code:literal, $http:literal;)*) => {
        /// What went wrong, as a caller is told it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($(#[$doc])* $kind,)* }

        impl ErrorKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The reason in `google.rpc.ErrorInfo`, domain `dromos`.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$kind => $reason,)* }
            }

            /// The gRPC status code, as its number.
            #[must_use]
            pub const fn grpc_code(self) -> i32 {
                match self { $(Self::$kind => $code,)* }
            }

            /// The HTTP status that REST callers see.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$kind => $http,)* }
            }
        }
    };
}

kinds! {
    /// No valid API key.
    Unauthenticated => "UNAUTHENTICATED", 16, 401;
    /// The key lacks the method's scope.
    ScopeMissing => "SCOPE_MISSING", 7, 403;
    /// The connection is revoked for good.
    ConnectionRevoked => "CONNECTION_REVOKED", 7, 403;
    /// No such connection in the caller's workspace.
    ConnectionNotFound => "CONNECTION_NOT_FOUND", 5, 404;
    /// No such provider in the caller's workspace.
    ProviderNotFound => "PROVIDER_NOT_FOUND", 5, 404;
    /// No such API key in the caller's workspace.
    ApiKeyNotFound => "API_KEY_NOT_FOUND", 5, 404;
    /// No such workspace.
    WorkspaceNotFound => "WORKSPACE_NOT_FOUND", 5, 404;
    /// No such webhook in the caller's workspace.
    WebhookNotFound => "WEBHOOK_NOT_FOUND", 5, 404;
    /// No such delivery of this webhook.
    WebhookDeliveryNotFound => "WEBHOOK_DELIVERY_NOT_FOUND", 5, 404;
    /// The user has not consented yet.
    ConnectionPending => "CONNECTION_PENDING", 9, 400;
    /// The consent failed.
    ConnectionFailed => "CONNECTION_FAILED", 9, 400;
    /// The credential expired and can't be refreshed.
    ConnectionExpired => "CONNECTION_EXPIRED", 9, 400;
    /// The provider refused the grant.
    ConnectionAttentionRequired => "CONNECTION_ATTENTION_REQUIRED", 9, 400;
    /// The credential has no refresh token.
    NotRefreshable => "NOT_REFRESHABLE", 9, 400;
    /// The provider rejects the client registration or its definition.
    ProviderMisconfigured => "PROVIDER_MISCONFIGURED", 9, 400;
    /// Connections hang on what is to be deleted.
    ProviderInUse => "PROVIDER_IN_USE", 9, 400;
    /// A provider of that name exists.
    ProviderExists => "PROVIDER_EXISTS", 6, 409;
    /// Fields of the request are malformed; the violations say which.
    InvalidArgument => "INVALID_ARGUMENT", 3, 400;
    /// The key has made more requests than it may for now.
    RateLimited => "RATE_LIMITED", 8, 429;
    /// The provider can't be reached or is overloaded.
    ProviderUnavailable => "PROVIDER_UNAVAILABLE", 14, 503;
    /// A refresh was sent and its outcome is not known.
    RefreshUncertain => "REFRESH_UNCERTAIN", 14, 503;
    /// The database can't be reached.
    StoreUnavailable => "STORE_UNAVAILABLE", 14, 503;
    /// This broker is going away; another one, or its successor, answers.
    BrokerUnavailable => "BROKER_UNAVAILABLE", 14, 503;
    /// The call's deadline passed.
    DeadlineExceeded => "DEADLINE_EXCEEDED", 4, 504;
    /// A fault of ours; nothing inside is told.
    Internal => "INTERNAL", 13, 500;
}

/// A malformed field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path, for instance `oauth2.client_id`.
    pub field: String,
    /// What is wrong with it, without its value.
    pub description: String,
}

/// An error on its way to a caller.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", kind.reason())]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The same for people: what to do next. Never holds internal text.
    pub message: Cow<'static, str>,
    /// For machines, beside the reason.
    pub metadata: Vec<(&'static str, String)>,
    /// Malformed fields.
    pub violations: Vec<FieldViolation>,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// Whether it is what [`Error::stale_seal`] says.
    pub is_stale_seal: bool,
    /// What really happened: logged once at the boundary, never answered.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The outcome of a flow.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = match kind {
            ErrorKind::ProviderUnavailable | ErrorKind::RefreshUncertain => {
                Some(Duration::from_secs(5))
            }
            ErrorKind::StoreUnavailable | ErrorKind::BrokerUnavailable => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        };
        Self {
            kind,
            message: message.into(),
            metadata: vec![],
            violations: vec![],
            retry_after,
            is_stale_seal: false,
            cause: None,
        }
    }

    /// One malformed field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::violations(vec![FieldViolation {
            field: field.into(),
            description: description.into(),
        }])
    }

    /// Several malformed fields.
    #[must_use]
    pub fn violations(violations: Vec<FieldViolation>) -> Self {
        let message = violations
            .iter()
            .map(|violation| format!("{}: {}", violation.field, violation.description))
            .collect::<Vec<_>>()
            .join("; ");
        Self {
            violations,
            ..Self::new(ErrorKind::InvalidArgument, message)
        }
    }

    /// A fault of ours.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(
            ErrorKind::Internal,
            "internal error; the logs name it by the request id",
        )
        .because(cause)
    }

    /// The database can't be reached.
    pub fn store_unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(
            ErrorKind::StoreUnavailable,
            "the database can't be reached; try again",
        )
        .because(cause)
    }

    /// Adds what really happened, for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds metadata for machines.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((key, value.into()));
        self
    }

    /// What was to be stored is sealed under a data key that is not active any
    /// more; sealed again, it can be.
    pub fn stale_seal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            is_stale_seal: true,
            ..Self::store_unavailable(cause)
        }
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after.or(self.retry_after);
        self
    }
}
