//! `GET /connect/{handle}`: the page of a consent.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};

use super::page;
use crate::flow::{Core, open_consent};

pub(super) async fn open(State(core): State<Arc<Core>>, Path(handle): Path<String>) -> Response {
    match open_consent::open(&core, &SecretString::from(handle)).await {
        Ok(Some(opened)) => {
            let cookie = set_cookie(
                &opened.cookie_name,
                opened.cookie.expose_secret(),
                opened.max_age,
                core.is_https(),
            );
            redirect(opened.location.as_str(), &cookie)
        }
        Ok(None) => page::bad_request(),
        Err(error) => {
            tracing::warn!(reason = error.kind.reason(), cause = ?error.cause, "a consent was not opened");
            page::unavailable()
        }
    }
}

/// A cookie for this browser's top-level navigations only. Under https its
/// name's prefix ties it to this very host (RFC 6265bis §4.1.3.2).
pub(super) fn set_cookie(name: &str, value: &str, max_age: i64, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}")
}

pub(super) fn redirect(location: &str, cookie: &str) -> Response {
    let mut headers = HeaderMap::new();
    match (location.parse(), cookie.parse()) {
        (Ok(location), Ok(cookie)) => {
            headers.insert(header::LOCATION, location);
            headers.insert(header::SET_COOKIE, cookie);
            (StatusCode::FOUND, headers).into_response()
        }
        _ => page::unavailable(),
    }
}
