//! Verifies an id_token (OpenID Connect Core §3.1.3.7): against the issuer and
//! the client that the provider's definition names, never those that the token
//! names itself.

use std::str::FromStr;

use openidconnect::ClaimsVerificationError;
use openidconnect::{
    ClientId, IssuerUrl, Nonce, NonceVerifier, SignatureVerificationError,
    core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm},
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    domain::{ambient::Ambient, provider::OAuth2Client},
    egress::discovery::{Discovery, DiscoveryError, KeySet, Metadata},
};

/// Signatures by a key pair only: a shared secret would let the client sign.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 8] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Why an id_token is refused.
#[derive(Debug, thiserror::Error)]
pub enum IdTokenError {
    /// Its keys can't be had.
    #[error("the provider's keys can't be fetched")]
    Keys(#[source] DiscoveryError),
    /// It does not verify. The cause holds no part of the token.
    #[error("the id_token does not verify: {0}")]
    Invalid(&'static str),
}

/// Verifies an id_token and answers its subject (`sub`). A refreshed one has no
/// nonce to be held against. A key that is not in
/// the key set makes us fetch the set once more.
///
/// # Errors
/// See [`IdTokenError`].
pub async fn verify(
    id_token: &SecretString,
    client: &OAuth2Client,
    metadata: &Metadata,
    nonce: Option<&SecretString>,
    discovery: &Discovery,
    ambient: &Ambient,
) -> Result<String, IdTokenError> {
    let verified = verify_with_keys(id_token, client, metadata, nonce, discovery, ambient).await;
    let result = if verified.is_ok() { "success" } else { "error" };
    metrics::counter!("oidc_verifications_total", "result" => result).increment(1);
    verified
}

async fn verify_with_keys(
    id_token: &SecretString,
    client: &OAuth2Client,
    metadata: &Metadata,
    nonce: Option<&SecretString>,
    discovery: &Discovery,
    ambient: &Ambient,
) -> Result<String, IdTokenError> {
    let token = CoreIdToken::from_str(id_token.expose_secret())
        .map_err(|_| IdTokenError::Invalid("malformed"))?;
    let jwks_uri = metadata
        .jwks_uri
        .as_ref()
        .ok_or(IdTokenError::Invalid("the issuer announces no keys"))?;
    let nonce = nonce.map(|nonce| Nonce::new(nonce.expose_secret().to_owned()));
    let keys = discovery
        .keys(jwks_uri, None)
        .await
        .map_err(IdTokenError::Keys)?;
    match verify_once(&token, client, &keys, nonce.as_ref(), ambient) {
        Err(Failure::UnknownKey) => {
            let newer = discovery
                .keys(jwks_uri, Some(&keys))
                .await
                .map_err(IdTokenError::Keys)?;
            verify_once(&token, client, &newer, nonce.as_ref(), ambient)
        }
        outcome => outcome,
    }
    .map_err(|failure| match failure {
        Failure::UnknownKey => IdTokenError::Invalid("it is signed by an unknown key"),
        Failure::Other(what) => IdTokenError::Invalid(what),
    })
}

enum Failure {
    UnknownKey,
    Other(&'static str),
}

fn verify_once(
    token: &CoreIdToken,
    client: &OAuth2Client,
    keys: &KeySet,
    nonce: Option<&Nonce>,
    ambient: &Ambient,
) -> Result<String, Failure> {
    let keys: CoreJsonWebKeySet =
        serde_json::from_str(&keys.json).map_err(|_| Failure::Other("the key set is malformed"))?;
    let issuer = IssuerUrl::new(client.issuer.clone())
        .map_err(|_| Failure::Other("the issuer is malformed"))?;
    let now = ambient.now();
    let verifier = CoreIdTokenVerifier::new_public_client(
        ClientId::new(client.client_id.clone()),
        issuer,
        keys,
    )
    .set_allowed_algs(ALGORITHMS)
    .set_time_fn(move || now);
    let claims = token
        .claims(&verifier, |given: Option<&Nonce>| match nonce {
            Some(nonce) => nonce.verify(given),
            // A refreshed id_token answers no authentication request
            // (OpenID Connect Core §12.2).
            None => Ok(()),
        })
        .map_err(|error| match error {
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey
                | SignatureVerificationError::AmbiguousKeyId(_),
            ) => Failure::UnknownKey,
            ClaimsVerificationError::Expired(_) => Failure::Other("it has expired"),
            ClaimsVerificationError::InvalidAudience(_) => {
                Failure::Other("it is for another audience")
            }
            ClaimsVerificationError::InvalidIssuer(_) => {
                Failure::Other("it is from another issuer")
            }
            ClaimsVerificationError::InvalidNonce(_) => Failure::Other("its nonce is another"),
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoSignature,
            ) => Failure::Other("it is not signed"),
            ClaimsVerificationError::SignatureVerification(_) => {
                Failure::Other("its signature is wrong")
            }
            _ => Failure::Other("a claim is wrong"),
        })?;
    Ok(claims.subject().as_str().to_owned())
}
