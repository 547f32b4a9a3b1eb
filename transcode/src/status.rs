//! Errors: from gRPC's status to HTTP's, and the `google.rpc.Status` JSON.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use prost::Message as _;
use tonic::{Code, body::Body};

use crate::{
    config::Config,
    json::{Names, Writer, string},
    percent,
    scalar::{self, Problem},
};

/// A request that did not succeed. Boxed: the path of success stays narrow.
pub(crate) struct Failure(Box<Inner>);

struct Inner {
    code: Code,
    message: String,
    /// Where HTTP has a status of its own for what went wrong.
    http: Option<StatusCode>,
    /// The field that a `google.rpc.BadRequest` names, and its problem.
    violation: Option<(String, Problem)>,
    details: Vec<AnyProto>,
    allow: Option<HeaderValue>,
}

/// `google.rpc.Status`, of which only the details are read.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusProto {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyProto {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfoProto {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<DurationProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DurationProto {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            http: None,
            violation: None,
            details: Vec::new(),
            allow: None,
        }))
    }

    fn with_http(mut self, status: StatusCode) -> Self {
        self.0.http = Some(status);
        self
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// A refused field or parameter. `field` may be empty: not known.
    pub(crate) fn invalid_field(field: impl Into<String>, problem: impl Into<Problem>) -> Self {
        let (field, problem) = (field.into(), problem.into());
        let message = if field.is_empty() {
            problem.to_string()
        } else {
            format!("{field}: {problem}")
        };
        let mut failure = Self::invalid(message);
        failure.0.violation = Some((field, problem));
        failure
    }

    pub(crate) fn internal(message: &'static str) -> Self {
        Self::new(Code::Internal, message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(Code::NotFound, "no such path")
    }

    pub(crate) fn method_not_allowed(allowed: &[Method]) -> Self {
        let mut names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        if names.contains(&"GET") && !names.contains(&"HEAD") {
            names.push("HEAD");
        }
        let mut failure = Self::new(Code::Unimplemented, "the path does not take this method")
            .with_http(StatusCode::METHOD_NOT_ALLOWED);
        failure.0.allow = HeaderValue::try_from(names.join(", ")).ok();
        failure
    }

    pub(crate) fn unsupported_media_type() -> Self {
        Self::invalid("the body must be application/json in UTF-8")
            .with_http(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(Code::ResourceExhausted, message).with_http(StatusCode::PAYLOAD_TOO_LARGE)
    }

    /// An error of the inner service's transport. Its text stays inside.
    pub(crate) fn transport(code: Code) -> Self {
        let message = match code {
            Code::Cancelled => "the call was cancelled",
            Code::DeadlineExceeded => "the deadline has passed",
            Code::ResourceExhausted => "the service is overloaded",
            _ => return Self::new(Code::Unavailable, "the service cannot be reached"),
        };
        Self::new(code, message)
    }

    /// Reads the status out of trailers, or out of the headers of an answer
    /// without a body. `None`: there is no status.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Result<(), Self>> {
        let status = headers.get("grpc-status")?;
        let code = Code::from_bytes(status.as_bytes());
        if code == Code::Ok {
            return Some(Ok(()));
        }
        let message = headers
            .get("grpc-message")
            .map(|value| percent::decode_lossy(value.as_bytes()))
            .unwrap_or_default();
        let mut failure = Self::new(code, message);
        let details = headers
            .get("grpc-status-details-bin")
            .and_then(|value| scalar::base64(value.as_bytes()))
            .and_then(|bytes| StatusProto::decode(bytes.as_slice()).ok());
        if let Some(status) = details {
            if failure.0.message.is_empty() {
                failure.0.message = status.message;
            }
            failure.0.details = status.details;
        }
        Some(Err(failure))
    }

    /// What an answer means that has no `grpc-status` at all.
    pub(crate) fn without_status(http: StatusCode) -> Self {
        // The mapping that gRPC gives for answers of proxies in between.
        let code = match http.as_u16() {
            200 | 400 => return Self::internal("the service gave no status"),
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        };
        Self::new(code, "the service gave no status")
    }

    /// Appends the `google.rpc.Status` as JSON.
    pub(crate) fn write(&self, out: &mut Vec<u8>, config: &Config) {
        let inner = &self.0;
        out.extend_from_slice(format!("{{\"code\":{},\"message\":", inner.code as i32).as_bytes());
        string(out, &inner.message);
        out.extend_from_slice(b",\"details\":[");
        if let Some((field, problem)) = &inner.violation {
            let list = match config.names {
                Names::Original => "field_violations",
                Names::LowerCamel => "fieldViolations",
            };
            let head = "{\"@type\":\"type.googleapis.com/google.rpc.BadRequest\",\"";
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(list.as_bytes());
            out.extend_from_slice(b"\":[{\"field\":");
            string(out, field);
            out.extend_from_slice(b",\"description\":");
            string(out, problem);
            out.extend_from_slice(b"}]}");
        }
        for (i, detail) in inner.details.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            Writer::new(out, config.names).any_parts(&config.pool, &detail.type_url, &detail.value);
        }
        out.extend_from_slice(b"]}");
    }

    pub(crate) fn into_response(self, config: &Config) -> Response<Body> {
        let mut json = Vec::with_capacity(128);
        self.write(&mut json, config);
        let mut response = Response::new(Body::new(Full::new(Bytes::from(json))));
        let status = self.0.http.unwrap_or_else(|| http_status(self.0.code));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self.0.allow {
            headers.insert(header::ALLOW, allow);
        }
        response
    }

    /// The failure as the trailers-only answer of a gRPC call.
    pub(crate) fn into_grpc(self) -> Response<Body> {
        tonic::Status::new(self.0.code, self.0.message).into_http()
    }

    /// The delay of a `google.rpc.RetryInfo`, in whole seconds, rounded up.
    fn retry_after(&self) -> Option<u64> {
        let detail = self
            .0
            .details
            .iter()
            .find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
        let delay = RetryInfoProto::decode(detail.value.clone())
            .ok()?
            .retry_delay?;
        let seconds = delay.seconds.saturating_add(i64::from(delay.nanos > 0));
        u64::try_from(seconds).ok()
    }
}

