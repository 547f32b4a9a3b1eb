//! What every request needs to know, fixed when the transcoder is built.

use http::HeaderMap;
use http::header::HeaderName;
use prost_reflect::DescriptorPool;

use crate::{json::Names, route::Route, table::Table};

pub(crate) struct Config {
    pub(crate) pool: DescriptorPool,
    pub(crate) table: Table<Route>,
    pub(crate) names: Names,
    /// Request headers that become metadata.
    pub(crate) request_headers: Vec<HeaderName>,
    /// Metadata of the answer that becomes response headers.
    pub(crate) response_headers: Vec<HeaderName>,
    /// The largest request body, in bytes.
    pub(crate) max_body: usize,
}

/// Copies the named headers with all their values.
pub(crate) fn copy_headers(names: &[HeaderName], from: &HeaderMap, to: &mut HeaderMap) {
    for name in names {
        for value in from.get_all(name) {
            to.append(name.clone(), value.clone());
        }
    }
}
