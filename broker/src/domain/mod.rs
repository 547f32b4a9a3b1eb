//! Pure types and rules: what a connection is and how it may change. No I/O,
//! no framework, nothing of ours is imported here.

pub mod access;
pub mod ambient;
pub mod audit;
pub mod audit_chain;
pub mod confirmation;
pub mod connection;
pub mod consent;
pub mod credential;
pub mod error;
pub mod event;
pub mod failpoint;
pub mod id;
pub mod keys;
pub mod page;
pub mod provider;
pub mod provider_rules;
pub mod return_url;
pub mod sealed;
pub mod state;
pub mod url_template;
pub mod webhook;
pub mod workspace;

/// A point in time, UTC, microseconds (what PostgreSQL keeps).
pub type Timestamp = chrono::DateTime<chrono::Utc>;
