//! TLS with a PostgreSQL server, by rustls: whom it trusts, and what it says
//! of a handshake that failed.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{
        WebPkiSupportedAlgorithms, ring::default_provider, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_postgres::{
    Socket,
    tls::{MakeTlsConnect, TlsConnect},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The CAs that a server's certificate may be of.
pub(super) struct Roots(RootCertStore);

impl Roots {
    /// Those in a PEM file.
    ///
    /// # Errors
    /// There is none in it, or one that can't be read.
    pub(super) fn of_pem(pem: &[u8]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            certificate
                .map_err(|error| error.to_string())
                .and_then(|root| roots.add(root).map_err(|error| error.to_string()))
                .map_err(|error| format!("sslrootcert holds what is no certificate: {error}"))?;
        }
        Self::some(roots, "sslrootcert holds no certificate in PEM")
    }

    /// Those of this machine, or of SSL_CERT_FILE.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn of_the_system() -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::some(
            roots,
            "sslrootcert=system: this machine has no CA certificates; install ca-certificates, or name a PEM file",
        )
    }

    fn some(roots: RootCertStore, none: &str) -> Result<Self, String> {
        if roots.is_empty() {
            return Err(none.to_owned());
        }
        Ok(Self(roots))
    }
}

/// What of a server's certificate is verified where there are [`Roots`].
pub(super) enum Verify {
    /// That one of them issued it.
    Issuer,
    /// That, and that it is for the host's name in the URL.
    Name,
}

/// How TLS is begun with a server.
pub(super) struct Tls(MakeRustlsConnect);

impl Tls {
    /// Without `roots` nothing is verified. `is_direct`: no question to the
    /// server goes before the handshake, which then has to name the protocol.
    ///
    /// # Errors
    /// Never, with the versions and algorithms that are built in.
    pub(super) fn new(
        roots: Option<Roots>,
        verify: Verify,
        is_direct: bool,
    ) -> Result<Self, String> {
        let provider = Arc::new(default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match (verify, roots) {
            (Verify::Name, Some(Roots(roots))) => {
                WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
                    .build()
                    .map_err(|error| error.to_string())?
            }
            (_, roots) => Arc::new(AnyName {
                roots: roots.map(|Roots(roots)| roots),
                algorithms: provider.signature_verification_algorithms,
            }),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // Each session's server is verified anew.
        config.resumption = Resumption::disabled();
        if is_direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(Self(MakeRustlsConnect::new(config)))
    }

    /// For one attempt to connect, maybe to several hosts.
    pub(super) fn watched(&self) -> Watched {
        Watched {
            tls: self.0.clone(),
            failures: Arc::default(),
        }
    }
}

/// Verifies who issued a certificate, or nothing; never its name.
#[derive(Debug)]
struct AnyName {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    // That the server has the certificate's key is proven in any case: the
    // password's proof may be bound to the certificate (channel_binding).
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// [`Tls`] that remembers which handshakes failed. tokio-postgres tells only of
/// the last host.
#[derive(Clone)]
pub(super) struct Watched {
    tls: MakeRustlsConnect,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    /// What failed, each once.
    pub(super) fn failures(&self) -> Vec<String> {
        let failures = self.failures.lock();
        failures.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, host: &str, error: &io::Error) -> io::Error {
        let told = explain(host, error);
        let failures = self.failures.lock();
        let mut failures = failures.unwrap_or_else(PoisonError::into_inner);
        if !failures.contains(&told) {
            failures.push(told.clone());
        }
        io::Error::new(error.kind(), told)
    }
}

type RustlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
type RustlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// [`Watched`] with one host.
pub(super) struct WatchedHost {
    watched: Watched,
    tls: RustlsConnect,
    host: String,
}

impl MakeTlsConnect<Socket> for Watched {
    type Stream = RustlsStream;
    type TlsConnect = WatchedHost;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<WatchedHost, Infallible> {
        let tls = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.tls, host)?;
        Ok(WatchedHost {
            watched: self.clone(),
            tls,
            host: host.to_owned(),
        })
    }
}

impl TlsConnect<Socket> for WatchedHost {
    type Stream = RustlsStream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<RustlsStream>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let Self { watched, tls, host } = self;
        Box::pin(async move {
            let stream = tls.connect(socket).await;
            stream.map_err(|error| watched.failed(&host, &error))
        })
    }
}

/// What a failed handshake means to whoever set DATABASE_URL.
fn explain(host: &str, error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let Some(Error::InvalidCertificate(cause)) = cause else {
        return format!("no TLS with {host}: {error}");
    };
    match cause {
        // A bad signature: of a CA with the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the certificate of {host} is not trusted: no CA of sslrootcert issued it; name the CA that did"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the certificate of {host} is for another name: {cause}; connect by a name that it has, or have one issued for this name"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the certificate of {host} is out of date: {cause}; renew it")
        }
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            format!(
                "the certificate of {host} is a CA's own; have that CA issue one for the server (basicConstraints CA:FALSE)"
            )
        }
        other => format!("the certificate of {host} can't be used: {other}"),
    }
}
