//! From an HTTP request to the gRPC request of the same meaning.

use std::pin::pin;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Version, header, request::Parts};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};
use tonic::body::Body;

use crate::{
    config::{Config, copy_headers},
    json::{self, JsonError},
    query,
    route::{BodyRule, Route},
    scalar,
    status::Failure,
    timeout,
};

/// Marks a request that came in as REST. The inner service finds it among
/// the request's extensions; a request that came in as gRPC has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcoded {
    method: Method,
}

impl Transcoded {
    /// The HTTP method that the caller used.
    pub fn method(&self) -> &Method {
        &self.method
    }
}

/// The values of the template's variables, in their order.
pub(crate) fn path_values(route: &Route, segments: &[&str]) -> Result<Vec<Value>, Failure> {
    let mut values = Vec::with_capacity(route.variables.len());
    for (variable, path) in route.template.variables.iter().zip(&route.variables) {
        let refuse = |problem| Failure::invalid_field(path.name(), problem);
        let text = route
            .template
            .value(variable, segments)
            .ok_or_else(|| refuse("not percent-encoded UTF-8".into()))?;
        let Some(leaf) = path.leaf() else { continue };
        values.push(scalar::from_text(&leaf.kind(), &text).map_err(refuse)?);
    }
    Ok(values)
}

/// Reads the body, fills the message and frames it.
pub(crate) async fn build<B>(
    config: &Config,
    route: &Route,
    values: Vec<Value>,
    parts: Parts,
    body: B,
) -> Result<Request<Body>, Failure>
where
    B: http_body::Body<Data = Bytes>,
{
    let timeout = timeout::grpc_timeout(&parts.headers)?;
    let mut message = match &route.body {
        BodyRule::None => {
            refuse_body(body).await?;
            DynamicMessage::new(route.input.clone())
        }
        rule => {
            let bytes = read_body(body, config.max_body).await?;
            from_body(route, rule, &parts.headers, bytes)?
        }
    };
    if let Some(query) = parts.uri.query() {
        query::apply(route, query, &mut message)?;
    }
    for (path, value) in route.variables.iter().zip(values) {
        path.put(&mut message, value);
    }

    let mut request = Request::new(Body::new(Full::new(frame(&message)?)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = route.uri.clone();
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    copy_headers(&config.request_headers, &parts.headers, headers);
    if let Some(timeout) = timeout {
        headers.insert("grpc-timeout", timeout);
    }
    *request.extensions_mut() = parts.extensions;
    request.extensions_mut().insert(Transcoded {
        method: parts.method,
    });
    Ok(request)
}

fn from_body(
    route: &Route,
    rule: &BodyRule,
    headers: &HeaderMap,
    bytes: Bytes,
) -> Result<DynamicMessage, Failure> {
    let mut message = DynamicMessage::new(route.input.clone());
    let json_only = || {
        is_json(headers)
            .then_some(())
            .ok_or_else(Failure::unsupported_media_type)
    };
    match rule {
        _ if bytes.is_empty() => {}
        BodyRule::None => {}
        BodyRule::Whole { raw: true } => message = http_body(route.input.clone(), headers, bytes),
        BodyRule::Whole { raw: false } => {
            json_only()?;
            message = json::read_message(&route.input, &bytes).map_err(refuse_json)?;
        }
        BodyRule::Field { field, raw: true } => {
            if let Kind::Message(desc) = field.kind() {
                message.set_field(field, Value::Message(http_body(desc, headers, bytes)));
            }
        }
        BodyRule::Field { field, raw: false } => {
            json_only()?;
            if let Some(value) = json::read_field(field, &bytes).map_err(refuse_json)? {
                message.set_field(field, value);
            }
        }
    }
    Ok(message)
}

fn refuse_json(error: JsonError) -> Failure {
    Failure::invalid_field(error.field, error.problem)
}

/// A `google.api.HttpBody`: the body as it came, with its content type.
fn http_body(desc: MessageDescriptor, headers: &HeaderMap, data: Bytes) -> DynamicMessage {
    let mut message = DynamicMessage::new(desc);
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    message.set_field_by_number(1, Value::String(content_type.to_owned()));
    message.set_field_by_number(2, Value::Bytes(data));
    message
}

/// Whether the body may be read as JSON. A body without a content type is:
/// RFC 9110 section 8.3 leaves that to the recipient.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    json && parts.filter(|p| !p.is_empty()).all(|parameter| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("charset")
                && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    })
}

async fn refuse_body<B: http_body::Body<Data = Bytes>>(body: B) -> Result<(), Failure> {
    let mut body = pin!(body);
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            break;
        };
        let frame = frame.map_err(|_| Failure::invalid("the body cannot be read"))?;
        if frame.data_ref().is_some_and(|data| !data.is_empty()) {
            return Err(Failure::invalid("this method and path take no body"));
        }
    }
    Ok(())
}

async fn read_body<B: http_body::Body<Data = Bytes>>(
    body: B,
    limit: usize,
) -> Result<Bytes, Failure> {
    let too_large = |length: usize| length > limit;
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(Failure::body_too_large(limit));
    }
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::invalid("the body cannot be read"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if too_large(first.len() + more.len() + data.len()) {
            return Err(Failure::body_too_large(limit));
        }
        if first.is_empty() && more.is_empty() {
            first = data;
        } else {
            more.extend_from_slice(&std::mem::take(&mut first));
            more.extend_from_slice(&data);
        }
    }
    Ok(if more.is_empty() {
        first
    } else {
        more.freeze()
    })
}

/// The message with gRPC's five-byte prefix, in one buffer.
fn frame(message: &DynamicMessage) -> Result<Bytes, Failure> {
    let length = message.encoded_len();
    let prefix =
        u32::try_from(length).map_err(|_| Failure::internal("the message is too large"))?;
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(prefix);
    message
        .encode(&mut frame)
        .map_err(|_| Failure::internal("the message cannot be encoded"))?;
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(content_type: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_str(content_type).unwrap(),
        );
        is_json(&headers)
    }

    #[test]
    fn only_json_in_utf_8_is_json() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json;",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonx",
            "application/json; charset=latin1",
            "application/json; boundary=x",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!accepts(bad), "{bad}");
        }
        assert!(is_json(&HeaderMap::new()));
    }
}
