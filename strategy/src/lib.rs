//! How a credential is used, decided by data: a *strategy* names what a client
//! does with `credentials`, and this crate does it.
//!
//! It is pure: no I/O, no clock, no randomness. The broker validates providers
//! with [`Strategy::parse`]; the bridge and the sidecar sign with
//! [`Strategy::apply`]. What every client in every language must do the same
//! is written down as golden vectors in `testdata/`.
//!
//! ```
//! use dromos_strategy::Strategy;
//! use serde_json::{Map, json};
//!
//! let strategy = Strategy::parse("oauth2", &Map::new())?;
//! let credentials = json!({ "access_token": "made-up" });
//! let (mut parts, ()) = http::Request::get("https://api.acme.test/").body(())?.into_parts();
//! strategy.apply(credentials.as_object().expect("an object"), &mut parts)?;
//! assert_eq!(parts.headers["authorization"], "Bearer made-up");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod credential;
mod error;
mod header;
mod kind;
mod metadata;
mod oauth2;
mod strategy;

pub use error::{ApplyError, ApplyErrorKind, ConfigError, ConfigErrorKind};
pub use strategy::Strategy;
