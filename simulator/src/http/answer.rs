//! Answers, as the RFCs want them.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// An OAuth error (RFC 6749 §5.2).
#[derive(Clone, Debug)]
pub(crate) struct OAuthError {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) description: String,
    /// The client tried HTTP Basic, so the answer must name that scheme.
    pub(crate) basic_challenge: bool,
}

impl OAuthError {
    pub(crate) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            description: description.into(),
            basic_challenge: false,
        }
    }

    pub(crate) fn into_response(self, always_200: bool) -> Response<Body> {
        let status = if always_200 {
            StatusCode::OK
        } else {
            self.status
        };
        let mut response = json(
            status,
            &json!({ "error": self.error, "error_description": self.description }),
        );
        if self.basic_challenge && !always_200 {
            let challenge =
                HeaderValue::from_static("Basic realm=\"simulator\", charset=\"UTF-8\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        no_store(response)
    }
}

pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Body> {
    with_type(status, "application/json", body.to_string())
}

pub(crate) fn html(status: StatusCode, body: String) -> Response<Body> {
    no_store(with_type(status, "text/html; charset=utf-8", body))
}

/// Answers with credentials are never kept by a cache (RFC 6749 §5.1).
pub(crate) fn no_store(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Sends the browser on with GET, whatever it came with.
pub(crate) fn see_other(location: &str) -> Response<Body> {
    let mut response = no_store(with_type(
        StatusCode::SEE_OTHER,
        "text/plain",
        String::new(),
    ));
    match HeaderValue::from_str(location) {
        Ok(location) => {
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Err(_) => html(
            StatusCode::BAD_REQUEST,
            "The redirect URI cannot stand in a header.".to_owned(),
        ),
    }
}

/// A protected resource's refusal (RFC 6750 §3). Without a token the challenge carries no error code.
pub(crate) fn bearer_challenge(token_presented: bool) -> Response<Body> {
    let (error, challenge) = if token_presented {
        ("invalid_token", "Bearer error=\"invalid_token\"")
    } else {
        ("unauthorized", "Bearer")
    };
    let mut response = json(StatusCode::UNAUTHORIZED, &json!({ "error": error }));
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(challenge),
    );
    response
}

/// An outage: a status and a text that is no JSON.
pub(crate) fn outage(status: u16, retry_after: Option<u64>) -> Response<Body> {
    let mut response = with_type(
        status_of(status),
        "text/plain",
        "simulated outage\n".to_owned(),
    );
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// An error body with any status.
pub(crate) fn bare_error(status: u16, error: &str) -> Response<Body> {
    no_store(json(status_of(status), &json!({ "error": error })))
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
