//! Reads a token endpoint's answer. One table decides what a failure means:
//! only the provider's own refusal of the grant ends a connection.

use std::time::Duration;

use chrono::TimeDelta;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use crate::{
    domain::{
        credential::TokenSet,
        provider::{ExpiresInUnit, OAuth2Client},
    },
    egress::EgressAnswer,
};

/// What came of a token request.
#[derive(Debug)]
pub enum TokenAnswer {
    /// Tokens.
    Tokens(Box<TokenSet>),
    /// The provider refuses the grant: the user has to consent again.
    Refused {
        /// The `error` it gave (RFC 6749 §5.2), one of [`REFUSALS`].
        error: String,
    },
    /// The provider rejects the client or the request: its definition is wrong.
    Misconfigured {
        /// The `error` it gave, or a word of ours.
        error: String,
        /// More, in our own words.
        detail: Option<&'static str>,
    },
    /// The provider did not act on the request; later may be better.
    Unavailable {
        /// When the provider wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The provider may have acted on the request, and we don't know.
    Unknown,
}

/// The `error` codes that refuse the grant itself: RFC 6749 §5.2, OpenID
/// Connect Core §3.1.2.6, and those that two large providers use instead.
const REFUSALS: [&str; 7] = [
    "invalid_grant",
    "interaction_required",
    "login_required",
    "consent_required",
    "access_denied",
    "bad_refresh_token",
    "bad_verification_code",
];
const TEMPORARY: [&str; 3] = ["temporarily_unavailable", "server_error", "slow_down"];

/// Reads an answer.
#[must_use]
pub fn read(answer: &EgressAnswer, client: &OAuth2Client) -> TokenAnswer {
    let status = answer.status;
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            return TokenAnswer::Unavailable {
                retry_after: retry_after(&answer.headers),
            };
        }
        // A gateway gave up on a server that may have gone on.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => return TokenAnswer::Unknown,
        _ if status.is_server_error() => {
            return TokenAnswer::Unavailable {
                retry_after: retry_after(&answer.headers),
            };
        }
        _ => {}
    }
    let Some(body) = parse(answer) else {
        return if status.is_success() {
            TokenAnswer::Unknown
        } else {
            TokenAnswer::Misconfigured {
                error: format!("status_{}", status.as_u16()),
                detail: None,
            }
        };
    };
    // An error is an error, whatever the status says.
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return refusal(error.as_str().unwrap_or_default(), &answer.headers);
    }
    match tokens(&body, client) {
        Some(tokens) if status.is_success() => TokenAnswer::Tokens(Box::new(tokens)),
        None if status.is_success() => TokenAnswer::Unknown,
        _ => TokenAnswer::Misconfigured {
            error: format!("status_{}", status.as_u16()),
            detail: None,
        },
    }
}

fn refusal(error: &str, headers: &HeaderMap) -> TokenAnswer {
    if REFUSALS.contains(&error) {
        TokenAnswer::Refused {
            error: error.to_owned(),
        }
    } else if TEMPORARY.contains(&error) {
        TokenAnswer::Unavailable {
            retry_after: retry_after(headers),
        }
    } else {
        // Only a code goes on from here, never a provider's free text.
        let is_code = (1..=64).contains(&error.len())
            && error
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        TokenAnswer::Misconfigured {
            error: if is_code { error } else { "unknown_error" }.to_owned(),
            detail: None,
        }
    }
}

/// JSON, or the form that some providers answer whatever we accept.
fn parse(answer: &EgressAnswer) -> Option<Map<String, Value>> {
    if let Ok(Value::Object(body)) = serde_json::from_slice(&answer.body) {
        return Some(body);
    }
    let content_type = answer.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    content_type
        .starts_with("application/x-www-form-urlencoded")
        .then(|| {
            url::form_urlencoded::parse(&answer.body)
                .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
                .collect()
        })
}

fn tokens(body: &Map<String, Value>, client: &OAuth2Client) -> Option<TokenSet> {
    let text = |name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let default = (client.default_expires_in > 0)
        .then(|| TimeDelta::seconds(client.default_expires_in.into()));
    Some(TokenSet {
        access_token: text("access_token")?.into(),
        token_type: text("token_type").unwrap_or("Bearer").to_owned(),
        refresh_token: text("refresh_token").map(Into::into),
        id_token: text("id_token").map(Into::into),
        scope: text("scope").map(str::to_owned),
        lifetime: body
            .get("expires_in")
            .and_then(|value| lifetime(value, client.expires_in_unit))
            .or(default),
    })
}

/// `expires_in` as a number or as its text. What is not a positive number of
/// at most ten years says nothing about the lifetime.
fn lifetime(value: &Value, unit: ExpiresInUnit) -> Option<TimeDelta> {
    const TEN_YEARS: f64 = 10.0 * 365.0 * 86_400.0;
    let number = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    let seconds = match unit {
        ExpiresInUnit::Seconds => number,
        ExpiresInUnit::Milliseconds => number / 1000.0,
    };
    if !(seconds > 0.0 && seconds <= TEN_YEARS) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
    TimeDelta::try_milliseconds((seconds * 1000.0) as i64)
}

/// RFC 9110 §10.2.3, in seconds; a date is left aside.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}

#[cfg(test)]
#[path = "token_answer_tests.rs"]
mod tests;
