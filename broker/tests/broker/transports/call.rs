//! One call in the form of each transport, and its answer in one form.

use std::{any::Any, collections::BTreeMap, time::Duration};

use dromos_proto::POOL;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use reqwest::Method;
use serde_json::Value;
use tonic::Status;
use tonic_types::pb;

use super::clients;
use crate::world::{ADMIN_KEY, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Grpc,
    GrpcWeb,
    Rest,
}

pub const VIAS: [Via; 3] = [Via::Grpc, Via::GrpcWeb, Via::Rest];

/// A call, as every transport writes it.
pub struct Call {
    /// `dromos.v1.ConnectionService/GetToken`.
    rpc: &'static str,
    message: Value,
    rest: (Method, String, Value),
    key: Option<String>,
    header: Option<(&'static str, String)>,
    timeout: Option<Duration>,
    /// Another gateway than the world's.
    gateway: Option<String>,
    /// What must last until the answer is there.
    keep: Vec<Box<dyn Any + Send>>,
}

impl Call {
    /// `body` is what REST sends; null for none.
    pub fn new(
        rpc: &'static str,
        message: Value,
        method: Method,
        path: impl Into<String>,
        body: Value,
    ) -> Self {
        Self {
            rpc,
            message,
            rest: (method, path.into(), body),
            key: Some(ADMIN_KEY.to_owned()),
            header: None,
            timeout: None,
            gateway: None,
            keep: vec![],
        }
    }

    pub fn key(self, key: Option<&str>) -> Self {
        let key = key.map(str::to_owned);
        Self { key, ..self }
    }

    pub fn header(self, name: &'static str, value: &str) -> Self {
        let header = Some((name, value.to_owned()));
        Self { header, ..self }
    }

    pub fn timeout(self, timeout: Duration) -> Self {
        let timeout = Some(timeout);
        Self { timeout, ..self }
    }

    pub fn gateway(self, url: String) -> Self {
        let gateway = Some(url);
        Self { gateway, ..self }
    }

    pub fn keep(mut self, what: impl Any + Send) -> Self {
        self.keep.push(Box::new(what));
        self
    }
}

/// An answer, the same whichever way it came.
#[derive(Debug)]
pub struct Answer {
    pub result: Result<Value, Refusal>,
    /// Of REST: the HTTP status.
    pub http: Option<u16>,
    pub headers: HeaderMap,
}

/// A `google.rpc.Status`, with its details in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub code: i32,
    pub message: String,
    pub details: Vec<Detail>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Detail {
    ErrorInfo {
        reason: String,
        domain: String,
        metadata: BTreeMap<String, String>,
    },
    RetryInfo(Duration),
    BadRequest(Vec<(String, String)>),
}

impl Refusal {
    pub fn reason(&self) -> &str {
        self.details.iter().find_map(reason_of).unwrap_or_default()
    }

    pub fn metadata(&self) -> BTreeMap<String, String> {
        let metadata = self.details.iter().find_map(|detail| match detail {
            Detail::ErrorInfo { metadata, .. } => Some(metadata.clone()),
            _ => None,
        });
        metadata.unwrap_or_default()
    }

    pub fn retry(&self) -> Option<Duration> {
        self.details.iter().find_map(|detail| match detail {
            Detail::RetryInfo(delay) => Some(*delay),
            _ => None,
        })
    }

