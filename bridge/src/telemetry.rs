//! The metrics that the bridge writes to the process's `metrics` recorder.

use crate::Error;

/// Counts one attempt to replace a credential that was held. The first fetch
/// for a connection is not one.
pub(crate) fn token_refreshed(error: Option<&Error>) {
    let result = match error {
        None => "success",
        Some(error) if error.is_temporary() => "temporary_error",
        Some(_) => "permanent_error",
    };
    metrics::counter!("bridge_token_refreshes_total", "result" => result).increment(1);
}
