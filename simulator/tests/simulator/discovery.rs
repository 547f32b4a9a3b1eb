use dromos_simulator::{Behaviour, ClientAuth};
use serde_json::{Value, json};

use crate::support::{Client, client};

async fn metadata(client: &mut Client) -> Value {
    let url = client.at("/.well-known/openid-configuration");
    client
        .browser
        .get(url.as_str())
        .await
        .expect("an answer")
        .json()
        .expect("JSON")
}

#[tokio::test]
async fn the_metadata_names_what_is_there() {
    let mut client = client(|_| {}).await;
    let url = client.sim.url();
    let metadata = metadata(&mut client).await;
    assert_eq!(metadata["issuer"], json!(url));
    for (name, path) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("jwks_uri", "/jwks"),
        ("userinfo_endpoint", "/userinfo"),
        ("revocation_endpoint", "/revoke"),
    ] {
        assert_eq!(metadata[name], json!(format!("{url}{path}")));
    }
    assert_eq!(
        metadata["code_challenge_methods_supported"],
        json!(["S256"])
    );
    assert_eq!(
        metadata["id_token_signing_alg_values_supported"],
        json!(["ES256"])
    );
    assert_eq!(
        metadata["authorization_response_iss_parameter_supported"],
        json!(true)
    );
}

#[tokio::test]
async fn the_metadata_follows_the_behaviour() {
    let mut client = client(|_| {}).await;
    client.sim.set_behaviour(Behaviour {
        announce_iss: false,
        revocation: false,
        refuse_pkce: true,
        client_auth: ClientAuth::Post,
        client_credentials: true,
        scopes: vec!["read".to_owned()],
        ..Behaviour::default()
    });
    let metadata = metadata(&mut client).await;
    assert_eq!(
        metadata.get("authorization_response_iss_parameter_supported"),
        None
    );
    assert_eq!(metadata.get("revocation_endpoint"), None);
    assert_eq!(metadata.get("code_challenge_methods_supported"), None);
    assert_eq!(
        metadata["token_endpoint_auth_methods_supported"],
        json!(["client_secret_post"])
    );
    assert_eq!(metadata["scopes_supported"], json!(["read"]));
    assert!(
        metadata["grant_types_supported"]
            .to_string()
            .contains("client_credentials")
    );
}

#[tokio::test]
async fn the_metadata_can_claim_another_issuer() {
    let mut client =
        client(|behaviour| behaviour.discovery_issuer = Some("https://honest.example".to_owned()))
            .await;
    let metadata = metadata(&mut client).await;
    assert_eq!(metadata["issuer"], json!("https://honest.example"));
    assert_eq!(
        metadata["token_endpoint"],
        json!(format!("{}/token", client.sim.url()))
    );
}
