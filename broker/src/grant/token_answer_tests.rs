use bytes::Bytes;
use http::StatusCode;
use secrecy::ExposeSecret;

use super::*;
use crate::domain::provider::{GrantType, TokenEndpointAuthMethod, TokenRequestFormat};

fn client() -> OAuth2Client {
    OAuth2Client {
        issuer: String::new(),
        authorization_endpoint: String::new(),
        token_endpoint: String::new(),
        revocation_endpoint: String::new(),
        userinfo_endpoint: String::new(),
        device_authorization_endpoint: String::new(),
        client_id: "client".into(),
        token_endpoint_auth_method: TokenEndpointAuthMethod::None,
        grant_type: GrantType::AuthorizationCode,
        scopes: vec![],
        scope_separator: " ".into(),
        pkce: true,
        authorization_params: [].into(),
        token_params: [].into(),
        refresh_params: [].into(),
        token_request_format: TokenRequestFormat::Form,
        expires_in_unit: ExpiresInUnit::Seconds,
        default_expires_in: 0,
        refresh_margin: 300,
        refresh_reuse_interval: 0,
        refresh_token_rotation: true,
    }
}

fn answer(status: u16, body: &str) -> TokenAnswer {
    answer_to(&client(), status, body)
}

fn answer_to(client: &OAuth2Client, status: u16, body: &str) -> TokenAnswer {
    let status = StatusCode::from_u16(status).expect("a status");
    let body = Bytes::copy_from_slice(body.as_bytes());
    read(
        &EgressAnswer {
            status,
            headers: HeaderMap::new(),
            body,
        },
        client,
    )
}

