//! The `dromos` binary, as a person runs it.

#![expect(clippy::unwrap_used, reason = "a test's own helpers")]

mod audit;
mod clients;
mod collector;
mod demo;
mod leaks;
mod support;
mod traces;
mod up;
