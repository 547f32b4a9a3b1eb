//! The benchmarks of Dromos that need running services: GetToken beside a bare
//! service that does the least such a call can do, the footprint of `dromos up`,
//! what the audit, a rotation of keys and a million connections cost, and a
//! failover of its database. `cargo xtask bench` builds and runs them.

pub mod audit;
pub mod cluster;
pub mod credentials;
pub mod database;
pub mod failover;
pub mod floor;
pub mod footprint;
pub mod h2load;
pub mod proof;
pub mod rotation;
pub mod scale;
pub mod services;
pub mod table;
pub mod token;
pub mod usage;
pub mod wire;
