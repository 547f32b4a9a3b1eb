//! What a gateway needs to know, and how it is read from settings.

use axum::http::{HeaderValue, Uri};
use dromos_serve::{Settings, SettingsError, TlsIdentity, read_certificates, read_private_key};
use secrecy::{ExposeSecret, SecretString};

use crate::key;

const LISTEN: &str = "an address and port to listen on, for instance 0.0.0.0:8080";
const BROKER_URL: &str =
    "the broker's internal listener, for instance https://broker.internal:9090";
const BROKER_API_KEY: &str = "one of the broker's API_KEYS, 16 to 512 visible ASCII characters; make one with `openssl rand -hex 32`";
const ORIGINS: &str =
    "origins as browsers send them, comma-separated, for instance https://app.example.com";

/// A gateway's configuration. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen: address and port, port 0 for any free one.
    pub listen: String,
    /// TLS towards callers; `None` listens in clear, for a proxy in front.
    pub tls: Option<TlsIdentity>,
    /// The broker's internal listener: `http://` or `https://`, host and port.
    pub broker_url: String,
    /// The service key that the gateway proves itself with to the broker.
    pub broker_api_key: SecretString,
    /// TLS towards the broker, for an `https://` broker.
    pub broker_tls: BrokerTls,
    /// The exact origins whose pages may call; empty means none.
    pub cors_allowed_origins: Vec<String>,
}

/// TLS towards the broker, in PEM.
#[derive(Debug, Clone, Default)]
pub struct BrokerTls {
    /// The CAs that may have signed the broker's certificate; the system's
    /// where absent.
    pub ca: Option<Vec<u8>>,
    /// The certificate (with its chain) and private key to show to the broker.
    pub identity: Option<(Vec<u8>, SecretString)>,
}

impl Config {
    /// A configuration with these three, and neither TLS nor CORS.
    pub fn new(
        listen: impl Into<String>,
        broker_url: impl Into<String>,
        broker_api_key: impl Into<SecretString>,
    ) -> Self {
        Self {
            listen: listen.into(),
            tls: None,
            broker_url: broker_url.into(),
            broker_api_key: broker_api_key.into(),
            broker_tls: BrokerTls::default(),
            cors_allowed_origins: Vec::new(),
        }
    }

    /// From LISTEN (0.0.0.0:8080), BROKER_URL, BROKER_API_KEY,
    /// CORS_ALLOWED_ORIGINS, TLS_CERT_FILE, TLS_KEY_FILE, TLS_CLIENT_CA_FILE,
    /// BROKER_CA_FILE, BROKER_CERT_FILE and BROKER_KEY_FILE.
    ///
    /// # Errors
    ///
    /// A required setting is missing, or one can't be used.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingsError> {
        let config = Self {
            listen: settings
                .optional("LISTEN")
                .unwrap_or_else(|| "0.0.0.0:8080".to_owned()),
            tls: TlsIdentity::from_settings(settings)?,
            broker_url: settings.required("BROKER_URL", BROKER_URL)?,
            broker_api_key: settings.required("BROKER_API_KEY", BROKER_API_KEY)?.into(),
            broker_tls: BrokerTls::from_settings(settings)?,
            cors_allowed_origins: settings.list("CORS_ALLOWED_ORIGINS"),
        };
        config.check()?;
        Ok(config)
    }

    /// Checks what can be checked without the network.
    ///
    /// # Errors
    ///
    /// The first value that can't be used, by its setting's name.
    pub fn check(&self) -> Result<(), SettingsError> {
        let port = self
            .listen
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            return Err(SettingsError::malformed("LISTEN", LISTEN));
        }
        self.broker_uri()?;
        if !key::is_well_formed(self.broker_api_key.expose_secret().as_bytes()) {
            return Err(SettingsError::malformed("BROKER_API_KEY", BROKER_API_KEY));
        }
        self.origins().map(drop)
    }

    /// The broker's address: scheme and authority, nothing else.
    pub(crate) fn broker_uri(&self) -> Result<Uri, SettingsError> {
        let malformed = || SettingsError::malformed("BROKER_URL", BROKER_URL);
        let uri: Uri = self.broker_url.parse().map_err(|_| malformed())?;
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri.path() == "/" && uri.query().is_none();
        let authority = uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'));
        if scheme && plain && authority {
            Ok(uri)
        } else {
            Err(malformed())
        }
    }

    pub(crate) fn origins(&self) -> Result<Vec<HeaderValue>, SettingsError> {
        self.cors_allowed_origins
            .iter()
            .map(|origin| {
                origin_value(origin)
                    .ok_or_else(|| SettingsError::malformed("CORS_ALLOWED_ORIGINS", ORIGINS))
            })
            .collect()
    }
}

/// An origin must be spelled as a browser sends it, or it would never match.
fn origin_value(origin: &str) -> Option<HeaderValue> {
    let uri: Uri = origin.parse().ok()?;
    let spelled = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    (spelled == origin).then(|| HeaderValue::try_from(origin).ok())?
}

impl BrokerTls {
    fn from_settings(settings: &Settings) -> Result<Self, SettingsError> {
        let ca = settings.optional("BROKER_CA_FILE");
        let ca = ca
            .map(|path| read_certificates("BROKER_CA_FILE", &path))
            .transpose()?;
        let certificate = settings.optional("BROKER_CERT_FILE");
        let key = settings.optional("BROKER_KEY_FILE");
        let identity = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let certificate = read_certificates("BROKER_CERT_FILE", &certificate)?;
                let key = String::from_utf8(read_private_key("BROKER_KEY_FILE", &key)?);
                let key = key.map_err(|_| {
                    SettingsError::malformed("BROKER_KEY_FILE", "a PEM file, which is text")
                })?;
                Some((certificate, key.into()))
            }
            (Some(_), None) => {
                let how = "the private key of BROKER_CERT_FILE, a PEM file";
                return Err(SettingsError::missing("BROKER_KEY_FILE", how));
            }
            (None, Some(_)) => {
                let how = "the certificate of BROKER_KEY_FILE, a PEM file";
                return Err(SettingsError::missing("BROKER_CERT_FILE", how));
            }
        };
        Ok(Self { ca, identity })
    }
}
