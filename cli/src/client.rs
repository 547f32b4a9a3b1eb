//! The gateway's client, and its errors in words that help.

use std::{path::Path, time::Duration};

use dromos_proto::v1::{
    access_service_client::AccessServiceClient, audit_service_client::AuditServiceClient,
    connection_service_client::ConnectionServiceClient, key_service_client::KeyServiceClient,
    provider_service_client::ProviderServiceClient, webhook_service_client::WebhookServiceClient,
};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt;
use url::{Host, Url};

use crate::{failure::Failure, output::harmless};

/// The environment variable that holds the API key.
pub const KEY_VARIABLE: &str = "DROMOS_API_KEY";
/// Where `dromos up` keeps its admin key, unless told otherwise.
pub const KEY_FILE: &str = ".dromos/admin.key";

/// How long an answer may take; the gateway asks a provider in that time.
const TIMEOUT: Duration = Duration::from_secs(35);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type Authorized = InterceptedService<Channel, Bearer>;

/// A client of one gateway, with one API key. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    channel: Authorized,
    gateway: String,
    key_source: String,
}

impl Client {
    /// A client of the gateway at `url`, with the key of the environment or
    /// else of `.dromos/admin.key`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The URL can't be used, or there is no key.
    pub fn from_environment(url: &str) -> Result<Self, Failure> {
        let url = gateway(url)?;
        let key = std::env::var(KEY_VARIABLE)
            .ok()
            .map(|key| key.trim().to_owned());
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            return Self::connect(&url, &key, KEY_VARIABLE);
        }
        // The key of this machine's gateway is nobody else's business.
        if !is_loopback(&url) {
            return Err(no_key(&url, "DROMOS_API_KEY is not set"));
        }
        if !Path::new(KEY_FILE).exists() {
            let problem = "DROMOS_API_KEY is not set, and there is no .dromos/admin.key here";
            return Err(no_key(&url, problem));
        }
        let key = std::fs::read_to_string(KEY_FILE)
            .map_err(|error| Failure::new(format!("{KEY_FILE} can't be read: {error}")))?;
        Self::connect(&url, key.trim(), KEY_FILE)
    }

    /// A client of the gateway at `url`, with this key; `key_source` says in
    /// errors where it came from.
    ///
    /// # Errors
    ///
    /// The URL or the key can't be used.
    pub fn new(url: &str, api_key: &str, key_source: &str) -> Result<Self, Failure> {
        Self::connect(&gateway(url)?, api_key, key_source)
    }

    fn connect(url: &Url, api_key: &str, key_source: &str) -> Result<Self, Failure> {
        let gateway = url.origin().ascii_serialization();
        let unusable = || Failure::new(format!("GATEWAY_URL {gateway} can't be used"));
        let mut endpoint = Endpoint::from_shared(gateway.clone())
            .map_err(|_| unusable())?
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // A watch may be silent for long; its gateway must not be gone.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(CONNECT_TIMEOUT);
        if url.scheme() == "https" {
            let tls = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(tls).map_err(|_| unusable())?;
        }
        let bearer = Bearer::new(api_key).ok_or_else(|| {
            Failure::new(format!("{key_source} holds no API key"))
                .next("an API key is one line of visible ASCII characters")
        })?;
        Ok(Self {
            channel: InterceptedService::new(endpoint.connect_lazy(), bearer),
            gateway,
            key_source: key_source.to_owned(),
        })
    }

    /// `dromos.v1.ConnectionService`.
    pub fn connections(&self) -> ConnectionServiceClient<Authorized> {
        ConnectionServiceClient::new(self.channel.clone())
    }

    /// `dromos.v1.ProviderService`.
    pub fn providers(&self) -> ProviderServiceClient<Authorized> {
        ProviderServiceClient::new(self.channel.clone())
    }

    /// `dromos.v1.AccessService`.
    pub fn access(&self) -> AccessServiceClient<Authorized> {
        AccessServiceClient::new(self.channel.clone())
    }

    /// `dromos.v1.AuditService`.
    pub fn audit(&self) -> AuditServiceClient<Authorized> {
        AuditServiceClient::new(self.channel.clone())
    }

    /// `dromos.v1.WebhookService`.
    pub fn webhooks(&self) -> WebhookServiceClient<Authorized> {
        WebhookServiceClient::new(self.channel.clone())
    }

    /// `dromos.v1.KeyService`.
    pub fn keys(&self) -> KeyServiceClient<Authorized> {
        KeyServiceClient::new(self.channel.clone())
    }

    /// What a status means here, and what to do about it.
    pub fn failure(&self, status: &Status) -> Failure {
        let reason = reason(status);
        let message = match harmless(status.message()) {
            message if message.is_empty() => reason.clone(),
            message => format!("{reason}: {message}"),
        };
        let failure = match (reason.as_str(), status.code()) {
            ("UNAVAILABLE", _) => {
                return Failure::new(format!("{} can't be reached", self.gateway))
                    .next("is `dromos up` running? For a gateway elsewhere, set GATEWAY_URL");
            }
            (_, Code::InvalidArgument) => Failure::new(format!("{message}{}", violations(status))),
            _ => Failure::new(message),
        };
        match self.advice(&reason) {
            Some(advice) => failure.next(advice),
            None => failure,
        }
    }

    fn advice(&self, reason: &str) -> Option<String> {
        let advice = match reason {
            "UNAUTHENTICATED" => {
                return Some(format!(
                    "{} does not take the key from {}; set {KEY_VARIABLE} to a key of this \
                     gateway, for instance to \"$(cat {KEY_FILE})\" where `dromos up` runs",
                    self.gateway, self.key_source
                ));
            }
            "SCOPE_MISSING" => "use a key that has the scope; `dromos api-keys create` makes one",
            "BROKER_UNAVAILABLE" => {
                "the gateway answers, its broker does not: is `dromos up` still running?"
            }
            "STORE_UNAVAILABLE" => "the broker's database is away; try again when it is back",
            "PROVIDER_UNAVAILABLE" => "the provider is away; try again later",
            "REFRESH_UNCERTAIN" => "try again in a minute",
            "RATE_LIMITED" => "wait a moment, then try again",
            "CONNECTION_NOT_FOUND" => "`dromos connections list` shows the connections",
            "PROVIDER_NOT_FOUND" => "`dromos providers list` shows the providers",
            "WEBHOOK_NOT_FOUND" => "`dromos webhooks list` shows the webhooks",
            "WEBHOOK_DELIVERY_NOT_FOUND" => {
                "`dromos webhooks deliveries` shows those of the last seven days"
            }
            "WORKSPACE_NOT_FOUND" => "`curl $GATEWAY_URL/v1/workspaces` lists the workspaces",
            "API_KEY_NOT_FOUND" => "`dromos api-keys list` shows the keys",
            "PROVIDER_EXISTS" => "choose another name, or delete the other one first",
            "PROVIDER_IN_USE" => "--force revokes its connections and then deletes it",
            "PROVIDER_MISCONFIGURED" => {
                "compare the client_id, the client_secret and the issuer with the registration"
            }
            "CONNECTION_PENDING" => "the user has not consented yet; try again after that",
            "CONNECTION_REVOKED" => "a revoked connection stays so; ask for a new one",
            "CONNECTION_ATTENTION_REQUIRED" | "CONNECTION_EXPIRED" | "CONNECTION_FAILED" => {
                "the user must connect again (ReconnectConnection)"
            }
            _ => return None,
        };
        Some(advice.to_owned())
    }
}

