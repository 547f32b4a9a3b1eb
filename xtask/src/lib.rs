//! `cargo xtask`: everything a person or CI does to this repository, with the
//! same commands for both.

pub mod bench;
pub mod console;
pub mod gateway;
pub mod generate;
pub mod imports;
pub mod lint;
pub mod port;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod setup;
pub mod suites;
pub mod tally;
pub mod workspace;
