//! Proto3 JSON with snake_case names, in and out, from the descriptors.

use dromos_proto::POOL;
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::failure::Failure;

/// A message as indented JSON. `name` is the message's name in `dromos.v1`.
/// Fields without presence are always written.
///
/// # Errors
///
/// The message is not what `name` says.
pub fn render(name: &str, message: &impl Message) -> Result<String, Failure> {
    let value = value(name, message)?;
    serde_json::to_string_pretty(&value).map_err(|_| odd(name))
}

/// The same in one line.
///
/// # Errors
///
/// The message is not what `name` says.
pub fn line(name: &str, message: &impl Message) -> Result<String, Failure> {
    Ok(value(name, message)?.to_string())
}

fn odd(name: &str) -> Failure {
    Failure::new(format!("the answer is no dromos.v1.{name}"))
}

fn value(name: &str, message: &impl Message) -> Result<Value, Failure> {
    let odd = || odd(name);
    let descriptor = POOL
        .get_message_by_name(&format!("dromos.v1.{name}"))
        .ok_or_else(odd)?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|_| odd())?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let mut value = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|_| odd())?;
    whole_numbers(&mut value);
    Ok(value)
}

/// Writes `3600.0` as `3600`: a Struct's numbers are floats, people's are not.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            // Beyond 2^53 a float doesn't tell whole numbers apart.
            let whole = number
                .as_f64()
                .filter(|float| float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0);
            if number.is_f64()
                && let Some(whole) = whole
            {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Reads a message from JSON. `name` is the message's name in `dromos.v1`.
///
/// # Errors
///
/// What is wrong and where, in words that hold no value of the text: an
/// unknown field by its name.
pub fn parse<M: Message + Default>(name: &str, text: &str) -> Result<M, String> {
    let descriptor = POOL
        .get_message_by_name(&format!("dromos.v1.{name}"))
        .ok_or_else(|| format!("there is no dromos.v1.{name}"))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(descriptor, &mut deserializer, &options)
        .and_then(|message| deserializer.end().map(|()| message))
        .map_err(|error| without_values(&error.to_string()))?;
    message
        .transcode_to()
        .map_err(|_| format!("it is no dromos.v1.{name}"))
}

/// serde quotes the value that it can't take, and that may be a secret.
fn without_values(problem: &str) -> String {
    if problem.starts_with("invalid ")
        && let Some((_, expected)) = problem.rsplit_once(", expected ")
    {
        return format!("expected {expected}");
    }
    match problem.strip_prefix("unrecognized field name ") {
        Some(field) => format!("there is no field {field}"),
        None => problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use dromos_proto::v1::{CredentialPayload, OAuth2, Provider};

    use super::*;

    #[test]
    fn json_has_snake_case_names_and_all_fields_without_presence() {
        let provider = Provider {
            name: "acme".to_owned(),
            oauth2: Some(OAuth2::default()),
            ..Provider::default()
        };
        let json: Value = serde_json::from_str(&render("Provider", &provider).unwrap()).unwrap();
        assert_eq!(json["name"], "acme");
        assert_eq!(json["display_name"], "");
        assert_eq!(json["shared_redirect_uri"], false);
        assert!(json.get("created_at").is_none(), "an unset message");
        assert!(json["oauth2"].get("pkce").is_none(), "an unset optional");
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        let payload: CredentialPayload = parse(
            "CredentialPayload",
            r#"{"credentials": {"lifetime": 3600, "share": 0.5}}"#,
        )
        .unwrap();
        let text = render("CredentialPayload", &payload).unwrap();
        assert!(text.contains("\"lifetime\": 3600,"), "{text}");
        assert!(text.contains("\"share\": 0.5"), "{text}");
    }

    #[test]
    fn both_spellings_of_a_name_are_read() {
        for name in ["display_name", "displayName"] {
            let provider: Provider =
                parse("Provider", &format!(r#"{{"{name}": "Acme"}}"#)).unwrap();
            assert_eq!(provider.display_name, "Acme");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_by_its_name() {
        let problem = parse::<Provider>("Provider", r#"{"oauth2": {"client_sekret": "x"}}"#);
        let problem = problem.unwrap_err();
        assert!(
            problem.starts_with("there is no field 'client_sekret'"),
            "{problem}"
        );
    }

    #[test]
    fn a_problem_is_told_without_the_value() {
        for json in [
            r#"{"oauth2": {"scopes": "made-up-secret"}}"#,
            r#"{"oauth2": {"pkce": "made-up-secret, expected nothing"}}"#,
            r#"{"oauth2": "made-up-secret"}"#,
            r#"{"oauth2": {"client_secret": ["made-up-secret"]}}"#,
            r#"{"created_at": "made-up-secret"}"#,
            r#"{"name": "acme"} made-up-secret"#,
            r#"{"name": made-up-secret}"#,
        ] {
            let problem = parse::<Provider>("Provider", json).unwrap_err();
            assert!(!problem.contains("made-up"), "{problem}");
            assert!(problem.contains("line 1"), "{problem}");
        }
    }
}
