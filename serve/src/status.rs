//! gRPC errors as Dromos answers them: `google.rpc.Status` with details.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "dromos";

/// A status with `google.rpc.ErrorInfo` (`reason`, the domain `dromos`,
/// `metadata`) and, where `retry_after` is given, `google.rpc.RetryInfo`.
///
/// `message` reaches the caller: it holds nothing internal and no secret.
pub fn status(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    retry_after: Option<Duration>,
    metadata: &[(&str, &str)],
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, metadata);
    if let Some(delay) = retry_after {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code, message, details)
}

/// INVALID_ARGUMENT with `google.rpc.BadRequest`: one entry per `(field,
/// description)`.
pub fn invalid_argument(violations: &[(&str, &str)]) -> Status {
    let mut details = ErrorDetails::new();
    for (field, description) in violations {
        details.add_bad_request_violation(*field, *description);
    }
    let fields: Vec<&str> = violations.iter().map(|(field, _)| *field).collect();
    let message = format!("the request is not valid: {}", fields.join(", "));
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// INTERNAL, and nothing about what happened inside.
pub fn internal() -> Status {
    status(
        Code::Internal,
        "INTERNAL",
        "an internal error occurred",
        None,
        &[],
    )
}

/// UNAUTHENTICATED, the same whatever is wrong with the key.
pub fn unauthenticated() -> Status {
    let message = "a valid API key is required: Authorization: Bearer <key>";
    status(Code::Unauthenticated, "UNAUTHENTICATED", message, None, &[])
}

/// DEADLINE_EXCEEDED.
pub fn deadline_exceeded() -> Status {
    let message = "the deadline passed before the answer was ready";
    status(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        message,
        None,
        &[],
    )
}

/// DEADLINE_EXCEEDED: the request's body took too long to arrive.
pub fn too_slow() -> Status {
    let message = "the request's body did not arrive in time";
    status(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        message,
        None,
        &[],
    )
}

/// UNIMPLEMENTED: no such method is served here.
pub fn unimplemented() -> Status {
    Status::new(Code::Unimplemented, "no such method")
}

/// RESOURCE_EXHAUSTED: the request's body has more than `limit` bytes.
pub fn too_large(limit: usize) -> Status {
    let message = format!("the request is larger than {limit} bytes");
    status(
        Code::ResourceExhausted,
        "REQUEST_TOO_LARGE",
        message,
        None,
        &[],
    )
}
