//! The Dromos broker.

pub mod domain;
pub mod store;
