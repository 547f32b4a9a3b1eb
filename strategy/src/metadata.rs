//! Which headers gRPC metadata can carry.

use http::{HeaderName, HeaderValue};

use crate::{ApplyError, ApplyErrorKind};

/// Names that the gRPC protocol keeps for the call itself.
const RESERVED: &[&str] = &["content-type", "user-agent"];

/// Refuses names that gRPC gives a meaning of its own: `grpc-*`, and `*-bin`,
/// whose values are base64 of bytes.
pub(crate) fn check(entries: &[(HeaderName, HeaderValue)]) -> Result<(), ApplyError> {
    let refused = entries.iter().map(|(name, _)| name.as_str()).any(|name| {
        name.starts_with("grpc-") || name.ends_with("-bin") || RESERVED.contains(&name)
    });
    if refused {
        return Err(ApplyError::new(
            "config.header_name",
            ApplyErrorKind::NotMetadata,
        ));
    }
    Ok(())
}
