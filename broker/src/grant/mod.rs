//! OAuth 2.0 grants (RFC 6749 §4): what each one adds to a token request. A new
//! one is one file here; how a request is sent and its answer read is the same
//! for all (`token_endpoint`).

use secrecy::SecretString;

use crate::domain::provider::OAuth2Client;

pub mod authorization_code;
mod client_authentication;
pub mod endpoints;
pub mod id_token;
pub mod refresh_token;
pub mod revocation;
pub mod token_answer;
pub mod token_endpoint;
pub mod verdict;

/// A grant, about to be exchanged for tokens.
pub trait Grant: Send + Sync {
    /// Its `grant_type`.
    fn grant_type(&self) -> &'static str;
    /// What it adds to the request.
    fn parameters(&self) -> Vec<(&'static str, SecretString)>;
    /// What the provider's definition adds to it.
    fn extra<'a>(&self, client: &'a OAuth2Client)
    -> &'a std::collections::BTreeMap<String, String>;
}
