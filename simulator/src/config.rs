use crate::{Behaviour, Clock};

/// The `client_id` registered by default.
pub const CLIENT_ID: &str = "sim-client";
/// The `client_secret` registered by default. Its `+`, `:`, `%` and space tell whether a client form-encodes its
/// credentials for `client_secret_basic` (RFC 6749 §2.3.1).
pub const CLIENT_SECRET: &str = "sim secret:50%+tax";
/// The API key that `/api/echo` accepts, as `X-API-Key`, as the query parameter `api_key` or as the password of [`API_USER`].
pub const API_KEY: &str = "sim-key";
/// The user name that `/api/echo` accepts with HTTP Basic.
pub const API_USER: &str = "sim-user";

/// What a simulator starts with.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// `client_id` of the one registered client.
    pub client_id: String,
    /// Its `client_secret`.
    pub client_secret: String,
    /// Its redirect URIs, compared exactly. More can be added later.
    pub redirect_uris: Vec<String>,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// How the provider behaves at first.
    pub behaviour: Behaviour,
    /// Where it reads the time.
    pub clock: Clock,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            redirect_uris: Vec::new(),
            port: 0,
            behaviour: Behaviour::default(),
            clock: Clock::system(),
        }
    }
}
