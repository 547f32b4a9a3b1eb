//! The Dromos broker: runs the OAuth and OpenID Connect handshakes, keeps every
//! credential encrypted and fresh, and records who used it.
//!
//! One request is a straight line: `rpc` or `http` → `flow` → `grant`, `vault`,
//! `egress`, `cache`, `store`, `journal`. `domain` holds the types and rules that all of
//! them speak of, and `app` wires them together.

#![expect(
    clippy::duplicate_mod,
    reason = "store/sql is compiled once for each database, on purpose"
)]

mod app;
pub mod cache;
pub mod domain;
pub mod egress;
pub mod flow;
pub mod grant;
mod http;
pub mod journal;
mod rpc;
pub mod store;
pub mod vault;

pub use app::{
    Broker, Config, StartError, database_url, export_audit, export_audit_keys, migrate, prune_audit,
};
