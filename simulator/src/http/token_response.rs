//! The answer that holds tokens (RFC 6749 §5.1), in whatever shape this provider gives it.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::answer;
use super::id_token::id_token;
use crate::ledger::Issued;
use crate::world::World;
use crate::{Behaviour, ExpiresFormat};

pub(crate) fn token_response(
    world: &World,
    behaviour: &Behaviour,
    issued: &Issued,
    nonce: Option<&str>,
) -> Response<Body> {
    let mut fields = Map::new();
    let mut field = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    field("access_token", json!(issued.access_token));
    field("token_type", json!(behaviour.token_type));
    if !issued.scope.is_empty() {
        field(
            "scope",
            json!(issued.scope.join(&behaviour.scope_separator)),
        );
    }
    if let Some(refresh_token) = &issued.refresh_token {
        field("refresh_token", json!(refresh_token));
    }
    if let Some(id_token) = id_token(world, behaviour, &issued.grant, nonce) {
        field("id_token", json!(id_token));
    }
    let seconds = behaviour.expires_in.seconds;
    match behaviour.expires_in.format {
        ExpiresFormat::Number => field("expires_in", json!(seconds)),
        ExpiresFormat::String => field("expires_in", json!(seconds.to_string())),
        ExpiresFormat::Milliseconds => field("expires_in", json!(seconds.saturating_mul(1000))),
        ExpiresFormat::Date => {
            let moment: DateTime<Utc> = (world.clock.now() + Duration::from_secs(seconds)).into();
            field(
                "expires_at",
                json!(moment.to_rfc3339_opts(SecondsFormat::Secs, true)),
            )
        }
        ExpiresFormat::Absent => None,
    };
    fields.extend(behaviour.extra_token_fields.clone());
    answer::no_store(answer::json(StatusCode::OK, &placed(fields, behaviour)))
}

/// Moves fields to where this provider keeps them.
fn placed(fields: Map<String, Value>, behaviour: &Behaviour) -> Value {
    let mut body = json!({});
    for (name, value) in fields {
        let place = behaviour
            .token_response_pointers
            .get(&name)
            .cloned()
            .unwrap_or_else(|| format!("/{name}"));
        let mut spot = &mut body;
        for segment in place.split('/').skip(1) {
            let key = segment.replace("~1", "/").replace("~0", "~");
            if !spot.is_object() {
                *spot = json!({});
            }
            spot = &mut spot[key];
        }
        *spot = value;
    }
    body
}
