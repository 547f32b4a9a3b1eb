//! Errors over plain HTTP that no RPC answered: `google.rpc.Status` as JSON.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tonic::Code;

use crate::status::DOMAIN;

/// One error. `reason` and `message` are constants of this crate, so they need
/// no escaping.
fn problem(
    status: StatusCode,
    code: Code,
    reason: &'static str,
    message: &'static str,
) -> Response {
    let code = code as i32;
    let body = format!(
        r#"{{"code":{code},"message":"{message}","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"{DOMAIN}","metadata":{{}}}}]}}"#
    );
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(crate) fn internal() -> Response {
    let message = "an internal error occurred";
    problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        Code::Internal,
        "INTERNAL",
        message,
    )
}

pub(crate) fn not_found() -> Response {
    problem(
        StatusCode::NOT_FOUND,
        Code::NotFound,
        "NOT_FOUND",
        "no such path",
    )
}

pub(crate) fn too_large() -> Response {
    let message = "the request is too large";
    problem(
        StatusCode::PAYLOAD_TOO_LARGE,
        Code::ResourceExhausted,
        "REQUEST_TOO_LARGE",
        message,
    )
}

pub(crate) fn too_slow() -> Response {
    let message = "the request's body did not arrive in time";
    problem(
        StatusCode::REQUEST_TIMEOUT,
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        message,
    )
}

pub(crate) fn unsupported_media_type() -> Response {
    let message = "a gRPC method takes application/grpc or application/grpc-web";
    problem(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::InvalidArgument,
        "UNSUPPORTED_MEDIA_TYPE",
        message,
    )
}

pub(crate) fn method_not_allowed() -> Response {
    let message = "a gRPC method takes POST";
    let mut response = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::Unimplemented,
        "METHOD_NOT_ALLOWED",
        message,
    );
    // RFC 9110 §15.5.6: such an answer says what is allowed.
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

pub(crate) fn http2_required() -> Response {
    let message = "gRPC needs HTTP/2";
    problem(
        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        Code::Unimplemented,
        "HTTP2_REQUIRED",
        message,
    )
}
