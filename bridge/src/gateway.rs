//! The gateway's client: the one place that speaks gRPC to it.

use std::{fmt, time::Duration};

use dromos_proto::v1::{
    CredentialPayload, GetTokenRequest, RefreshConnectionRequest,
    connection_service_client::ConnectionServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use url::Url;

use crate::{Credential, Error, GatewayError, destination};

/// How long the gateway may take; it asks a provider in that time.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an open connection is probed, so that a dead one is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A client of the gateway, for one API key. Cheap to clone; the clones share
/// one connection, which is made when it is first needed.
#[derive(Clone)]
pub struct Gateway {
    client: ConnectionServiceClient<InterceptedService<Channel, Authorize>>,
    origin: String,
}

impl Gateway {
    /// Begins a client of the gateway at `url`, with an API key that has the
    /// scopes `credentials:read` and `credentials:refresh`.
    pub fn builder(url: &str, api_key: &str) -> GatewayBuilder {
        GatewayBuilder {
            url: url.to_owned(),
            authorization: bearer(api_key),
            allow_plaintext: false,
            ca_certificate: None,
        }
    }

    /// A client as the environment says: `GATEWAY_URL` and `DROMOS_API_KEY`.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] names the variable that is missing or malformed.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let read = |name| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| Error::Setting {
                setting: name,
                problem: "is not set".to_owned(),
            })
        };
        Self::builder(&read(URL)?, &read(API_KEY)?).build()
    }

    pub(crate) async fn get_token(&self, connection_id: &str) -> Result<Credential, Error> {
        let request = GetTokenRequest {
            connection_id: connection_id.to_owned(),
        };
        credential(self.client.clone().get_token(request).await)
    }

    pub(crate) async fn refresh_connection(
        &self,
        connection_id: &str,
        generation: u32,
    ) -> Result<Credential, Error> {
        let connection_id = connection_id.to_owned();
        let request = RefreshConnectionRequest {
            connection_id,
            generation: Some(generation),
        };
        credential(self.client.clone().refresh_connection(request).await)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gateway")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

const URL: &str = "GATEWAY_URL";
const API_KEY: &str = "DROMOS_API_KEY";

/// The settings of a [`Gateway`].
pub struct GatewayBuilder {
    url: String,
    authorization: Option<MetadataValue<Ascii>>,
    allow_plaintext: bool,
    ca_certificate: Option<String>,
}

impl GatewayBuilder {
    /// Allows plaintext to a gateway that is not on this machine. The API key
    /// and every credential can then be read on the way: only for a network
    /// that encrypts by itself.
    pub fn allow_plaintext(mut self, allow: bool) -> Self {
        self.allow_plaintext = allow;
        self
    }

    /// Trusts these certificates (PEM) instead of the platform's roots.
    pub fn ca_certificate(mut self, pem: &str) -> Self {
        self.ca_certificate = Some(pem.to_owned());
        self
    }

    /// Makes the client. Must run within a Tokio runtime; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`]: the URL is not one, or is plaintext to another
    /// machine; the key is empty or not visible ASCII.
    pub fn build(self) -> Result<Gateway, Error> {
        let url = Url::parse(&self.url).map_err(|_| setting(URL, "is not a URL"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(setting(URL, "must be an https URL"));
        }
        if !destination::is_secure(&url, self.allow_plaintext) {
            let problem =
                "is plaintext to another machine: use https, or allow plaintext explicitly";
            return Err(setting(URL, problem));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(setting(URL, "must not hold user information"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(setting(
                URL,
                "must be a scheme, a host and perhaps a port only",
            ));
        }
        let authorization = self.authorization;
        let authorization =
            authorization.ok_or_else(|| setting(API_KEY, "must be visible ASCII and not empty"))?;
        let origin = url.origin().ascii_serialization();
        let mut endpoint = Endpoint::from_shared(origin.clone())
            .map_err(|_| setting(URL, "is not a URL"))?
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(CONNECT_TIMEOUT);
        if url.scheme() == "https" {
            let tls = match self.ca_certificate {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|_| setting(URL, "can't be trusted: no usable root certificates"))?;
        }
        let channel = endpoint.connect_lazy();
        let client = ConnectionServiceClient::with_interceptor(channel, Authorize(authorization));
        Ok(Gateway { client, origin })
    }
}

impl fmt::Debug for GatewayBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GatewayBuilder")
            .finish_non_exhaustive()
    }
}

/// Puts the API key on every call.
#[derive(Clone)]
struct Authorize(MetadataValue<Ascii>);

impl Interceptor for Authorize {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The value of `authorization`, marked sensitive; none for a key that no
/// header could carry.
fn bearer(api_key: &str) -> Option<MetadataValue<Ascii>> {
    if api_key.is_empty() || !api_key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut value = MetadataValue::try_from(format!("Bearer {api_key}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn credential(
    answer: Result<tonic::Response<CredentialPayload>, Status>,
) -> Result<Credential, Error> {
    answer.map_err(GatewayError::from)?.into_inner().try_into()
}

fn setting(setting: &'static str, problem: &str) -> Error {
    Error::Setting {
        setting,
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(result: Result<Gateway, Error>) -> String {
        result.expect_err("refused").to_string()
    }

    #[tokio::test]
    async fn plaintext_to_another_machine_is_refused_unless_allowed() {
        let build = |url: &str| Gateway::builder(url, "made-up-key").build();
        assert!(build("http://127.0.0.1:8080").is_ok());
        assert!(build("https://gateway.acme.test").is_ok());
        for url in ["http://gateway.acme.test", "http://10.0.0.7:8080"] {
            assert!(problem(build(url)).contains("plaintext"), "{url}");
            let allowed = Gateway::builder(url, "made-up-key")
                .allow_plaintext(true)
                .build();
            assert!(allowed.is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_malformed_setting_is_named_and_no_key_is_told() {
        for (url, key, named) in [
            ("gateway", "made-up-key", URL),
            ("ftp://localhost", "made-up-key", URL),
            (
                "https://me:made-up-key@gateway.acme.test",
                "made-up-key",
                URL,
            ),
            ("https://gateway.acme.test/v1", "made-up-key", URL),
            ("https://gateway.acme.test", "", API_KEY),
            ("https://gateway.acme.test", "made-up-key\n", API_KEY),
        ] {
            let problem = problem(Gateway::builder(url, key).build());
            assert!(problem.starts_with(named), "{problem}");
            assert!(!problem.contains("made-up"), "{problem}");
        }
        let builder = Gateway::builder("http://localhost:1", "made-up-key");
        assert!(!format!("{builder:?}").contains("made-up"));
        let gateway = builder.build().expect("a gateway");
        assert!(!format!("{gateway:?}").contains("made-up"));
    }

    #[tokio::test]
    async fn the_environment_names_the_gateway_and_the_key() {
        let environment = |url: &'static str, key: &'static str| {
            move |name: &str| match name {
                URL => Some(url.to_owned()),
                API_KEY => Some(key.to_owned()),
                _ => None,
            }
        };
        assert!(Gateway::from_variables(environment("http://localhost:1", "made-up")).is_ok());
        let unset = problem(Gateway::from_variables(|_| None));
        assert_eq!(unset, "GATEWAY_URL is not set");
        let empty = problem(Gateway::from_variables(environment(
            "http://localhost:1",
            "",
        )));
        assert_eq!(empty, "DROMOS_API_KEY is not set");
    }
}
