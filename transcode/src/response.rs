//! From the gRPC answer to the HTTP one.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::Full;
use prost_reflect::{DynamicMessage, Value};
use tonic::body::Body;

use crate::{
    config::{Config, copy_headers},
    json::Writer,
    messages::Messages,
    route::Route,
    status::Failure,
    stream::{Encoding, StreamBody},
};

const UNREADABLE: &str = "the service's answer does not decode";
const UNREPRESENTABLE: &str = "the service's answer has no JSON form";

/// Translates an answer. The listed metadata goes along with failures too.
pub(crate) async fn build(
    config: &Arc<Config>,
    route: &Arc<Route>,
    encoding: Encoding,
    answer: Response<Body>,
) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let mut metadata = HeaderMap::new();
    copy_headers(&config.response_headers, &parts.headers, &mut metadata);
    let result = match Messages::new(&parts, body) {
        Err(failure) => Err(failure),
        Ok(messages) if route.server_streaming => stream(config, route, encoding, messages).await,
        Ok(mut messages) => {
            let result = unary(config, route, &mut messages).await;
            if let Some(trailers) = messages.trailers() {
                copy_headers(&config.response_headers, trailers, &mut metadata);
            }
            result
        }
    };
    let mut response = result.unwrap_or_else(|failure| failure.into_response(config));
    response.headers_mut().extend(metadata);
    response
}

async fn unary(
    config: &Config,
    route: &Route,
    messages: &mut Messages,
) -> Result<Response<Body>, Failure> {
    let Some(message) = messages.next().await else {
        return Err(Failure::internal("the service gave no message"));
    };
    let message = message?;
    // The status comes behind the message: it is known when there is no next.
    if let Some(second) = messages.next().await {
        second?;
        return Err(Failure::internal("the service gave several messages"));
    }
    if route.raw_response {
        let (content_type, data) = raw(route, message)?;
        return Ok(respond(content_type, Body::new(Full::new(data))));
    }
    let mut json = Vec::with_capacity(2 * message.len() + 64);
    write(config, route, message, &mut json)?;
    let body = Body::new(Full::new(Bytes::from(json)));
    Ok(respond(HeaderValue::from_static("application/json"), body))
}

async fn stream(
    config: &Arc<Config>,
    route: &Arc<Route>,
    encoding: Encoding,
    mut messages: Messages,
) -> Result<Response<Body>, Failure> {
    let content_type = match encoding {
        // The content type stands in the first message.
        _ if route.raw_response => {
            let (content_type, first) = match messages.next().await {
                Some(message) => raw(route, message?)?,
                None => (
                    HeaderValue::from_static("application/octet-stream"),
                    Bytes::new(),
                ),
            };
            let body = StreamBody::raw(config.clone(), route.clone(), messages, first);
            return Ok(respond(content_type, Body::new(body)));
        }
        Encoding::Ndjson => "application/x-ndjson",
        Encoding::ServerSentEvents => "text/event-stream",
    };
    let body = StreamBody::json(config.clone(), route.clone(), messages, encoding);
    let mut response = respond(HeaderValue::from_static(content_type), Body::new(body));
    // An answer that goes on for hours is nothing to store.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn respond(content_type: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// Appends a message as the route wants it: whole, or one field of it.
pub(crate) fn write(
    config: &Config,
    route: &Route,
    message: Bytes,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let message = DynamicMessage::decode(route.output.clone(), message)
        .map_err(|_| Failure::internal(UNREADABLE))?;
    let mut writer = Writer::new(out, config.names);
    match &route.response_body {
        None => writer.message(&message),
        Some(field) => writer.field_of(&message, field),
    }
    .map_err(|_| Failure::internal(UNREPRESENTABLE))
}

/// The content type and the bytes of a `google.api.HttpBody`.
pub(crate) fn raw(route: &Route, message: Bytes) -> Result<(HeaderValue, Bytes), Failure> {
    let message = DynamicMessage::decode(route.output.clone(), message)
        .map_err(|_| Failure::internal(UNREADABLE))?;
    let field = route
        .response_body
        .as_ref()
        .map(|field| message.get_field(field).into_owned());
    let body = match &field {
        Some(Value::Message(inner)) => inner,
        Some(_) => return Err(Failure::internal(UNREADABLE)),
        None => &message,
    };
    let content_type = match body.get_field_by_number(1).as_deref() {
        Some(Value::String(text)) if !text.is_empty() => HeaderValue::from_str(text)
            .map_err(|_| Failure::internal("the service's content type is malformed"))?,
        _ => HeaderValue::from_static("application/octet-stream"),
    };
    let data = match body.get_field_by_number(2).as_deref() {
        Some(Value::Bytes(data)) => data.clone(),
        _ => Bytes::new(),
    };
    Ok((content_type, data))
}