fn seconds(client: &OAuth2Client, expires_in: &str) -> Option<i64> {
    match answer_to(
        client,
        200,
        &format!(r#"{{"access_token":"a"{expires_in}}}"#),
    ) {
        TokenAnswer::Tokens(tokens) => tokens.lifetime.map(|lifetime| lifetime.num_seconds()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn hardening_11_expires_in_is_read_as_number_text_and_milliseconds_and_may_be_absent() {
    let plain = client();
    assert_eq!(seconds(&plain, r#","expires_in":3600"#), Some(3600));
    assert_eq!(seconds(&plain, r#","expires_in":"3600""#), Some(3600));
    assert_eq!(seconds(&plain, r#","expires_in":3600.5"#), Some(3600));
    for nothing in [
        "",
        r#","expires_in":null"#,
        r#","expires_in":"soon""#,
        r#","expires_in":-1"#,
        r#","expires_in":1e300"#,
    ] {
        assert_eq!(seconds(&plain, nothing), None, "{nothing}");
    }
    let milliseconds = OAuth2Client {
        expires_in_unit: ExpiresInUnit::Milliseconds,
        ..client()
    };
    assert_eq!(
        seconds(&milliseconds, r#","expires_in":3600000"#),
        Some(3600)
    );
    let default = OAuth2Client {
        default_expires_in: 900,
        ..client()
    };
    assert_eq!(seconds(&default, ""), Some(900));
    assert_eq!(seconds(&default, r#","expires_in":60"#), Some(60));
}

#[test]
fn hardening_11_an_error_with_status_200_is_an_error() {
    let refused = answer(200, r#"{"error":"invalid_grant","access_token":"a"}"#);
    assert!(matches!(refused, TokenAnswer::Refused { error } if error == "invalid_grant"));
    let refused = answer(200, r#"{"error":"bad_refresh_token"}"#);
    assert!(matches!(refused, TokenAnswer::Refused { .. }));
}

#[test]
fn hardening_10_only_the_providers_refusal_of_the_grant_counts_as_one() {
    let listed = |verdict: Verdict| {
        let rows = verdict::ERRORS.iter().filter(move |row| row.1 == verdict);
        rows.map(|row| row.0)
    };
    for error in listed(Verdict::Refused) {
        let body = format!(r#"{{"error":"{error}"}}"#);
        assert!(
            matches!(answer(400, &body), TokenAnswer::Refused { .. }),
            "{error}"
        );
        for status in [429, 500, 502, 503, 504] {
            assert!(
                !matches!(answer(status, &body), TokenAnswer::Refused { .. }),
                "{error} with {status}"
            );
        }
    }
    for error in [
        "invalid_client",
        "unauthorized_client",
        "invalid_request",
        "invalid_scope",
        "whatever",
    ] {
        let body = format!(r#"{{"error":"{error}"}}"#);
        assert!(
            matches!(answer(401, &body), TokenAnswer::Misconfigured { .. }),
            "{error}"
        );
    }
    for error in listed(Verdict::Retry) {
        let body = format!(r#"{{"error":"{error}"}}"#);
        assert!(
            matches!(answer(400, &body), TokenAnswer::Unavailable { .. }),
            "{error}"
        );
    }
}

#[test]
fn an_answer_that_may_hide_a_rotation_is_unknown() {
    for (status, body) in [
        (502, ""),
        (504, ""),
        (200, ""),
        (200, "<html>"),
        (200, "{\"access_tok"),
        (200, "{}"),
        (200, "[]"),
    ] {
        assert!(
            matches!(answer(status, body), TokenAnswer::Unknown),
            "{status} {body}"
        );
    }
}

#[test]
fn hardening_18_a_providers_free_text_goes_no_further() {
    let answer = answer(
        400,
        r#"{"error":"secret <b>text</b> sk_live_123","error_description":"token abc"}"#,
    );
    assert!(matches!(answer, TokenAnswer::Misconfigured { error, .. } if error == "unknown_error"));
}

#[test]
fn a_form_encoded_answer_is_read_where_the_provider_insists() {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        "application/x-www-form-urlencoded; charset=utf-8"
            .parse()
            .expect("a value"),
    );
    let body = Bytes::from_static(b"access_token=a%20b&token_type=bearer&scope=x");
    let TokenAnswer::Tokens(tokens) = read(
        &EgressAnswer {
            status: StatusCode::OK,
            headers,
            body,
        },
        &client(),
    ) else {
        panic!("no tokens");
    };
    assert_eq!(tokens.access_token.expose_secret(), "a b");
}

#[test]
fn fuzz_no_answer_of_a_provider_makes_the_reader_panic_or_a_failure_a_success() {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "\"",
        ":",
        ",",
        "\"access_token\":",
        "\"token_type\":",
        "\"refresh_token\":",
        "\"expires_in\":",
        "\"scope\":",
        "\"id_token\":",
        "\"error\":",
        "\"invalid_grant\"",
        "\"a\"",
        "null",
        "3600",
        "\"3600\"",
        "-1",
        "1e300",
        "[]",
        "access_token=a&",
        "expires_in=",
        "%zz",
    ];
    const STATUSES: &[u16] = &[
        200, 201, 204, 302, 400, 401, 403, 404, 429, 500, 502, 503, 504,
    ];
    bolero::check!()
        .with_test_time(Duration::from_secs(3))
        .for_each(|input: &[u8]| {
            let (&first, rest) = input.split_first().unwrap_or((&0, &[]));
            let status = STATUSES[usize::from(first) % STATUSES.len()];
            let body: String = rest
                .iter()
                .map(|&byte| match PIECES.get(usize::from(byte)) {
                    Some(piece) => (*piece).to_owned(),
                    None => char::from(byte).to_string(),
                })
                .collect();
            if let TokenAnswer::Tokens(tokens) = answer(status, &body) {
                assert!((200..300).contains(&status), "{status}: {body}");
                assert!(!tokens.access_token.expose_secret().is_empty(), "{body}");
            }
        });
}

#[test]
fn fuzz_no_retry_after_makes_us_wait_for_more_than_an_hour() {
    bolero::check!()
        .with_test_time(Duration::from_secs(1))
        .with_max_len(24)
        .for_each(|input: &[u8]| {
            // Half of all bytes stand for a digit.
            let digits = |byte: &u8| match byte.checked_sub(128) {
                Some(digit) => b'0' + digit % 10,
                None => *byte,
            };
            let value: Vec<u8> = input.iter().map(digits).collect();
            let Ok(value) = http::HeaderValue::from_bytes(&value) else {
                return;
            };
            let text = value.to_str().map(str::trim).unwrap_or_default().to_owned();
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value)]);
            match retry_after(&headers) {
                Some(wait) => {
                    assert!(wait <= Duration::from_secs(3600));
                    let said: u64 = text.parse().unwrap();
                    assert_eq!(wait.as_secs(), said.min(3600));
                }
                None => assert!(text.parse::<u64>().is_err(), "{text}"),
            }
        });
}
