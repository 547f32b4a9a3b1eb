//! The `dromos` binary, as a person runs it.

mod clients;
mod demo;
mod support;
mod up;
