//! A credential and how to use it, as the gateway's payload says.

use std::{fmt, time::SystemTime};

use dromos_proto::v1::CredentialPayload;
use dromos_strategy::{ApplyError, Strategy};
use http::{HeaderName, HeaderValue, request::Parts};
use prost_types::{Struct, value::Kind};
use serde_json::{Map, Number, Value};
use zeroize::Zeroize as _;

use crate::Error;

/// A credential and how to use it. Its `Debug` hides the secrets, and they are
/// wiped from memory when it is dropped.
pub struct Credential {
    strategy: Strategy,
    secrets: Secrets,
    expires_at: Option<SystemTime>,
    generation: u32,
}

impl Credential {
    /// How the credential is used.
    pub fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// When it expires, where that is known.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// Rises with every change of the connection's credential.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Puts the credential on a request. Where the request goes is the
    /// caller's care; [`Bridge::sign`](crate::Bridge::sign) checks that too.
    ///
    /// # Errors
    ///
    /// The credentials don't fit the strategy; the request is as it was.
    pub fn apply(&self, request: &mut Parts) -> Result<(), ApplyError> {
        self.strategy.apply(&self.secrets.0, request)
    }

    /// The same as gRPC metadata.
    ///
    /// # Errors
    ///
    /// As [`Credential::apply`], and where metadata can't carry it.
    pub fn metadata(&self) -> Result<Vec<(HeaderName, HeaderValue)>, ApplyError> {
        self.strategy.metadata(&self.secrets.0)
    }

    /// The secrets themselves, for a library that wants them in its own way.
    pub fn expose_credentials(&self) -> &Map<String, Value> {
        &self.secrets.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("strategy", &self.strategy.kind())
            .field("expires_at", &self.expires_at)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl TryFrom<CredentialPayload> for Credential {
    type Error = Error;

    fn try_from(payload: CredentialPayload) -> Result<Self, Error> {
        let CredentialPayload {
            strategy,
            credentials,
            expires_at,
            generation,
        } = payload;
        let secrets = Secrets(credentials.map(object).unwrap_or_default());
        let strategy = strategy.ok_or(Error::Payload("no strategy"))?;
        let config = strategy.config.map(object).unwrap_or_default();
        let expires_at = expires_at
            .map(SystemTime::try_from)
            .transpose()
            .map_err(|_| Error::Payload("an expires_at that is not a time"))?;
        let strategy = Strategy::parse(&strategy.r#type, &config)?;
        Ok(Self {
            strategy,
            secrets,
            expires_at,
            generation,
        })
    }
}

/// The credentials by name, wiped when dropped. What the transport's buffers
/// held before is beyond reach.
struct Secrets(Map<String, Value>);

impl Drop for Secrets {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A `google.protobuf.Struct` as JSON. Strings move, so that no copy is left.
fn object(fields: Struct) -> Map<String, Value> {
    fields
        .fields
        .into_iter()
        .map(|(name, field)| (name, value(field)))
        .collect()
}

fn value(field: prost_types::Value) -> Value {
    match field.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(value)) => number(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::StructValue(fields)) => Value::Object(object(fields)),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(value).collect(),
    }
}

/// A whole number stays one: a Struct holds every number as a double.
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        // Exact: it is whole and within 2^53.
        return Value::Number(Number::from(value as i64));
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
