//! Rows of a table of errors: how each comes about, and what it must look like.

use std::collections::BTreeMap;

use dromos_broker::domain::error::ErrorKind;
use futures_util::future::BoxFuture;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::call::{Answer, Call, Refusal, VIAS};
use crate::world::World;

/// One error, as the contract has it.
pub struct Row {
    /// The situation.
    pub name: &'static str,
    pub covers: Option<ErrorKind>,
    pub code: i32,
    pub http: u16,
    pub reason: &'static str,
    pub metadata: &'static [(&'static str, &'static str)],
    /// RetryInfo, in seconds.
    pub retry: Option<u64>,
    /// The fields that BadRequest names.
    pub fields: &'static [&'static str],
    /// Brings the situation about, and answers the call that meets it.
    pub bring: for<'a> fn(&'a World) -> BoxFuture<'a, Call>,
}

impl Row {
    /// Makes the call on every transport, each time in a fresh situation.
    pub async fn check(&self, world: &World) {
        let mut refusals: Vec<Refusal> = vec![];
        for via in VIAS {
            let call = (self.bring)(world).await;
            let answer = via.call(world, &call).await;
            let shown = format!("{} over {via:?}: {answer:?}", self.name);
            let Answer {
                result: Err(refusal),
                http,
                headers,
            } = answer
            else {
                panic!("no error; {shown}");
            };
            assert_eq!(refusal.code, self.code, "{shown}");
            assert!(http.is_none_or(|http| http == self.http), "{shown}");
            assert_eq!(refusal.reason(), self.reason, "{shown}");
            let metadata: BTreeMap<String, String> = self
                .metadata
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(refusal.metadata(), metadata, "{shown}");
            assert_eq!(
                refusal.retry().map(|delay| delay.as_secs()),
                self.retry,
                "{shown}"
            );
            assert_eq!(
                refusal.retry().map_or(0, |delay| delay.subsec_nanos()),
                0,
                "{shown}"
            );
            assert_eq!(refusal.fields(), self.fields, "{shown}");
            assert!(!refusal.message.is_empty(), "{shown}");
            if http.is_some() {
                let retry = headers.get("retry-after").map(|value| value.to_str().ok());
                let expected = self.retry.map(|seconds| seconds.to_string());
                assert_eq!(retry, expected.as_deref().map(Some), "{shown}");
            }
            refusals.push(refusal);
        }
        let [grpc, grpc_web, rest] = refusals.as_slice() else {
            unreachable!("three transports");
        };
        assert_eq!(grpc, grpc_web, "{}", self.name);
        assert_eq!(grpc, rest, "{}", self.name);
    }
}

/// An id that nothing has.
pub fn nobody() -> String {
    Uuid::now_v7().to_string()
}

pub fn check(id: &str) -> Call {
    Call::new(
        "dromos.v1.ConnectionService/CheckConnection",
        json!({ "connection_id": id }),
        Method::GET,
        format!("/v1/check-connection/{id}"),
        Value::Null,
    )
}

pub fn token(id: &str) -> Call {
    Call::new(
        "dromos.v1.ConnectionService/GetToken",
        json!({ "connection_id": id }),
        Method::GET,
        format!("/v1/token/{id}"),
        Value::Null,
    )
}

pub fn refresh(id: &str) -> Call {
    Call::new(
        "dromos.v1.ConnectionService/RefreshConnection",
        json!({ "connection_id": id }),
        Method::POST,
        format!("/v1/refresh/{id}"),
        json!({}),
    )
}

pub fn request(message: Value) -> Call {
    Call::new(
        "dromos.v1.ConnectionService/RequestConnection",
        message.clone(),
        Method::POST,
        "/v1/request-connection",
        message,
    )
}

pub fn get_provider(name: &str) -> Call {
    Call::new(
        "dromos.v1.ProviderService/GetProvider",
        json!({ "name": name }),
        Method::GET,
        format!("/v1/providers/{name}"),
        Value::Null,
    )
}

pub fn delete_provider(name: &str) -> Call {
    Call::new(
        "dromos.v1.ProviderService/DeleteProvider",
        json!({ "name": name }),
        Method::DELETE,
        format!("/v1/providers/{name}"),
        Value::Null,
    )
}

pub fn create_provider(provider: Value) -> Call {
    Call::new(
        "dromos.v1.ProviderService/CreateProvider",
        json!({ "provider": provider }),
        Method::POST,
        "/v1/providers",
        provider,
    )
}

/// Of the resources that are fetched by id alone.
pub fn get(rpc: &'static str, field: &str, path: &str, id: &str) -> Call {
    let message = json!({ field: id });
    Call::new(
        rpc,
        message,
        Method::GET,
        format!("{path}/{id}"),
        Value::Null,
    )
}