/// The machine-readable reason of a status: Dromos', or the gRPC code's name.
pub fn reason(status: &Status) -> String {
    match status.get_details_error_info() {
        Some(info) if info.domain == "dromos" => harmless(&info.reason),
        _ => dromos_serve::code_name(status.code()).to_owned(),
    }
}

fn violations(status: &Status) -> String {
    let Some(details) = status.get_details_bad_request() else {
        return String::new();
    };
    let told = |violation: &tonic_types::FieldViolation| {
        harmless(&format!("{}: {}", violation.field, violation.description))
    };
    let lines = details.field_violations.iter().map(told);
    lines.map(|line| format!("\n       {line}")).collect()
}

fn no_key(url: &Url, problem: &str) -> Failure {
    let next = match is_loopback(url) {
        true => "run `dromos up` here, or set DROMOS_API_KEY to an API key of the gateway",
        false => "set DROMOS_API_KEY to an API key of that gateway",
    };
    Failure::new(problem).next(next)
}

/// The gateway's URL: the key must not travel in clear beyond this machine.
fn gateway(text: &str) -> Result<Url, Failure> {
    let example = "for instance https://dromos.example.com or http://127.0.0.1:8090";
    let refused = |problem: &str| {
        Failure::new(format!("GATEWAY_URL {problem}"))
            .next(example)
            .configuration()
    };
    let url = Url::parse(text).map_err(|_| refused("is no URL"))?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    match url.scheme() {
        "http" | "https" if !(bare && anonymous) => {
            Err(refused("must be a scheme, a host and perhaps a port only"))
        }
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(refused("must be https: the key would travel in clear")),
        _ => Err(refused("must begin with https://")),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Puts the API key on every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    fn new(api_key: &str) -> Option<Self> {
        if api_key.is_empty() || !api_key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut value = MetadataValue::try_from(format!("Bearer {api_key}")).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.0.clone());
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_travels_in_clear_on_this_machine_only() {
        for url in [
            "http://127.0.0.1:8090",
            "http://localhost:8090",
            "http://[::1]:8090/",
            "https://dromos.example.com",
        ] {
            assert!(gateway(url).is_ok(), "{url} was refused");
        }
        for url in [
            "http://dromos.example.com",
            "http://10.0.0.1:8090",
            "http://127.0.0.1.example.com",
            "ftp://127.0.0.1",
            "https://user:password@dromos.example.com",
            "https://dromos.example.com/path",
            "127.0.0.1:8090",
            "",
        ] {
            assert!(gateway(url).is_err(), "{url} was taken");
        }
    }

    #[tokio::test]
    async fn a_key_that_no_header_can_carry_is_refused() {
        for key in ["", "two words", "line\nbreak", "ключ"] {
            let client = Client::new("http://127.0.0.1:1", key, "the test");
            let failure = client.err().map(|failure| failure.to_string());
            let failure = failure.unwrap_or_default();
            assert!(failure.contains("the test holds no API key"), "{failure}");
            assert!(key.is_empty() || !failure.contains(key), "{failure}");
        }
    }
}
