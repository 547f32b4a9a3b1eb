//! Ordinary messages: which field a key names, and what may stand beside it.

use std::fmt;

use prost_reflect::{
    DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage as _, Value,
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::{
    context::{Context, Part},
    de::FieldSeed,
};
use crate::name;

/// Collects the fields of one message.
pub(super) struct MessageBuilder<'a> {
    pub(super) message: DynamicMessage,
    /// Numbers of the fields that were named, `null` or not.
    seen: Vec<u32>,
    cx: &'a Context,
}

impl<'a> MessageBuilder<'a> {
    pub(super) fn new(desc: MessageDescriptor, cx: &'a Context) -> Self {
        Self {
            message: DynamicMessage::new(desc),
            seen: Vec::new(),
            cx,
        }
    }

    pub(super) fn entries<'de, A: MapAccess<'de>>(
        &mut self,
        mut entries: A,
    ) -> Result<(), A::Error> {
        loop {
            let key = FieldKey {
                builder: &mut *self,
            };
            let Some(field) = entries.next_key_seed(key)? else {
                return Ok(());
            };
            let value = entries.next_value_seed(FieldSeed {
                field: &field,
                cx: self.cx,
            });
            self.put(&field, value)?;
        }
    }

    /// The field that a key names, in either spelling.
    pub(super) fn field<E: Error>(&mut self, key: &str) -> Result<FieldDescriptor, E> {
        let desc = self.message.descriptor();
        let Some(field) = desc
            .get_field_by_name(key)
            .or_else(|| desc.get_field_by_json_name(key))
        else {
            let error = Err(self.cx.refuse(name::quoted("unknown field", key)));
            return self.cx.within(error, || Part::Field(name::safe(key)));
        };
        if self.seen.contains(&field.number()) {
            let error = Err(self.cx.refuse("given twice"));
            return self
                .cx
                .within(error, || Part::Field(field.name().to_owned()));
        }
        self.seen.push(field.number());
        Ok(field)
    }

    pub(super) fn put<E: Error>(
        &mut self,
        field: &FieldDescriptor,
        value: Result<Option<Value>, E>,
    ) -> Result<(), E> {
        let value = value.and_then(|value| {
            if value.is_some()
                && let Some(oneof) = field.containing_oneof()
                && oneof.fields().any(|other| self.message.has_field(&other))
            {
                return Err(self.cx.refuse(format!(
                    "another field of the oneof \"{}\" is set",
                    oneof.name()
                )));
            }
            Ok(value)
        });
        let value = self
            .cx
            .within(value, || Part::Field(field.name().to_owned()))?;
        if let Some(value) = value {
            self.message.set_field(field, value);
        }
        Ok(())
    }
}

/// Looks a key up while it is still in the parser's buffer.
struct FieldKey<'b, 'a> {
    builder: &'b mut MessageBuilder<'a>,
}

impl<'de> DeserializeSeed<'de> for FieldKey<'_, '_> {
    type Value = FieldDescriptor;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldKey<'_, '_> {
    type Value = FieldDescriptor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        self.builder.field(key)
    }
}
