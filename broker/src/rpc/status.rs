//! How errors leave: the one place that makes a `tonic::Status`, and logs what
//! really happened.

use std::error::Error as _;

use tonic::{Code, Status};

use crate::domain::error::{Error, ErrorKind};

/// The status of an error. What caused it goes to the log, once.
pub fn of(error: Error) -> Status {
    match error.kind {
        ErrorKind::Internal => {
            tracing::error!(error = error.source(), "internal error");
        }
        ErrorKind::StoreUnavailable
        | ErrorKind::ProviderUnavailable
        | ErrorKind::ProviderMisconfigured => {
            tracing::warn!(
                reason = error.kind.reason(),
                error = error.source(),
                "a dependency failed"
            );
        }
        _ => {}
    }
    if error.kind == ErrorKind::InvalidArgument {
        let violations: Vec<(&str, &str)> = error
            .violations
            .iter()
            .map(|violation| (violation.field.as_str(), violation.description.as_str()))
            .collect();
        return dromos_serve::status::invalid_argument(&violations);
    }
    let metadata: Vec<(&str, &str)> = error
        .metadata
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    dromos_serve::status::status(
        Code::from(error.kind.grpc_code()),
        error.kind.reason(),
        error.message,
        error.retry_after,
        &metadata,
    )
}

/// No such method is served, or it has no access rule.
pub fn unimplemented() -> Status {
    dromos_serve::status::unimplemented()
}
