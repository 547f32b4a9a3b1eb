//! How a client authenticates (RFC 6749 §2.3.1): the same at the exchange, the
//! refresh and the revocation.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::provider::{OAuth2Client, TokenEndpointAuthMethod};

/// What authenticates a request.
pub(super) struct ClientAuthentication {
    /// The Authorization header.
    pub header: Option<HeaderValue>,
    /// Parameters of the body.
    pub parameters: Vec<(&'static str, SecretString)>,
}

pub(super) fn of(client: &OAuth2Client, secret: Option<&SecretString>) -> ClientAuthentication {
    let client_id = SecretString::from(client.client_id.clone());
    match (client.token_endpoint_auth_method, secret) {
        (TokenEndpointAuthMethod::ClientSecretBasic, Some(secret)) => {
            // Form-encoded before base64, as §2.3.1 says.
            let encode = |text: &str| {
                url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
            };
            let pair = format!(
                "{}:{}",
                encode(&client.client_id),
                encode(secret.expose_secret())
            );
            let mut header = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
                .expect("base64 fits into a header");
            header.set_sensitive(true);
            ClientAuthentication {
                header: Some(header),
                parameters: vec![],
            }
        }
        (TokenEndpointAuthMethod::ClientSecretPost, Some(secret)) => ClientAuthentication {
            header: None,
            parameters: vec![("client_id", client_id), ("client_secret", secret.clone())],
        },
        (TokenEndpointAuthMethod::None, _) | (_, None) => ClientAuthentication {
            header: None,
            parameters: vec![("client_id", client_id)],
        },
    }
}
