//! `GET /auth/callback` and `/auth/callback/{provider_id}`: the provider sends
//! the browser back.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::Response,
};
use dromos_serve::RequestContext;
use serde::Deserialize;
use tracing::Instrument;

use super::{
    connect::{redirect, set_cookie},
    page,
};
use crate::{
    domain::id::ProviderId,
    flow::{
        Core,
        complete::{self, Callback, Completed},
    },
};

/// What the authorization server sends (RFC 6749 §4.1.2, RFC 9207).
#[derive(Deserialize)]
pub(super) struct Answer {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

type Given = Result<Query<Answer>, axum::extract::rejection::QueryRejection>;

pub(super) async fn shared(
    State(core): State<Arc<Core>>,
    context: Extension<RequestContext>,
    headers: HeaderMap,
    answer: Given,
) -> Response {
    finish(core, &context, headers, answer, None).await
}

pub(super) async fn of_provider(
    State(core): State<Arc<Core>>,
    Path(provider_id): Path<String>,
    context: Extension<RequestContext>,
    headers: HeaderMap,
    answer: Given,
) -> Response {
    match provider_id.parse() {
        Ok(id) => finish(core, &context, headers, answer, Some(id)).await,
        Err(_) => page::bad_request(),
    }
}

async fn finish(
    core: Arc<Core>,
    context: &RequestContext,
    headers: HeaderMap,
    answer: Given,
    provider_id: Option<ProviderId>,
) -> Response {
    // A parameter that is given twice (RFC 6749 §3.1) ends here, too.
    let Ok(Query(Answer {
        state,
        code,
        error,
        iss,
    })) = answer
    else {
        return page::bad_request();
    };
    let callback = Callback {
        provider_id,
        state: state.map(Into::into),
        code: code.map(Into::into),
        error,
        iss,
        request_id: context.id().to_owned(),
    };
    // The code is spent with the first request: what follows must not end
    // because a browser went away.
    let https = core.is_https();
    let task = core.clone();
    let completed = core
        .tasks
        .spawn(
            async move { complete::complete(&task, callback, |name| cookie(&headers, name)).await }
                .in_current_span(),
        )
        .await;
    match completed {
        Ok(Ok(Completed::Redirect {
            location,
            cookie_name,
        })) => redirect(location.as_str(), &set_cookie(&cookie_name, "", 0, https)),
        Ok(Ok(Completed::Refused)) => page::bad_request(),
        Ok(Err(error)) => {
            tracing::warn!(reason = error.kind.reason(), cause = ?error.cause, "a consent was not completed");
            page::unavailable()
        }
        Err(_) => page::unavailable(),
    }
}

/// A cookie's value (RFC 6265 §4.2.1).
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| {
            Some(
                pair.trim()
                    .strip_prefix(name)?
                    .strip_prefix('=')?
                    .to_owned(),
            )
        })
}
