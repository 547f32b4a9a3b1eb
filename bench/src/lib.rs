//! The benchmarks of Dromos that need running services: GetToken beside a bare
//! service that does the least such a call can do, and the footprint of
//! `dromos up`. `cargo xtask bench` builds and runs them.

pub mod database;
pub mod floor;
pub mod footprint;
pub mod h2load;
pub mod proof;
pub mod services;
pub mod table;
pub mod token;
pub mod usage;
pub mod wire;
