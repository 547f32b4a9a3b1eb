//! JSON text to messages.
//!
//! serde drives serde_json's parser, and the visitors here build the message
//! straight from its events, without a tree in between.

use std::{collections::HashMap, fmt};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{
    JsonError, WellKnown,
    context::{Context, Part},
    de_any,
    de_message::MessageBuilder,
    de_struct::DynamicVisitor,
};
use crate::scalar::{self, Problem};

/// Reads a whole message.
pub(crate) fn read_message(
    desc: &MessageDescriptor,
    json: &[u8],
) -> Result<DynamicMessage, JsonError> {
    let cx = Context::default();
    let kind = Kind::Message(desc.clone());
    let mut text = serde_json::Deserializer::from_slice(json);
    let seed = ValueSeed {
        kind: &kind,
        cx: &cx,
    };
    let value = seed
        .deserialize(&mut text)
        .and_then(|value| text.end().map(|()| value));
    match value {
        Ok(Value::Message(message)) => Ok(message),
        Ok(_) => Err(JsonError {
            field: String::new(),
            problem: scalar::expected(&kind),
        }),
        Err(error) => Err(cx.explain(&error)),
    }
}

/// Reads the value of one field; `None` for `null`, which leaves it unset.
pub(crate) fn read_field(field: &FieldDescriptor, json: &[u8]) -> Result<Option<Value>, JsonError> {
    let cx = Context::default();
    let mut text = serde_json::Deserializer::from_slice(json);
    let value = FieldSeed { field, cx: &cx }
        .deserialize(&mut text)
        .and_then(|value| text.end().map(|()| value));
    cx.within(value, || Part::Field(field.name().to_owned()))
        .map_err(|error| cx.explain(&error))
}

/// One value: a singular field, or an element of a list or map.
pub(super) struct ValueSeed<'a> {
    pub(super) kind: &'a Kind,
    pub(super) cx: &'a Context,
}

