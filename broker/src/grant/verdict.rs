//! The one table of what a token endpoint's failure means. Only the provider's
//! own refusal of the grant ends a connection; what may have spent a refresh
//! token is told apart from what surely has not.

/// What a failed token request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The provider refuses the grant: the user has to consent again.
    Refused,
    /// The provider rejects the client or the request: its definition, or the
    /// registration, is wrong.
    Misconfigured,
    /// The provider did not act on the request; later may be better.
    Retry,
    /// The provider may have acted on the request, and nobody knows.
    Uncertain,
}
use Verdict::{Misconfigured, Refused, Retry, Uncertain};

/// What is seen of a failed token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence<'a> {
    /// The egress guard let nothing out.
    Blocked,
    /// No connection was made.
    NotSent,
    /// Something was sent, and no complete answer came.
    NoAnswer,
    /// A status that says enough, whatever the body says.
    Status(u16),
    /// The body's `error` (RFC 6749 §5.2).
    Error(&'a str),
    /// Neither tokens nor an error, with this status.
    Unreadable(u16),
}

/// The `error` codes: RFC 6749 §4.1.2.1 and §5.2, OpenID Connect Core §3.1.2.6,
/// RFC 8628 §3.5, and those that large providers use instead. Any other one is
/// a misconfiguration: it does not say that the grant is dead.
pub(super) const ERRORS: [(&str, Verdict); 16] = [
    ("invalid_grant", Refused),
    ("interaction_required", Refused),
    ("login_required", Refused),
    ("consent_required", Refused),
    ("access_denied", Refused),
    ("bad_refresh_token", Refused),
    ("bad_verification_code", Refused),
    ("temporarily_unavailable", Retry),
    ("server_error", Retry),
    ("slow_down", Retry),
    ("invalid_client", Misconfigured),
    ("unauthorized_client", Misconfigured),
    ("invalid_request", Misconfigured),
    ("invalid_scope", Misconfigured),
    ("unsupported_grant_type", Misconfigured),
    ("unsupported_token_type", Misconfigured),
];

/// The statuses that say enough by themselves, first match.
pub(super) const STATUSES: [(std::ops::RangeInclusive<u16>, Verdict); 5] = [
    // The server gave up waiting for the request (RFC 9110 §15.5.9).
    (408..=408, Retry),
    (429..=429, Retry),
    // A gateway gave up on a server that may have gone on.
    (502..=502, Uncertain),
    (504..=504, Uncertain),
    (500..=599, Retry),
];

/// Whether a status says enough, whatever the body says.
#[must_use]
pub fn is_decisive(status: u16) -> bool {
    STATUSES.iter().any(|(range, _)| range.contains(&status))
}

/// The table.
#[must_use]
pub fn of(evidence: Evidence<'_>) -> Verdict {
    let by_status = |status: u16| {
        let row = STATUSES.iter().find(|(range, _)| range.contains(&status));
        row.map(|row| row.1)
    };
    match evidence {
        Evidence::Blocked => Misconfigured,
        Evidence::NotSent => Retry,
        Evidence::NoAnswer => Uncertain,
        Evidence::Error(code) => {
            let row = ERRORS.iter().find(|row| row.0 == code);
            row.map_or(Misconfigured, |row| row.1)
        }
        Evidence::Status(status) | Evidence::Unreadable(status) => match status {
            // Tokens may have been in it.
            200..=299 => Uncertain,
            _ => by_status(status).unwrap_or(Misconfigured),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardening_10_every_outcome_of_a_token_request_has_one_verdict() {
        let mut expected = vec![
            (Evidence::Blocked, Misconfigured),
            (Evidence::NotSent, Retry),
            (Evidence::NoAnswer, Uncertain),
            (Evidence::Error(""), Misconfigured),
            (Evidence::Error("whatever"), Misconfigured),
            (Evidence::Error("INVALID_GRANT"), Misconfigured),
        ];
        expected.extend(
            [
                "invalid_grant",
                "interaction_required",
                "login_required",
                "consent_required",
                "access_denied",
                "bad_refresh_token",
                "bad_verification_code",
            ]
            .map(|code| (Evidence::Error(code), Refused)),
        );
        expected.extend(
            ["temporarily_unavailable", "server_error", "slow_down"]
                .map(|code| (Evidence::Error(code), Retry)),
        );
        expected.extend(
            [
                "invalid_client",
                "unauthorized_client",
                "invalid_request",
                "invalid_scope",
                "unsupported_grant_type",
                "unsupported_token_type",
            ]
            .map(|code| (Evidence::Error(code), Misconfigured)),
        );
        for status in 100..=599 {
            let verdict = match status {
                200..=299 | 502 | 504 => Uncertain,
                408 | 429 | 500 | 501 | 503 | 505..=599 => Retry,
                _ => Misconfigured,
            };
            expected.push((Evidence::Unreadable(status), verdict));
            expected.push((Evidence::Status(status), verdict));
        }
        for (evidence, verdict) in &expected {
            assert_eq!(of(*evidence), *verdict, "{evidence:?}");
        }
        // Every row of the table is among them.
        for (code, _) in ERRORS {
            assert!(expected.iter().any(|row| row.0 == Evidence::Error(code)));
        }
        let refused = expected.iter().filter(|row| row.1 == Refused);
        assert!(
            refused
                .clone()
                .all(|row| matches!(row.0, Evidence::Error(_)))
        );
        println!(
            "{} outcomes, {} of them refuse the grant",
            expected.len(),
            refused.count()
        );
    }
}
