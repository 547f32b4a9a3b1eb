//! Providers between protobuf and the domain. Absent fields mean the defaults
//! that the contract shows.

use std::collections::BTreeMap;

use dromos_proto::v1::{OAuth2, Provider as ProtoProvider, Strategy};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::convert::{Checks, from_struct, timestamp, to_struct};
use crate::domain::{
    error::Result,
    provider::{Definition, OAuth2Client, Provider, StrategySpec},
};

/// As it is answered: without its secret.
pub(super) fn to_proto(provider: &Provider, base_url: &str) -> ProtoProvider {
    let definition = provider.definition.clone();
    let client = definition.oauth2;
    ProtoProvider {
        name: provider.name.clone(),
        display_name: definition.display_name,
        category: definition.category,
        description: definition.description,
        api_base_url: definition.api_base_url,
        oauth2: Some(OAuth2 {
            issuer: client.issuer,
            authorization_endpoint: client.authorization_endpoint,
            token_endpoint: client.token_endpoint,
            revocation_endpoint: client.revocation_endpoint,
            userinfo_endpoint: client.userinfo_endpoint,
            device_authorization_endpoint: client.device_authorization_endpoint,
            client_id: client.client_id,
            client_secret: None,
            token_endpoint_auth_method: word(&client.token_endpoint_auth_method),
            grant_type: word(&client.grant_type),
            scopes: client.scopes,
            scope_separator: client.scope_separator,
            pkce: Some(client.pkce),
            authorization_params: client.authorization_params.into_iter().collect(),
            token_params: client.token_params.into_iter().collect(),
            refresh_params: client.refresh_params.into_iter().collect(),
            token_request_format: word(&client.token_request_format),
            expires_in_unit: word(&client.expires_in_unit),
            default_expires_in: client.default_expires_in,
            refresh_margin: Some(client.refresh_margin),
            refresh_reuse_interval: client.refresh_reuse_interval,
            refresh_token_rotation: Some(client.refresh_token_rotation),
        }),
        strategy: Some(Strategy {
            r#type: definition.strategy.kind,
            config: Some(to_struct(&definition.strategy.config)),
        }),
        shared_redirect_uri: definition.shared_redirect_uri,
        id: provider.id.to_string(),
        redirect_uri: provider.redirect_uri(base_url),
        created_at: Some(timestamp(provider.created_at)),
        updated_at: Some(timestamp(provider.updated_at)),
    }
}

/// As it was given: its name, its definition, its secret.
pub(super) fn from_proto(
    message: ProtoProvider,
) -> Result<(String, Definition, Option<SecretString>)> {
    let ProtoProvider {
        name,
        display_name,
        category,
        description,
        api_base_url,
        oauth2,
        strategy,
        shared_redirect_uri,
        // Output only: what a caller sends back is of no consequence (AIP-203).
        id: _,
        redirect_uri: _,
        created_at: _,
        updated_at: _,
    } = message;
    let mut checks = Checks::default();
    checks.required("name", &name);
    for (field, text) in [
        ("display_name", &display_name),
        ("category", &category),
        ("description", &description),
        ("api_base_url", &api_base_url),
    ] {
        checks.text(field, text);
    }
    if oauth2.is_none() {
        checks.wrong("oauth2", "is required");
    }
    let (oauth2, client_secret) = client(oauth2.unwrap_or_default(), &mut checks);
    let Strategy { r#type, config } = strategy.unwrap_or_default();
    let kind = if r#type.is_empty() {
        "oauth2".to_owned()
    } else {
        r#type
    };
    let strategy = StrategySpec {
        kind,
        config: config.map(from_struct).unwrap_or_default(),
    };
    checks.done()?;
    let definition = Definition {
        display_name,
        category,
        description,
        api_base_url,
        oauth2,
        strategy,
        shared_redirect_uri,
    };
    Ok((name, definition, client_secret))
}

fn client(message: OAuth2, checks: &mut Checks) -> (OAuth2Client, Option<SecretString>) {
    let OAuth2 {
        issuer,
        authorization_endpoint,
        token_endpoint,
        revocation_endpoint,
        userinfo_endpoint,
        device_authorization_endpoint,
        client_id,
        client_secret,
        token_endpoint_auth_method,
        grant_type,
        scopes,
        scope_separator,
        pkce,
        authorization_params,
        token_params,
        refresh_params,
        token_request_format,
        expires_in_unit,
        default_expires_in,
        refresh_margin,
        refresh_reuse_interval,
        refresh_token_rotation,
    } = message;
    for (field, text) in [
        ("oauth2.issuer", &issuer),
        ("oauth2.authorization_endpoint", &authorization_endpoint),
        ("oauth2.token_endpoint", &token_endpoint),
        ("oauth2.revocation_endpoint", &revocation_endpoint),
        ("oauth2.userinfo_endpoint", &userinfo_endpoint),
        (
            "oauth2.device_authorization_endpoint",
            &device_authorization_endpoint,
        ),
        ("oauth2.client_id", &client_id),
        ("oauth2.scope_separator", &scope_separator),
    ] {
        checks.text(field, text);
    }
    let client_secret = client_secret.filter(|secret| !secret.is_empty());
    checks.text(
        "oauth2.client_secret",
        client_secret.as_deref().unwrap_or_default(),
    );
    checks.list("oauth2.scopes", &scopes);
    let mut params = |field: &str, given: BTreeMap<String, String>| {
        checks.map(field, &given);
        given
    };
    let authorization_params = params("oauth2.authorization_params", authorization_params);
    let token_params = params("oauth2.token_params", token_params);
    let refresh_params = params("oauth2.refresh_params", refresh_params);
    let client = OAuth2Client {
        issuer,
        authorization_endpoint,
        token_endpoint,
        revocation_endpoint,
        userinfo_endpoint,
        device_authorization_endpoint,
        client_id,
        token_endpoint_auth_method: parse(
            checks,
            "oauth2.token_endpoint_auth_method",
            &token_endpoint_auth_method,
            "client_secret_basic",
        ),
        grant_type: parse(
            checks,
            "oauth2.grant_type",
            &grant_type,
            "authorization_code",
        ),
        scopes,
        scope_separator: if scope_separator.is_empty() {
            " ".to_owned()
        } else {
            scope_separator
        },
        pkce: pkce.unwrap_or(true),
        authorization_params,
        token_params,
        refresh_params,
        token_request_format: parse(
            checks,
            "oauth2.token_request_format",
            &token_request_format,
            "form",
        ),
        expires_in_unit: parse(
            checks,
            "oauth2.expires_in_unit",
            &expires_in_unit,
            "seconds",
        ),
        default_expires_in,
        refresh_margin: refresh_margin.unwrap_or(OAuth2Client::DEFAULT_REFRESH_MARGIN),
        refresh_reuse_interval,
        refresh_token_rotation: refresh_token_rotation.unwrap_or(true),
    };
    (client, client_secret.map(SecretString::from))
}

/// A closed set's member, by the word that serde knows it by.
fn parse<T: DeserializeOwned>(checks: &mut Checks, field: &str, text: &str, default: &str) -> T {
    let of = |word: &str| serde_json::from_value(Value::String(word.to_owned()));
    let word = if text.is_empty() { default } else { text };
    of(word).unwrap_or_else(|_| {
        checks.wrong(
            field,
            &format!("is not a value that is known; the default is {default}"),
        );
        of(default).expect("the default is a member")
    })
}

fn word(member: &impl serde::Serialize) -> String {
    match serde_json::to_value(member) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}