impl ValueSeed<'_> {
    fn take<E: Error>(&self, value: Result<Value, Problem>) -> Result<Value, E> {
        value.map_err(|problem| self.cx.refuse(problem))
    }

    fn unexpected<E: Error>(&self) -> E {
        self.cx.refuse(scalar::expected(self.kind))
    }

    /// The visitor of a `google.protobuf.Value`, if this is one.
    fn dynamic(&self) -> Option<DynamicVisitor<'_>> {
        match self.kind {
            Kind::Message(desc) if WellKnown::of(desc) == Some(WellKnown::Value) => {
                Some(DynamicVisitor { desc, cx: self.cx })
            }
            _ => None,
        }
    }

    /// The kind inside a wrapper message, if this is one.
    fn wrapper(&self) -> Option<(&MessageDescriptor, Kind)> {
        match self.kind {
            Kind::Message(desc) if WellKnown::of(desc) == Some(WellKnown::Wrapper) => {
                Some((desc, scalar::wrapped(desc)))
            }
            _ => None,
        }
    }

    /// A number, by the reader that fits its notation.
    fn number<E: Error>(
        &self,
        wide: f64,
        read: impl FnOnce(&Kind) -> Result<Value, Problem>,
    ) -> Result<Value, E> {
        if let Some(dynamic) = self.dynamic() {
            return dynamic.visit_f64(wide);
        }
        match self.wrapper() {
            Some((desc, inner)) => self.take(read(&inner).map(|value| scalar::wrap(desc, value))),
            None => self.take(read(self.kind)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        if let Some(dynamic) = self.dynamic() {
            return dynamic.visit_bool(value);
        }
        match (self.kind, self.wrapper()) {
            (Kind::Bool, _) => Ok(Value::Bool(value)),
            (_, Some((desc, Kind::Bool))) => Ok(scalar::wrap(desc, Value::Bool(value))),
            _ => Err(self.unexpected()),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.number(value as f64, |kind| scalar::from_i64(kind, value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.number(value as f64, |kind| scalar::from_u64(kind, value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.number(value, |kind| scalar::from_f64(kind, value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        if let Some(dynamic) = self.dynamic() {
            return dynamic.visit_str(value);
        }
        self.take(scalar::from_json_string(self.kind, value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        if let Some(dynamic) = self.dynamic() {
            return dynamic.visit_unit();
        }
        match self.kind {
            Kind::Enum(desc) if desc.full_name() == "google.protobuf.NullValue" => {
                Ok(Value::EnumNumber(0))
            }
            _ => Err(self.unexpected()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Value, A::Error> {
        if let Some(dynamic) = self.dynamic() {
            return dynamic.visit_seq(items);
        }
        match self.kind {
            Kind::Message(desc) if WellKnown::of(desc) == Some(WellKnown::ListValue) => {
                first_field(self.cx, desc, |field| {
                    self.cx.nested(1, || list(field, items, self.cx))
                })
            }
            _ => Err(self.unexpected()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
        if let Some(dynamic) = self.dynamic() {
            return dynamic.visit_map(entries);
        }
        let Kind::Message(desc) = self.kind else {
            return Err(self.unexpected());
        };
        match WellKnown::of(desc) {
            None => self.cx.nested(1, || {
                let mut builder = MessageBuilder::new(desc.clone(), self.cx);
                builder.entries(entries)?;
                Ok(Value::Message(builder.message))
            }),
            Some(WellKnown::Struct) => first_field(self.cx, desc, |field| {
                self.cx.nested(2, || map(field, entries, self.cx))
            }),
            Some(WellKnown::Any) => self.cx.nested(1, || de_any::read(desc, entries, self.cx)),
            Some(_) => Err(self.unexpected()),
        }
    }
}

/// Reads the only field of a `Struct` or a `ListValue`.
pub(super) fn first_field<E: Error>(
    cx: &Context,
    desc: &MessageDescriptor,
    read: impl FnOnce(&FieldDescriptor) -> Result<Value, E>,
) -> Result<Value, E> {
    let field = desc
        .get_field(1)
        .ok_or_else(|| cx.refuse("an unknown shape of a well-known type"))?;
    read(&field).map(|value| scalar::wrap(desc, value))
}

/// A field with all its cardinality; `None` for a `null` that unsets it.
pub(super) struct FieldSeed<'a> {
    pub(super) field: &'a FieldDescriptor,
    pub(super) cx: &'a Context,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let kind = self.field.kind();
        deserializer.deserialize_any(FieldVisitor {
            field: self.field,
            kind: &kind,
            cx: self.cx,
        })
    }
}

struct FieldVisitor<'a> {
    field: &'a FieldDescriptor,
    kind: &'a Kind,
    cx: &'a Context,
}

impl<'a> FieldVisitor<'a> {
    fn single<E: Error>(self) -> Result<ValueSeed<'a>, E> {
        if self.field.is_map() {
            Err(self.cx.refuse("expected an object"))
        } else if self.field.is_list() {
            Err(self.cx.refuse("expected an array"))
        } else {
            Ok(ValueSeed {
                kind: self.kind,
                cx: self.cx,
            })
        }
    }
}

impl<'de> Visitor<'de> for FieldVisitor<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.single()?.visit_bool(value).map(Some)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.single()?.visit_i64(value).map(Some)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.single()?.visit_u64(value).map(Some)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.single()?.visit_f64(value).map(Some)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        self.single()?.visit_str(value).map(Some)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        let null_is_a_value = !self.field.is_list()
            && match self.kind {
                Kind::Message(desc) => WellKnown::of(desc) == Some(WellKnown::Value),
                Kind::Enum(desc) => desc.full_name() == "google.protobuf.NullValue",
                _ => false,
            };
        if null_is_a_value {
            self.single()?.visit_unit().map(Some)
        } else {
            Ok(None)
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        if self.field.is_list() {
            list(self.field, items, self.cx).map(Some)
        } else {
            self.single()?.visit_seq(items).map(Some)
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        if self.field.is_map() {
            self.cx
                .nested(1, || map(self.field, entries, self.cx))
                .map(Some)
        } else {
            self.single()?.visit_map(entries).map(Some)
        }
    }
}

pub(super) fn list<'de, A: SeqAccess<'de>>(
    field: &FieldDescriptor,
    mut items: A,
    cx: &Context,
) -> Result<Value, A::Error> {
    let kind = field.kind();
    let mut values = Vec::new();
    loop {
        let item = items.next_element_seed(ValueSeed { kind: &kind, cx });
        match cx.within(item, || Part::Index(values.len()))? {
            Some(value) => values.push(value),
            None => return Ok(Value::List(values)),
        }
    }
}

pub(super) fn map<'de, A: MapAccess<'de>>(
    field: &FieldDescriptor,
    mut entries: A,
    cx: &Context,
) -> Result<Value, A::Error> {
    let kind = field.kind();
    let Kind::Message(entry) = &kind else {
        return Err(cx.refuse("expected a map"));
    };
    let key_kind = entry.map_entry_key_field().kind();
    let value_kind = entry.map_entry_value_field().kind();
    let mut values = HashMap::new();
    while let Some(key) = entries.next_key::<String>()? {
        let key = scalar::map_key(&key_kind, key).map_err(|problem| cx.refuse(problem))?;
        let value = entries.next_value_seed(ValueSeed {
            kind: &value_kind,
            cx,
        })?;
        if values.insert(key, value).is_some() {
            return Err(cx.refuse("a map key is given twice"));
        }
    }
    Ok(Value::Map(values))
}
