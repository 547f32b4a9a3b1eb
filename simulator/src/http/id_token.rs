//! id_tokens, good ones and bad ones (OpenID Connect Core 1.0 §2).

use serde_json::{Value, json};

use crate::ledger::Grant;
use crate::world::World;
use crate::{Behaviour, IdTokenFault, keys};

/// Seconds an id_token is valid.
const LIFETIME: i64 = 300;

/// The id_token of a grant, if the behaviour and the granted scope ask for one. `nonce` belongs to the first one only.
pub(crate) fn id_token(
    world: &World,
    behaviour: &Behaviour,
    grant: &Grant,
    nonce: Option<&str>,
) -> Option<String> {
    if !behaviour.issue_id_token || !grant.scope.iter().any(|scope| scope == "openid") {
        return None;
    }
    let now = world.clock.unix_seconds();
    let mut claims = behaviour.claims.clone();
    let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    claim("iss", json!(world.issuer));
    claim("sub", json!(grant.subject));
    claim("aud", json!(world.client_id));
    claim("iat", json!(now));
    claim("exp", json!(now + LIFETIME));
    if let Some(nonce) = nonce {
        claim("nonce", json!(nonce));
    }
    match behaviour.id_token_fault {
        IdTokenFault::WrongIssuer => claim("iss", json!("https://impostor.example")),
        IdTokenFault::WrongAudience => claim("aud", json!("another-client")),
        IdTokenFault::WrongNonce => claim("nonce", json!("another-nonce")),
        IdTokenFault::Expired => {
            claim("iat", json!(now - 3600 - LIFETIME));
            claim("exp", json!(now - 3600))
        }
        IdTokenFault::None | IdTokenFault::UnknownKey | IdTokenFault::AlgNone => None,
    };
    let claims = Value::Object(claims);
    Some(match behaviour.id_token_fault {
        IdTokenFault::UnknownKey => world.keys().sign_with_unknown_key(&claims),
        IdTokenFault::AlgNone => keys::unsecured(&claims),
        _ => world.keys().sign(&claims),
    })
}
