use dromos_simulator::{Behaviour, ClientAuth, ExpiresFormat, IdTokenFault, RequestFormat};
use serde_json::json;

#[test]
fn nothing_declared_is_the_default() {
    let behaviour: Behaviour = serde_json::from_value(json!({})).expect("a behaviour");
    assert_eq!(behaviour, Behaviour::default());
}

#[test]
fn quirks_are_declared_as_data() {
    let behaviour: Behaviour = serde_json::from_value(json!({
        "rotate_refresh_tokens": false,
        "expires_in": { "format": "milliseconds" },
        "token_request_format": "json",
        "client_auth": "basic",
        "id_token_fault": "alg_none",
        "extra_token_fields": { "instance_url": "https://eu.example" },
        "scope_separator": ",",
    }))
    .expect("a behaviour");
    assert!(!behaviour.rotate_refresh_tokens);
    assert_eq!(
        (behaviour.expires_in.seconds, behaviour.expires_in.format),
        (3600, ExpiresFormat::Milliseconds)
    );
    assert_eq!(behaviour.token_request_format, RequestFormat::Json);
    assert_eq!(behaviour.client_auth, ClientAuth::Basic);
    assert_eq!(behaviour.id_token_fault, IdTokenFault::AlgNone);
    assert_eq!(
        behaviour.extra_token_fields["instance_url"],
        "https://eu.example"
    );
    assert_eq!(behaviour.scope_separator, ",");
    let again: Behaviour = serde_json::from_value(json!(behaviour)).expect("the same behaviour");
    assert_eq!(again, behaviour);
}

#[test]
fn a_misspelt_quirk_is_an_error() {
    let misspelt = [
        json!({ "rotate_refresh_token": true }),
        json!({ "expires_in": { "second": 1 } }),
    ];
    for quirk in misspelt {
        let error = serde_json::from_value::<Behaviour>(quirk).expect_err("an error");
        assert!(error.to_string().contains("unknown field"), "{error}");
    }
}
