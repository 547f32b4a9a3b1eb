//! What the crate promises, from the outside.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test's own client")]

mod app;
mod limits;
mod listener;
mod logs;
mod settings;
mod support;
mod tls;
