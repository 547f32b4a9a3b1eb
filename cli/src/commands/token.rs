//! `dromos token`.

use dromos_proto::v1::{CredentialPayload, GetTokenRequest};
use prost_types::{Struct, Value, value::Kind};

use super::{answer, client};
use crate::{
    arguments::{Output, TokenArguments},
    failure::Failure,
    json,
    output::{Details, hidden, print},
    style::Style,
    when,
};

/// Fields of a credential that describe it and open nothing.
const DESCRIPTIONS: [&str; 2] = ["token_type", "scope"];

/// Runs the command.
///
/// # Errors
///
/// What the gateway answered, or that it could not be asked.
pub async fn run(arguments: &TokenArguments) -> Result<(), Failure> {
    let client = client(&arguments.common)?;
    let request = GetTokenRequest {
        connection_id: arguments.connection_id.clone(),
    };
    let payload = answer(&client, client.connections().get_token(request).await)?;
    match arguments.common.output {
        Output::Json => print(&json::render("CredentialPayload", &payload)?),
        Output::Table => {
            print(&details(&payload, arguments.show_secrets).render(Style::of_stdout()))?;
            if !arguments.show_secrets {
                eprintln!("\n--show-secrets shows the secrets, --output json prints all of it");
            }
            Ok(())
        }
    }
}

fn details(payload: &CredentialPayload, show_secrets: bool) -> Details {
    let strategy = payload.strategy.clone().unwrap_or_default();
    let mut details = Details::default()
        .line("Strategy", &strategy.r#type)
        .line("Generation", payload.generation.to_string())
        .line(
            "Expires",
            when::full(payload.expires_at.as_ref(), when::now()),
        );
    for (name, text) in fields(strategy.config.as_ref()) {
        details = details.line(&format!("config.{name}"), text);
    }
    for (name, text) in fields(payload.credentials.as_ref()) {
        let text = match show_secrets || DESCRIPTIONS.contains(&name) {
            true => text,
            false => hidden(&text),
        };
        details = details.line(name, text);
    }
    details
}

fn fields(object: Option<&Struct>) -> impl Iterator<Item = (&str, String)> {
    let fields = object.into_iter().flat_map(|object| &object.fields);
    fields.map(|(name, value)| (name.as_str(), text(value)))
}

fn text(value: &Value) -> String {
    match &value.kind {
        Some(Kind::StringValue(text)) => text.clone(),
        Some(Kind::BoolValue(value)) => value.to_string(),
        Some(Kind::NumberValue(number)) => number.to_string(),
        Some(Kind::StructValue(object)) => {
            let fields = fields(Some(object)).map(|(name, text)| format!("{name}: {text}"));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Some(Kind::ListValue(list)) => {
            let items: Vec<String> = list.values.iter().map(text).collect();
            format!("[{}]", items.join(", "))
        }
        Some(Kind::NullValue(_)) | None => "null".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload() -> CredentialPayload {
        let json = r#"{
            "strategy": {"type": "oauth2", "config": {"steps": [{"a": 1}, true, null]}},
            "credentials": {"access_token": "made-up-token", "token_type": "Bearer",
                            "nested": {"key": "made-up-key"}},
            "generation": 3}"#;
        json::parse("CredentialPayload", json).unwrap()
    }

    #[test]
    fn secrets_are_hidden_unless_they_are_asked_for() {
        let text = details(&payload(), false).render(Style::plain());
        assert!(!text.contains("made-up"), "{text}");
        assert!(
            text.contains("access_token  •••• (13 characters)"),
            "{text}"
        );
        assert!(text.contains("token_type    Bearer"), "{text}");
        let text = details(&payload(), true).render(Style::plain());
        assert!(text.contains("access_token  made-up-token"), "{text}");
    }

    #[test]
    fn the_strategy_is_told_with_its_settings() {
        let text = details(&payload(), false).render(Style::plain());
        assert!(text.contains("Strategy      oauth2"), "{text}");
        assert!(
            text.contains("config.steps  [{a: 1}, true, null]"),
            "{text}"
        );
        assert!(text.contains("Generation    3"), "{text}");
    }
}
