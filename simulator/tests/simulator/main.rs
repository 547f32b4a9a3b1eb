//! Every quirk of the simulated provider, over real HTTP.

mod api;
mod authorize;
mod behaviour;
mod browser;
mod discovery;
mod faults;
mod id_token;
mod refresh;
mod revocation;
mod support;
mod token;
