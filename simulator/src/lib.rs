//! An OAuth 2.0 / OpenID provider and a protected API in one process, for demonstrations and tests.
//!
//! A [`Simulator`] listens on a free port of 127.0.0.1, registers one client and behaves as its [`Behaviour`]
//! says. Outages are scripted with [`Simulator::fail_next`], slowness with [`Simulator::gate`]. Time comes from a
//! [`Clock`], so that a test expires a token by advancing it. [`browser`] plays the user.
//!
//! It is not a provider for real accounts: whoever reaches the port may approve.

mod ambient;
mod behaviour;
pub mod browser;
mod config;
mod faults;
mod http;
mod keys;
mod ledger;
mod server;
mod simulator;
mod world;

pub use ambient::Clock;
pub use behaviour::{Behaviour, ClientAuth, ExpiresFormat, ExpiresIn, IdTokenFault, RequestFormat};
pub use config::{API_KEY, API_USER, CLIENT_ID, CLIENT_SECRET, SimulatorConfig};
pub use faults::{Counts, Endpoint, Failure, Gate};
pub use simulator::Simulator;
