//! The Dromos broker.

pub mod domain;
pub mod egress;
pub mod grant;
pub mod flow;
pub mod store;
pub mod vault;
