//! The broker as its callers meet it: through the gateway, with a simulated
//! provider, on both databases.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make their own HTTP clients and clocks"
)]

mod flow;
mod world;
