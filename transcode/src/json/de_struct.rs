//! `google.protobuf.Value`: any JSON at all.

use std::fmt;

use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};

use super::{
    context::Context,
    de::{first_field, list, map},
};

// The numbers of the members of its oneof, fixed by struct.proto.
const NULL: u32 = 1;
const NUMBER: u32 = 2;
const STRING: u32 = 3;
const BOOL: u32 = 4;
const STRUCT: u32 = 5;
const LIST: u32 = 6;

pub(super) struct DynamicVisitor<'a> {
    pub(super) desc: &'a MessageDescriptor,
    pub(super) cx: &'a Context,
}

impl DynamicVisitor<'_> {
    fn member(&self, number: u32, value: Value) -> Value {
        let mut message = DynamicMessage::new(self.desc.clone());
        message.set_field_by_number(number, value);
        Value::Message(message)
    }

    fn inner<E: Error>(&self, number: u32) -> Result<MessageDescriptor, E> {
        match self.desc.get_field(number).map(|field| field.kind()) {
            Some(Kind::Message(desc)) => Ok(desc),
            _ => Err(self.cx.refuse("an unknown shape of a well-known type")),
        }
    }
}

impl<'de> Visitor<'de> for DynamicVisitor<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(self.member(BOOL, Value::Bool(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(self.member(NUMBER, Value::F64(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(self.member(STRING, Value::String(value.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(self.member(NULL, Value::EnumNumber(0)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Value, A::Error> {
        // On the wire: this value, the ListValue in it.
        let value = self.cx.nested(2, || {
            first_field(self.cx, &self.inner(LIST)?, |field| {
                list(field, items, self.cx)
            })
        })?;
        Ok(self.member(LIST, value))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
        // On the wire: this value, the Struct in it, the entry of its map.
        let value = self.cx.nested(3, || {
            first_field(self.cx, &self.inner(STRUCT)?, |field| {
                map(field, entries, self.cx)
            })
        })?;
        Ok(self.member(STRUCT, value))
    }
}
