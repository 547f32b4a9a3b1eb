//! Workspaces.

use super::{Timestamp, id::WorkspaceId};

/// A workspace: its own providers, connections, API keys and data keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name for people.
    pub name: String,
    /// The origins that a `return_url` may have; where empty, the broker's
    /// setting applies.
    pub allowed_return_urls: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
}