/// The canonical mapping of `google.rpc.Code`.
fn http_status(code: Code) -> StatusCode {
    let status = match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Cancelled => 499,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_canonical_http_status() {
        let expected = [
            200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
        ];
        for (code, http) in (0..).zip(expected) {
            assert_eq!(http_status(Code::from_i32(code)).as_u16(), http, "{code}");
        }
    }

    #[test]
    fn a_status_that_is_no_number_is_an_unknown_failure() {
        let mut headers = HeaderMap::new();
        assert!(Failure::read(&headers).is_none());
        headers.insert("grpc-status", HeaderValue::from_static("banana"));
        let failure = Failure::read(&headers).unwrap().err().unwrap();
        assert_eq!(failure.0.code, Code::Unknown);
    }

    #[test]
    fn an_answer_of_a_proxy_keeps_its_meaning() {
        for (http, code) in [
            (200, Code::Internal),
            (401, Code::Unauthenticated),
            (404, Code::Unimplemented),
            (503, Code::Unavailable),
            (418, Code::Unknown),
        ] {
            let failure = Failure::without_status(StatusCode::from_u16(http).unwrap());
            assert_eq!(failure.0.code, code, "{http}");
        }
    }

    #[test]
    fn a_retry_delay_is_rounded_up() {
        for (seconds, nanos, expected) in [(0, 1, Some(1)), (2, 0, Some(2)), (-1, 0, None)] {
            let info = RetryInfoProto {
                retry_delay: Some(DurationProto { seconds, nanos }),
            };
            let mut failure = Failure::new(Code::Unavailable, "");
            failure.0.details.push(AnyProto {
                type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
                value: info.encode_to_vec().into(),
            });
            assert_eq!(failure.retry_after(), expected);
        }
    }
}
