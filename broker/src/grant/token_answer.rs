//! Reads a token endpoint's answer.

use std::time::Duration;

use chrono::TimeDelta;
use http::{HeaderMap, header};
use serde_json::{Map, Value};

use super::verdict::{self, Evidence, Verdict};

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
        /// The `error` it gave (RFC 6749 §5.2), one that [`verdict`] lists.
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

/// Reads an answer. What a failure means is [`verdict`]'s to say.
#[must_use]
pub fn read(answer: &EgressAnswer, client: &OAuth2Client) -> TokenAnswer {
    let status = answer.status.as_u16();
    if verdict::is_decisive(status) {
        return failed(Evidence::Status(status), &answer.headers);
    }
    let Some(body) = parse(answer) else {
        return failed(Evidence::Unreadable(status), &answer.headers);
    };
    // An error is an error, whatever the status says.
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        let code = error.as_str().unwrap_or_default();
        return failed(Evidence::Error(code), &answer.headers);
    }
    match tokens(&body, client) {
        Some(tokens) if answer.status.is_success() => TokenAnswer::Tokens(Box::new(tokens)),
        _ => failed(Evidence::Unreadable(status), &answer.headers),
    }
}

/// A failure, as the table judges it.
pub(super) fn failed(evidence: Evidence<'_>, headers: &HeaderMap) -> TokenAnswer {
    let error = || match evidence {
        Evidence::Error(code) => code_only(code).to_owned(),
        Evidence::Status(status) | Evidence::Unreadable(status) => format!("status_{status}"),
        Evidence::Blocked | Evidence::NotSent | Evidence::NoAnswer => "not_sent".to_owned(),
    };
    match verdict::of(evidence) {
        Verdict::Refused => TokenAnswer::Refused { error: error() },
        Verdict::Misconfigured => TokenAnswer::Misconfigured {
            error: error(),
            detail: None,
        },
        Verdict::Retry => TokenAnswer::Unavailable {
            retry_after: retry_after(headers),
        },
        Verdict::Uncertain => TokenAnswer::Unknown,
    }
}

/// Only a code goes on from here, to the log and the audit: never a provider's
/// free text, nor a token that it quotes, which has digits or capitals in it.
fn code_only(error: &str) -> &str {
    let is_code = (1..=40).contains(&error.len())
        && error
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-');
    if is_code { error } else { "unknown_error" }
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
