//! The broker as its callers meet it: through the gateway, with a simulated
//! provider, on both databases.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make their own HTTP clients and clocks"
)]

mod access;
mod api_keys;
mod at_rest;
mod audit_chain;
mod cache;
mod callback;
mod confirmation;
mod consent;
mod consent_cookie;
mod consent_ends;
mod crashes;
mod database;
mod database_tls;
mod documents;
mod egress;
mod events;
mod failover;
mod flow;
mod grpc;
mod isolation;
mod journal;
mod key_rotation;
mod logs;
mod mix_up;
mod network;
mod oidc_provider;
mod outages;
mod postgres;
mod provider_definitions;
mod providers;
mod races;
mod rate_limits;
mod reconnect;
mod redis_link;
mod refresh;
mod refresh_ahead;
mod refresh_outcomes;
mod refresh_races;
mod request_ids;
mod restart;
mod revocation;
mod shared;
mod shelf;
mod startup;
mod store;
mod store_leases;
mod tokens;
mod tools;
mod transports;
mod watch;
mod webhooks;
mod workspaces;
mod world;
