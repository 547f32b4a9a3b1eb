//! Client authentication at the token and revocation endpoints (RFC 6749 §2.3.1).

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::OAuthError;
use super::params::Params;
use crate::ClientAuth;
use crate::world::World;

/// What the client presented.
enum Presented {
    Basic {
        client_id: String,
        client_secret: String,
    },
    Post {
        client_id: String,
        client_secret: String,
    },
    Public {
        client_id: String,
    },
}

/// Checks that the registered client speaks, by a method that this provider takes.
pub(crate) fn authenticate(
    world: &World,
    method: ClientAuth,
    headers: &HeaderMap,
    params: &Params,
) -> Result<(), OAuthError> {
    let tried_basic = headers.contains_key(header::AUTHORIZATION);
    let refused = |description: &str| OAuthError {
        status: StatusCode::UNAUTHORIZED,
        basic_challenge: tried_basic,
        ..OAuthError::new("invalid_client", description)
    };
    let presented =
        presented(headers, params)?.ok_or_else(|| refused("the client did not authenticate"))?;
    let (client_id, client_secret) = match (method, presented) {
        (
            ClientAuth::Any | ClientAuth::Basic,
            Presented::Basic {
                client_id,
                client_secret,
            },
        )
        | (
            ClientAuth::Any | ClientAuth::Post,
            Presented::Post {
                client_id,
                client_secret,
            },
        ) => (client_id, Some(client_secret)),
        (ClientAuth::None, Presented::Public { client_id }) => (client_id, None),
        (ClientAuth::None, _) => return Err(refused("a public client presents no secret")),
        (ClientAuth::Basic, _) => return Err(refused("the client must use client_secret_basic")),
        (ClientAuth::Post, _) => return Err(refused("the client must use client_secret_post")),
        (ClientAuth::Any, Presented::Public { .. }) => {
            return Err(refused("the client did not authenticate"));
        }
    };
    // A comparison in constant time would protect nothing: these credentials are public constants of a simulator.
    if client_id != world.client_id
        || client_secret.is_some_and(|secret| secret != world.client_secret)
    {
        return Err(refused("the client is unknown or its secret is wrong"));
    }
    Ok(())
}

fn presented(headers: &HeaderMap, params: &Params) -> Result<Option<Presented>, OAuthError> {
    let invalid = |description: &str| OAuthError::new("invalid_request", description);
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        let presented =
            params
                .get("client_id")
                .map(|client_id| match params.get("client_secret") {
                    Some(secret) => Presented::Post {
                        client_id: client_id.to_owned(),
                        client_secret: secret.to_owned(),
                    },
                    None => Presented::Public {
                        client_id: client_id.to_owned(),
                    },
                });
        return Ok(presented);
    };
    if params.get("client_secret").is_some() {
        return Err(invalid("the client authenticates in more than one way"));
    }
    let (client_id, client_secret) = authorization
        .to_str()
        .ok()
        .and_then(basic_credentials)
        .ok_or_else(|| invalid("the Authorization header holds no HTTP Basic credentials"))?;
    let client_id = form_decode(&client_id);
    if params
        .get("client_id")
        .is_some_and(|in_body| in_body != client_id)
    {
        return Err(invalid("client_id differs between header and body"));
    }
    Ok(Some(Presented::Basic {
        client_id,
        client_secret: form_decode(&client_secret),
    }))
}

/// User name and password of an HTTP Basic `Authorization` header (RFC 7617).
pub(crate) fn basic_credentials(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = pair.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// Undoes the form encoding that client credentials have inside HTTP Basic.
fn form_decode(encoded: &str) -> String {
    // `=` and `&` would split the value; a correctly encoded credential holds neither.
    let escaped = encoded.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(value, _)| value.into_owned())
        .unwrap_or_default()
}
