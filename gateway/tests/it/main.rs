//! What the gateway promises, from the outside.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test's own client")]

mod broker_faults;
mod config;
mod cors;
mod discovery;
mod forwarding;
mod keys;
mod lifecycle;
mod limits;
mod logs;
mod support;
mod tls;
