//! Any message becomes JSON and the same message again; prost-reflect's own
//! JSON reader and writer are the second opinion.

use proptest::{collection, prelude::*};
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use crate::world::{Answer, World, frame, headers, pool};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,6}", "[\\x00-\\x7f]{0,6}", "[a-z\"\\\\/]{0,6}"]
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |n| n.is_finite()),
        (-1000_i32..1000).prop_map(f64::from),
    ]
}

fn scalar(kind: &Kind, depth: u32) -> BoxedStrategy<Value> {
    match kind {
        Kind::Double => prop_oneof![finite(), Just(f64::INFINITY)]
            .prop_map(Value::F64)
            .boxed(),
        Kind::Float => any::<f32>()
            .prop_filter("not NaN", |n| !n.is_nan())
            .prop_map(Value::F32)
            .boxed(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => any::<i32>().prop_map(Value::I32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => any::<i64>().prop_map(Value::I64).boxed(),
        Kind::Uint32 | Kind::Fixed32 => any::<u32>().prop_map(Value::U32).boxed(),
        Kind::Uint64 | Kind::Fixed64 => any::<u64>().prop_map(Value::U64).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::String => text().prop_map(Value::String).boxed(),
        Kind::Bytes => collection::vec(any::<u8>(), 0..6)
            .prop_map(|bytes| Value::Bytes(bytes.into()))
            .boxed(),
        Kind::Enum(desc) if desc.full_name() == "google.protobuf.NullValue" => {
            Just(Value::EnumNumber(0)).boxed()
        }
        Kind::Enum(_) => prop_oneof![Just(0), Just(1), Just(5), any::<i32>()]
            .prop_map(Value::EnumNumber)
            .boxed(),
        Kind::Message(desc) => message(desc, depth).prop_map(Value::Message).boxed(),
    }
}

fn pair(desc: &MessageDescriptor, seconds: i64, nanos: i32) -> DynamicMessage {
    let mut message = DynamicMessage::new(desc.clone());
    message.set_field_by_number(1, Value::I64(seconds));
    message.set_field_by_number(2, Value::I32(nanos));
    message
}

fn message(desc: &MessageDescriptor, depth: u32) -> BoxedStrategy<DynamicMessage> {
    let own = desc.clone();
    match desc.full_name() {
        "google.protobuf.Timestamp" => (-62_135_596_800_i64..=253_402_300_799, 0..1_000_000_000)
            .prop_map(move |(seconds, nanos)| pair(&own, seconds, nanos))
            .boxed(),
        "google.protobuf.Duration" => (0..=315_576_000_000_i64, 0..1_000_000_000, any::<bool>())
            .prop_map(move |(seconds, nanos, negative)| {
                let sign = if negative { -1 } else { 1 };
                pair(&own, sign * seconds, i32::try_from(sign).unwrap() * nanos)
            })
            .boxed(),
        "google.protobuf.FieldMask" => {
            let path = "[a-z]{1,4}(_[a-z]{1,3}){0,2}(\\.[a-z]{1,3}){0,2}";
            collection::vec(path.prop_map(Value::String), 0..3)
                .prop_map(move |paths| {
                    let mut mask = DynamicMessage::new(own.clone());
                    mask.set_field_by_number(1, Value::List(paths));
                    mask
                })
                .boxed()
        }
        // The second opinion writes an infinite one as null.
        "google.protobuf.DoubleValue" => finite()
            .prop_map(move |number| {
                let mut wrapper = DynamicMessage::new(own.clone());
                wrapper.set_field_by_number(1, Value::F64(number));
                wrapper
            })
            .boxed(),
        "google.protobuf.Any" => {
            let inner = desc
                .parent_pool()
                .get_message_by_name("test.v1.Inner")
                .unwrap();
            message(&inner, 0)
                .prop_map(move |inner| {
                    let mut any = DynamicMessage::new(own.clone());
                    let url = "type.googleapis.com/test.v1.Inner".to_owned();
                    any.set_field_by_number(1, Value::String(url));
                    any.set_field_by_number(2, Value::Bytes(inner.encode_to_vec().into()));
                    any
                })
                .boxed()
        }
        "google.protobuf.Value" => {
            let members = if depth == 0 { 4 } else { 6 };
            let own_members: Vec<_> = (1..=members).map(|n| own.get_field(n).unwrap()).collect();
            let strategies = own_members.into_iter().map(move |field| {
                let own = own.clone();
                let value = match field.kind() {
                    Kind::Double => finite().prop_map(Value::F64).boxed(),
                    kind => scalar(&kind, depth.saturating_sub(1)),
                };
                value
                    .prop_map(move |value| {
                        let mut message = DynamicMessage::new(own.clone());
                        message.set_field(&field, value);
                        message
                    })
                    .boxed()
            });
            proptest::strategy::Union::new(strategies.collect::<Vec<_>>()).boxed()
        }
        _ => fields(desc, depth),
    }
}

fn fields(desc: &MessageDescriptor, depth: u32) -> BoxedStrategy<DynamicMessage> {
    let fields: Vec<_> = desc
        .fields()
        .filter(|field| depth > 0 || !matches!(field.kind(), Kind::Message(_)))
        .collect();
    let desc = desc.clone();
    let values: Vec<_> = fields
        .iter()
        .map(|field| proptest::option::weighted(0.4, value(field, depth.saturating_sub(1))))
        .collect();
    values
        .prop_map(move |values| {
            let mut message = DynamicMessage::new(desc.clone());
            for (field, value) in fields.iter().zip(values) {
                if let Some(value) = value {
                    message.set_field(field, value);
                }
            }
            message
        })
        .boxed()
}

fn value(field: &FieldDescriptor, depth: u32) -> BoxedStrategy<Value> {
    let kind = field.kind();
    if field.is_map() {
        let Kind::Message(entry) = &kind else {
            panic!("a map without entries");
        };
        let key = match entry.map_entry_key_field().kind() {
            Kind::String => text().prop_map(MapKey::String).boxed(),
            Kind::Bool => any::<bool>().prop_map(MapKey::Bool).boxed(),
            Kind::Int32 => any::<i32>().prop_map(MapKey::I32).boxed(),
            Kind::Uint64 => any::<u64>().prop_map(MapKey::U64).boxed(),
            kind => panic!("no map of the test has keys of kind {kind:?}"),
        };
        let value = scalar(&entry.map_entry_value_field().kind(), depth);
        return collection::hash_map(key, value, 0..3)
            .prop_map(Value::Map)
            .boxed();
    }
    if field.is_list() {
        return collection::vec(scalar(&kind, depth), 0..3)
            .prop_map(Value::List)
            .boxed();
    }
    scalar(&kind, depth)
}

fn decode(bytes: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(everything(), bytes).unwrap()
}

fn everything() -> MessageDescriptor {
    pool().get_message_by_name("test.v1.Everything").unwrap()
}

async fn to_json(message: &DynamicMessage) -> String {
    let answer = Answer {
        chunks: vec![frame(&message.encode_to_vec())],
        trailers: Some(headers(&[("grpc-status", "0")])),
        ..Answer::default()
    };
    let reply = World::answering(answer).call("GET /v1/echo", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().to_owned()
}

async fn from_json(json: String) -> DynamicMessage {
    let world = World::echo();
    let reply = world.call("POST /v1/echo", json.clone()).await;
    assert_eq!(reply.status, 200, "{json}: {}", reply.text());
    let call = world.calls().pop().unwrap();
    decode(&call.body[5..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_message_survives_the_way_through_json(
        // As bytes: the Debug of a DynamicMessage of a recursive type has no end.
        bytes in message(&everything(), 3).prop_map(|message| message.encode_to_vec())
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let original = decode(&bytes);
            let json = to_json(&original).await;
            let back = from_json(json.clone()).await;
            prop_assert!(back == original, "changed on the way through {json}");
            prop_assert_eq!(to_json(&back).await, json.clone());

            let mut reader = serde_json::Deserializer::from_str(&json);
            let other = DynamicMessage::deserialize(everything(), &mut reader).unwrap();
            prop_assert!(decode(&other.encode_to_vec()) == original, "read otherwise: {json}");

            let written = serde_json::to_string(&original).unwrap();
            prop_assert!(from_json(written.clone()).await == original, "misread: {written}");
            Ok(())
        })?;
    }

    #[test]
    fn no_body_makes_a_request_panic(body in prop_oneof![
        collection::vec(any::<u8>(), 1..40),
        "[{}\\[\\]\":,a-c0-9@.e-]{1,40}".prop_map(String::into_bytes),
    ]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let reply = runtime.block_on(World::echo().call("POST /v1/echo", body));
        prop_assert!(reply.status == 200 || reply.status == 400);
    }
}
