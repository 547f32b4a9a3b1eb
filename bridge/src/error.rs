//! What can go wrong, told so that a program can act on it. No error holds a
//! credential or the API key.

use std::{sync::Arc, time::Duration};

use dromos_strategy::{ApplyError, ConfigError};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The domain of the reasons in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "dromos";

/// Why a request could not be signed or sent.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is missing or can't work.
    #[error("{setting} {problem}")]
    Setting {
        /// Which one, as its user knows it.
        setting: &'static str,
        /// What is wrong, in words that follow the setting's name.
        problem: String,
    },
    /// The gateway refused, or could not be reached.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The gateway named a strategy that this version can't apply.
    #[error("the connection's strategy can't be applied: strategy.{0}")]
    Strategy(#[from] ConfigError),
    /// The gateway's answer is incomplete.
    #[error("the gateway's answer has {0}")]
    Payload(&'static str),
    /// The credentials don't fit the strategy.
    #[error("the credentials can't be applied: {0}")]
    Apply(#[from] ApplyError),
    /// The credentials must not go where the request goes.
    #[error("the credentials are not sent to {origin}: {problem}")]
    Destination {
        /// Scheme, host and port of the request; nothing else of its URL.
        origin: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The far side refused the credential, and no newer one is to be had now.
    #[error("the credential was refused and no newer one is to be had")]
    Refused {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The task that asked the gateway ended without an answer, with the
    /// runtime it ran on.
    #[error("the request to the gateway was interrupted")]
    Interrupted,
    /// The request to the far side failed in transport.
    #[error("the request failed: {0}")]
    Http(Arc<reqwest::Error>),
}

impl Error {
    /// The machine-readable reason: the gateway's (`CONNECTION_REVOKED`; its
    /// gRPC code where it gave none), or one of this library's own.
    pub fn reason(&self) -> &str {
        match self {
            Self::Gateway(error) => error.reason(),
            Self::Setting { .. } => "INVALID_SETTING",
            Self::Strategy(error) => error.kind().as_str(),
            Self::Payload(_) => "INVALID_PAYLOAD",
            Self::Apply(error) => error.kind().as_str(),
            Self::Destination { .. } => "DESTINATION_REFUSED",
            Self::Refused { .. } => "CREDENTIAL_REFUSED",
            Self::Interrupted => "INTERRUPTED",
            Self::Http(_) => "HTTP",
        }
    }

    /// Whether the user must reconnect before this can succeed.
    pub fn reconnect(&self) -> bool {
        matches!(self, Self::Gateway(error) if error.reconnect)
    }

    /// How long to wait before trying again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Gateway(error) => error.retry_after,
            Self::Refused { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Gateway(error) => error.is_temporary(),
            Self::Refused { .. } | Self::Interrupted => true,
            Self::Http(error) => error.is_connect() || error.is_timeout(),
            _ => false,
        }
    }

    /// Whether the connection itself can't be used, so that a credential still
    /// held for it must not be used either.
    pub(crate) fn withdraws_credential(&self) -> bool {
        const WITHDRAWN: &[&str] = &[
            "CONNECTION_NOT_FOUND",
            "CONNECTION_REVOKED",
            "CONNECTION_ATTENTION_REQUIRED",
            "CONNECTION_EXPIRED",
            "CONNECTION_PENDING",
            "CONNECTION_FAILED",
            "UNAUTHENTICATED",
        ];
        matches!(self, Self::Gateway(_)) && WITHDRAWN.contains(&self.reason())
    }
}

/// What the gateway answered instead of a credential.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the gateway answered {reason}: {message}")]
pub struct GatewayError {
    code: Code,
    reason: String,
    message: String,
    reconnect: bool,
    retry_after: Option<Duration>,
}

impl GatewayError {
    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The reason in `google.rpc.ErrorInfo`, or the gRPC code's name.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The gateway's words, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    fn is_temporary(&self) -> bool {
        match self.code {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Aborted
            // A fault inside the gateway says nothing of the connection.
            | Code::Internal
            | Code::Unknown => true,
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => false,
        }
    }
}

impl From<Status> for GatewayError {
    fn from(status: Status) -> Self {
        let info = status
            .get_details_error_info()
            .filter(|info| info.domain == DOMAIN);
        let reconnect = info
            .as_ref()
            .and_then(|info| info.metadata.get("reconnect"));
        let reconnect = reconnect.is_some_and(|reconnect| reconnect == "true");
        Self {
            code: status.code(),
            reason: info.map_or_else(|| code_name(status.code()).to_owned(), |info| info.reason),
            message: status.message().to_owned(),
            reconnect,
            retry_after: status
                .get_details_retry_info()
                .and_then(|retry| retry.retry_delay),
        }
    }
}

/// A code's name as the gRPC specification spells it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
