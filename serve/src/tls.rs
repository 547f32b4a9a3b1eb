//! TLS for listeners: rustls over ring, with client certificates where a
//! client CA is set.

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::settings::{Settings, SettingsError};

/// What a listener proves itself with, in PEM. `Debug` shows none of it.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The certificate, then its chain.
    pub certificates: Vec<u8>,
    /// The private key.
    pub private_key: Vec<u8>,
    /// Where set, every client must show a certificate that one of these signed.
    pub client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("mutual", &self.client_ca.is_some())
            .finish_non_exhaustive()
    }
}

/// How a PEM certificate file must be, for error lines.
pub const CERTIFICATES: &str = "the path of a readable PEM file of certificates";
/// How a PEM key file must be, for error lines.
pub const PRIVATE_KEY: &str =
    "the path of a readable PEM file of one private key, the certificate's own";

impl TlsIdentity {
    /// From TLS_CERT_FILE, TLS_KEY_FILE and TLS_CLIENT_CA_FILE; none of them
    /// set means no TLS.
    ///
    /// # Errors
    ///
    /// Only one of certificate and key is set, or a file can't be used.
    pub fn from_settings(settings: &Settings) -> Result<Option<Self>, SettingsError> {
        let [certificate, key, client_ca] = ["TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"]
            .map(|name| settings.optional(name));
        if certificate.is_none() && key.is_none() && client_ca.is_none() {
            return Ok(None);
        }
        let certificate =
            certificate.ok_or_else(|| SettingsError::missing("TLS_CERT_FILE", CERTIFICATES))?;
        let key = key.ok_or_else(|| SettingsError::missing("TLS_KEY_FILE", PRIVATE_KEY))?;
        let identity = Self {
            certificates: read_certificates("TLS_CERT_FILE", &certificate)?,
            private_key: read_private_key("TLS_KEY_FILE", &key)?,
            client_ca: client_ca
                .map(|path| read_certificates("TLS_CLIENT_CA_FILE", &path))
                .transpose()?,
        };
        identity.server_config()?;
        Ok(Some(identity))
    }

    /// The rustls configuration: TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`.
    ///
    /// # Errors
    ///
    /// The key is not the certificate's, or something is not PEM.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, SettingsError> {
        let provider = Arc::new(ring::default_provider());
        let certificates = certificates("TLS_CERT_FILE", &self.certificates)?;
        let bad_key = || SettingsError::malformed("TLS_KEY_FILE", PRIVATE_KEY);
        let key = PrivateKeyDer::from_pem_slice(&self.private_key).map_err(|_| bad_key())?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring offers the suites of TLS 1.2 and 1.3");
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = roots("TLS_CLIENT_CA_FILE", pem)?;
                builder.with_client_cert_verifier(verifier(roots, provider)?)
            }
        };
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(|_| bad_key())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn verifier(
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, SettingsError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|_| SettingsError::malformed("TLS_CLIENT_CA_FILE", CERTIFICATES))
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let malformed = || SettingsError::malformed(name, CERTIFICATES);
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(malformed)
}

fn roots(name: &str, pem: &[u8]) -> Result<RootCertStore, SettingsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(name, pem)? {
        roots
            .add(certificate)
            .map_err(|_| SettingsError::malformed(name, CERTIFICATES))?;
    }
    Ok(roots)
}

/// The content of the PEM certificate file that the setting `name` names.
///
/// # Errors
///
/// It can't be read, or holds no certificate.
pub fn read_certificates(name: &str, path: &str) -> Result<Vec<u8>, SettingsError> {
    let pem =
        std::fs::read(Path::new(path)).map_err(|_| SettingsError::malformed(name, CERTIFICATES))?;
    certificates(name, &pem)?;
    Ok(pem)
}

/// The content of the PEM key file that the setting `name` names.
///
/// # Errors
///
/// It can't be read, or holds no private key.
pub fn read_private_key(name: &str, path: &str) -> Result<Vec<u8>, SettingsError> {
    let malformed = || SettingsError::malformed(name, PRIVATE_KEY);
    let pem = std::fs::read(Path::new(path)).map_err(|_| malformed())?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| malformed())?;
    Ok(pem)
}
