//! The REST API of a test service, seen from outside.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that calls them"
)]

mod building;
mod errors;
mod fuzz;
mod requests;
mod responses;
mod round_trip;
mod streams;
mod world;