    pub fn fields(&self) -> Vec<&str> {
        let lists = self.details.iter().filter_map(|detail| match detail {
            Detail::BadRequest(violations) => Some(violations),
            _ => None,
        });
        lists.flatten().map(|(field, _)| field.as_str()).collect()
    }
}

fn reason_of(detail: &Detail) -> Option<&str> {
    match detail {
        Detail::ErrorInfo { reason, domain, .. } if domain == "dromos" => Some(reason),
        _ => None,
    }
}

impl Via {
    pub async fn call(self, world: &World, call: &Call) -> Answer {
        let base = call.gateway.as_deref().unwrap_or(&world.gateway_url);
        let mut headers = HeaderMap::new();
        if let Some(key) = &call.key {
            let value = HeaderValue::try_from(format!("Bearer {key}")).expect("a header");
            headers.insert("authorization", value);
        }
        if let Some((name, value)) = &call.header {
            headers.insert(*name, HeaderValue::from_str(value).expect("a header"));
        }
        if self == Self::Rest {
            return rest(world, base, call, headers).await;
        }
        if let Some(timeout) = call.timeout {
            let value = HeaderValue::try_from(format!("{}m", timeout.as_millis()));
            headers.insert("grpc-timeout", value.expect("a header"));
        }
        let rpc = method(call.rpc);
        let message = DynamicMessage::deserialize(rpc.input(), &call.message)
            .unwrap_or_else(|error| panic!("{} takes no {}: {error}", call.rpc, call.message))
            .encode_to_vec();
        let (answered, headers) = match self {
            Self::Grpc => Box::pin(clients::generated(call.rpc, base, headers, &message)).await,
            _ => clients::grpc_web(&world.http, call.rpc, base, headers, &message).await,
        };
        Answer {
            result: answered
                .map(|message| to_json(&rpc.output(), &message))
                .map_err(|status| from_status(&status)),
            http: None,
            headers,
        }
    }
}

fn method(rpc: &str) -> MethodDescriptor {
    let (service, name) = rpc.split_once('/').expect("service/method");
    let service = POOL.get_service_by_name(service).expect("a service");
    let found = service.methods().find(|method| method.name() == name);
    found.expect("a method")
}

/// Proto3 JSON as the contract wants it: names as in the `.proto` files, and
/// fields without presence always there.
fn to_json(descriptor: &MessageDescriptor, message: &[u8]) -> Value {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    DynamicMessage::decode(descriptor.clone(), message)
        .expect("the message that the contract names")
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("JSON")
}

fn from_status(status: &Status) -> Refusal {
    let whole = pb::Status::decode(status.details()).expect("a google.rpc.Status");
    if !status.details().is_empty() {
        assert_eq!(whole.code, status.code() as i32);
        assert_eq!(whole.message, status.message());
    }
    Refusal {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: whole.details.iter().map(from_any).collect(),
    }
}

fn from_any(any: &prost_types::Any) -> Detail {
    let value = any.value.as_slice();
    match any.type_url.as_str() {
        "type.googleapis.com/google.rpc.ErrorInfo" => {
            let info = pb::ErrorInfo::decode(value).expect("an ErrorInfo");
            Detail::ErrorInfo {
                reason: info.reason,
                domain: info.domain,
                metadata: info.metadata.into_iter().collect(),
            }
        }
        "type.googleapis.com/google.rpc.RetryInfo" => {
            let info = pb::RetryInfo::decode(value).expect("a RetryInfo");
            let delay = info.retry_delay.expect("a delay");
            Detail::RetryInfo(delay.try_into().expect("not negative"))
        }
        "type.googleapis.com/google.rpc.BadRequest" => {
            let bad = pb::BadRequest::decode(value).expect("a BadRequest");
            let pairs = bad.field_violations.into_iter();
            Detail::BadRequest(pairs.map(|of| (of.field, of.description)).collect())
        }
        other => panic!("an error holds {other}"),
    }
}

async fn rest(world: &World, base: &str, call: &Call, mut headers: HeaderMap) -> Answer {
    let (method, path, body) = &call.rest;
    if let Some(timeout) = call.timeout {
        let value = HeaderValue::try_from(timeout.as_secs_f64().to_string());
        let name = HeaderName::from_static("x-request-timeout");
        headers.insert(name, value.expect("a header"));
    }
    let url = format!("{base}{path}");
    let mut request = world.http.request(method.clone(), url).headers(headers);
    if !body.is_null() {
        request = request.json(body);
    }
    let response = request.send().await.expect("the gateway answers");
    let (http, headers) = (response.status().as_u16(), response.headers().clone());
    let body: Value = response.json().await.expect("JSON");
    Answer {
        result: if http == 200 {
            Ok(body)
        } else {
            Err(from_json(&body))
        },
        http: Some(http),
        headers,
    }
}

/// A REST error body.
pub fn from_json(body: &Value) -> Refusal {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let detail = |detail: &Value| match detail["@type"].as_str().expect("a type") {
        "type.googleapis.com/google.rpc.ErrorInfo" => Detail::ErrorInfo {
            reason: text(&detail["reason"]),
            domain: text(&detail["domain"]),
            metadata: serde_json::from_value(detail["metadata"].clone()).expect("a map"),
        },
        "type.googleapis.com/google.rpc.RetryInfo" => {
            let delay = text(&detail["retry_delay"]);
            let seconds = delay.strip_suffix('s').expect("seconds");
            Detail::RetryInfo(Duration::from_secs_f64(seconds.parse().expect("a number")))
        }
        "type.googleapis.com/google.rpc.BadRequest" => {
            let violations = detail["field_violations"].as_array().expect("a list");
            let pair = |of: &Value| (text(&of["field"]), text(&of["description"]));
            Detail::BadRequest(violations.iter().map(pair).collect())
        }
        other => panic!("an error holds {other}"),
    };
    let details = body["details"].as_array().expect("details");
    Refusal {
        code: i32::try_from(body["code"].as_i64().expect("a code")).expect("it fits"),
        message: text(&body["message"]),
        details: details.iter().map(detail).collect(),
    }
}
