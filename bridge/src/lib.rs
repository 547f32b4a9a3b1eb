#![doc = include_str!("../README.md")]

mod bridge;
mod clock;
mod credential;
mod credentials;
mod destination;
mod error;
mod freshness;
mod gateway;
mod http_client;
mod slots;
mod telemetry;

pub use bridge::{Bridge, BridgeBuilder};
pub use clock::{Clock, SystemClock};
pub use credential::Credential;
pub use credentials::Credentials;
pub use error::{Error, GatewayError};
pub use gateway::{Gateway, GatewayBuilder};
