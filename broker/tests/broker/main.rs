//! The broker as its callers meet it: through the gateway, with a simulated
//! provider, on both databases.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make their own HTTP clients and clocks"
)]

mod access;
mod consent;
mod flow;
mod oidc_provider;
mod outages;
mod providers;
mod refresh;
mod store;
mod tokens;
mod tools;
mod transports;
mod world;
