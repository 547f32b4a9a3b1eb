//! A provider's endpoints: as its definition spells them, filled in with the
//! connection's values, or as its issuer announces them.

use std::{collections::BTreeMap, sync::Arc};

use url::Url;

use crate::{
    domain::{
        error::{Error, ErrorKind, Result},
        provider::OAuth2Client,
        url_template::{self, FillError},
    },
    egress::discovery::{Discovery, DiscoveryError, Metadata},
};

/// Where a provider's endpoints are.
pub struct Endpoints {
    /// RFC 6749 §3.1.
    pub authorization_endpoint: Url,
    /// RFC 6749 §3.2.
    pub token_endpoint: Url,
    /// RFC 7009.
    pub revocation_endpoint: Option<Url>,
    /// What the issuer announces, where there is one.
    pub metadata: Option<Arc<Metadata>>,
}

/// Finds them out.
///
/// # Errors
/// INVALID_ARGUMENT for a missing or malformed value of `connection_config`,
/// PROVIDER_UNAVAILABLE, PROVIDER_MISCONFIGURED.
pub async fn resolve(
    client: &OAuth2Client,
    connection_config: &BTreeMap<String, String>,
    discovery: &Discovery,
) -> Result<Endpoints> {
    let metadata = match client.issuer.as_str() {
        "" => None,
        issuer => Some(
            discovery
                .metadata(issuer)
                .await
                .map_err(unreachable_or_unusable)?,
        ),
    };
    let endpoint = |spelled: &str, announced: Option<&Url>| match spelled {
        "" => Ok(announced.cloned()),
        spelled => url_template::fill(spelled, connection_config)
            .map(Some)
            .map_err(bad_config),
    };
    let of = |pick: fn(&Metadata) -> Option<&Url>| metadata.as_deref().and_then(pick);
    let required = |found: Option<Url>| {
        found.ok_or_else(|| {
            Error::new(
                ErrorKind::ProviderMisconfigured,
                "the issuer announces no authorization or token endpoint",
            )
        })
    };
    Ok(Endpoints {
        authorization_endpoint: required(endpoint(
            &client.authorization_endpoint,
            of(|metadata| metadata.authorization_endpoint.as_ref()),
        )?)?,
        token_endpoint: required(endpoint(
            &client.token_endpoint,
            of(|metadata| metadata.token_endpoint.as_ref()),
        )?)?,
        revocation_endpoint: endpoint(
            &client.revocation_endpoint,
            of(|metadata| metadata.revocation_endpoint.as_ref()),
        )?,
        metadata,
    })
}

fn bad_config(error: FillError) -> Error {
    match &error {
        FillError::Missing(name) | FillError::Malformed(name) => {
            Error::invalid(format!("connection_config.{name}"), error.to_string())
        }
        FillError::NotAUrl => Error::new(
            ErrorKind::ProviderMisconfigured,
            "an endpoint of the provider is malformed",
        ),
    }
}

/// What a failed discovery means to a caller.
#[must_use]
pub fn unreachable_or_unusable(error: DiscoveryError) -> Error {
    match error {
        DiscoveryError::Unavailable(_) => Error::new(
            ErrorKind::ProviderUnavailable,
            "the provider's discovery document can't be fetched; try again",
        )
        .because(error),
        DiscoveryError::Unusable(what) => Error::new(
            ErrorKind::ProviderMisconfigured,
            format!("the provider's issuer is unusable: {what}"),
        )
        .because(error),
    }
}
