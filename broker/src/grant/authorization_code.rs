//! The authorization code grant (RFC 6749 §4.1) with PKCE (RFC 7636).

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Grant;
use crate::domain::provider::OAuth2Client;

/// What an authorization request is made from.
pub struct AuthorizationRequest<'a> {
    /// The client.
    pub client: &'a OAuth2Client,
    /// Where the browser goes.
    pub authorization_endpoint: Url,
    /// Where it comes back.
    pub redirect_uri: &'a str,
    /// The scopes asked for.
    pub scopes: &'a [String],
    /// Ties the answer to the consent (RFC 6749 §10.12).
    pub state: &'a SecretString,
    /// Ties the id_token to the consent (OpenID Connect Core §3.1.2.1).
    pub nonce: Option<&'a SecretString>,
    /// Ties the code to the broker (RFC 7636 §4.1).
    pub code_verifier: Option<&'a SecretString>,
}

impl AuthorizationRequest<'_> {
    /// The URL to send the browser to.
    #[must_use]
    pub fn url(&self) -> Url {
        let mut url = self.authorization_endpoint.clone();
        // Parameters of the definition come first: what the handshake sets
        // stands alone, whatever the definition's URL holds.
        let ours = [
            "response_type",
            "client_id",
            "redirect_uri",
            "scope",
            "state",
            "nonce",
            "code_challenge",
            "code_challenge_method",
        ];
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| !ours.contains(&name.as_ref()))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let mut query = url.query_pairs_mut();
        query.clear().extend_pairs(kept);
        query.extend_pairs(
            self.client
                .authorization_params
                .iter()
                .filter(|(name, _)| !ours.contains(&name.as_str())),
        );
        query.append_pair("response_type", "code");
        query.append_pair("client_id", &self.client.client_id);
        query.append_pair("redirect_uri", self.redirect_uri);
        if !self.scopes.is_empty() {
            query.append_pair("scope", &self.scopes.join(&self.client.scope_separator));
        }
        query.append_pair("state", self.state.expose_secret());
        if let Some(nonce) = self.nonce {
            query.append_pair("nonce", nonce.expose_secret());
        }
        if let Some(verifier) = self.code_verifier {
            query.append_pair("code_challenge", &code_challenge(verifier));
            query.append_pair("code_challenge_method", "S256");
        }
        drop(query);
        url
    }
}

/// S256 (RFC 7636 §4.2).
fn code_challenge(verifier: &SecretString) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, verifier.expose_secret().as_bytes());
    URL_SAFE_NO_PAD.encode(digest)
}

/// A code to exchange (RFC 6749 §4.1.3).
pub struct AuthorizationCode {
    /// The code.
    pub code: SecretString,
    /// The redirect URI of the request that yielded it.
    pub redirect_uri: String,
    /// The PKCE verifier of that request.
    pub code_verifier: Option<SecretString>,
}

impl Grant for AuthorizationCode {
    fn grant_type(&self) -> &'static str {
        "authorization_code"
    }

    fn parameters(&self) -> Vec<(&'static str, SecretString)> {
        let mut parameters = vec![
            ("code", self.code.clone()),
            (
                "redirect_uri",
                SecretString::from(self.redirect_uri.clone()),
            ),
        ];
        if let Some(verifier) = &self.code_verifier {
            parameters.push(("code_verifier", verifier.clone()));
        }
        parameters
    }

    fn extra<'a>(&self, client: &'a OAuth2Client) -> &'a BTreeMap<String, String> {
        &client.token_params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    #[test]
    fn the_code_challenge_is_the_one_of_the_rfc() {
        let verifier = SecretString::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(
            code_challenge(&verifier),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
