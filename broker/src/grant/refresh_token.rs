//! Refreshing an access token (RFC 6749 §6).

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::Grant;
use crate::domain::provider::OAuth2Client;

/// A refresh token to exchange.
pub struct RefreshToken {
    /// The token.
    pub refresh_token: SecretString,
}

impl Grant for RefreshToken {
    fn grant_type(&self) -> &'static str {
        "refresh_token"
    }

    fn parameters(&self) -> Vec<(&'static str, SecretString)> {
        vec![("refresh_token", self.refresh_token.clone())]
    }

    fn extra<'a>(&self, client: &'a OAuth2Client) -> &'a BTreeMap<String, String> {
        &client.refresh_params
    }
}
