//! `google.protobuf.Any`: the type may stand behind the fields it gives a
//! meaning to, so the entries are kept as text until it is known.

use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};
use serde::de::{DeserializeSeed as _, Error, MapAccess};
use serde_json::value::RawValue;

use super::{
    WellKnown,
    context::{Context, Part},
    de::{FieldSeed, ValueSeed},
    de_message::MessageBuilder,
};

pub(super) fn read<'de, A: MapAccess<'de>>(
    desc: &MessageDescriptor,
    mut entries: A,
    cx: &Context,
) -> Result<Value, A::Error> {
    let mut type_url = None;
    let mut rest: Vec<(String, Box<RawValue>)> = Vec::new();
    while let Some(key) = entries.next_key::<String>()? {
        if key != "@type" {
            rest.push((key, entries.next_value()?));
            continue;
        }
        let text: Box<RawValue> = entries.next_value()?;
        let url = serde_json::from_str::<String>(text.get())
            .map_err(|_| at_type(cx, "expected a string"))?;
        if type_url.replace(url).is_some() {
            return Err(at_type(cx, "given twice"));
        }
    }
    let Some(type_url) = type_url else {
        return match rest.is_empty() {
            true => Ok(Value::Message(DynamicMessage::new(desc.clone()))),
            false => Err(at_type(cx, "missing")),
        };
    };
    let inner = type_url
        .rsplit_once('/')
        .and_then(|(_, name)| desc.parent_pool().get_message_by_name(name))
        .ok_or_else(|| at_type(cx, "not a known message type"))?;
    let message = fill(inner, &rest, cx).map_err(A::Error::custom)?;
    let mut any = DynamicMessage::new(desc.clone());
    any.set_field_by_number(1, Value::String(type_url));
    any.set_field_by_number(2, Value::Bytes(message.encode_to_vec().into()));
    Ok(Value::Message(any))
}

fn fill(
    desc: MessageDescriptor,
    entries: &[(String, Box<RawValue>)],
    cx: &Context,
) -> Result<DynamicMessage, serde_json::Error> {
    if !WellKnown::is_boxed_in_any(&desc) {
        let mut builder = MessageBuilder::new(desc, cx);
        for (key, text) in entries {
            let field = builder.field(key)?;
            let mut text = serde_json::Deserializer::from_str(text.get());
            let value = FieldSeed { field: &field, cx }.deserialize(&mut text);
            builder.put(&field, value)?;
        }
        return Ok(builder.message);
    }
    let [(key, text)] = entries else {
        return Err(cx.refuse("expected \"@type\" and \"value\""));
    };
    if key != "value" {
        return Err(cx.refuse("expected \"@type\" and \"value\""));
    }
    let kind = Kind::Message(desc);
    let mut text = serde_json::Deserializer::from_str(text.get());
    let value = ValueSeed { kind: &kind, cx }.deserialize(&mut text);
    match cx.within(value, || Part::Field("value".to_owned()))? {
        Value::Message(message) => Ok(message),
        _ => Err(cx.refuse("expected a message")),
    }
}

fn at_type<E: Error>(cx: &Context, problem: &'static str) -> E {
    let error: Result<(), E> = Err(cx.refuse(problem));
    match cx.within(error, || Part::Field("@type".to_owned())) {
        Err(error) => error,
        Ok(()) => E::custom("refused"),
    }
}
