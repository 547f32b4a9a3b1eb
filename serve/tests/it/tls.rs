use axum::{Router, routing::get};
use dromos_serve::{ListenOptions, Settings, TlsIdentity};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::{Running, builder};

/// A certificate authority for one test.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for `localhost`, and its key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    fn identity(&self, client_ca: Option<&Self>) -> TlsIdentity {
        let (certificate, key) = self.issue();
        TlsIdentity {
            certificates: certificate.into_bytes(),
            private_key: key.into_bytes(),
            client_ca: client_ca.map(|ca| ca.pem.clone().into_bytes()),
        }
    }
}

async fn start(identity: &TlsIdentity) -> (Running, String) {
    let tls = Some(identity.server_config().unwrap());
    let app = Router::new().route("/", get(|| async { "page" }));
    let server = Running::start_with(
        app,
        ListenOptions {
            tls,
            ..ListenOptions::default()
        },
    )
    .await;
    let url = format!("https://localhost:{}/", server.address.port());
    (server, url)
}

fn trusting(authority: &Authority) -> reqwest::ClientBuilder {
    let ca = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    builder().tls_certs_only([ca])
}

#[tokio::test]
async fn tls_offers_http_2_and_http_1_1() {
    let authority = Authority::new();
    let (_server, url) = start(&authority.identity(None)).await;
    let answer = trusting(&authority)
        .build()
        .unwrap()
        .get(&url)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    let answer = trusting(&authority)
        .http1_only()
        .build()
        .unwrap()
        .get(&url)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_11);
    assert_eq!(answer.text().await.unwrap(), "page");
}

#[tokio::test]
async fn with_a_client_ca_a_caller_must_show_a_certificate_it_signed() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (_server, url) = start(&authority.identity(Some(&authority))).await;
    let with = |signer: &Authority| {
        let (certificate, key) = signer.issue();
        let identity =
            reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap();
        trusting(&authority).identity(identity).build().unwrap()
    };
    let answer = with(&authority).get(&url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "page");
    assert!(with(&stranger).get(&url).send().await.is_err());
    assert!(
        trusting(&authority)
            .build()
            .unwrap()
            .get(&url)
            .send()
            .await
            .is_err()
    );
}

#[test]
fn tls_settings_that_cant_be_used_are_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = file("cert.pem", &certificate);
    let key = file("key.pem", &key);
    let other = file("other.pem", &authority.issue().1);
    let junk = file("junk.pem", "hunter2");
    let load = |pairs: &[(&str, &str)]| {
        let settings = Settings::from_map(pairs.iter().copied());
        TlsIdentity::from_settings(&settings)
            .map(|found| found.is_some())
            .map_err(|e| e.to_string())
    };
    assert_eq!(load(&[]), Ok(false));
    assert_eq!(
        load(&[("TLS_CERT_FILE", &certificate), ("TLS_KEY_FILE", &key)]),
        Ok(true)
    );
    for (pairs, named) in [
        (
            &[("TLS_CERT_FILE", certificate.as_str())][..],
            "TLS_KEY_FILE is missing: ",
        ),
        (&[("TLS_KEY_FILE", &key)], "TLS_CERT_FILE is missing: "),
        (
            &[("TLS_CLIENT_CA_FILE", &certificate)],
            "TLS_CERT_FILE is missing: ",
        ),
        (
            &[("TLS_CERT_FILE", &junk), ("TLS_KEY_FILE", &key)],
            "TLS_CERT_FILE is malformed: ",
        ),
        (
            &[("TLS_CERT_FILE", "absent.pem"), ("TLS_KEY_FILE", &key)],
            "TLS_CERT_FILE is malformed: ",
        ),
        (
            &[("TLS_CERT_FILE", &certificate), ("TLS_KEY_FILE", &junk)],
            "TLS_KEY_FILE is malformed: ",
        ),
        (
            &[("TLS_CERT_FILE", &certificate), ("TLS_KEY_FILE", &other)],
            "TLS_KEY_FILE is malformed: ",
        ),
        (
            &[
                ("TLS_CERT_FILE", &certificate),
                ("TLS_KEY_FILE", &key),
                ("TLS_CLIENT_CA_FILE", &junk),
            ],
            "TLS_CLIENT_CA_FILE is malformed: ",
        ),
    ] {
        let error = load(pairs).unwrap_err();
        assert!(
            error.starts_with(named) && !error.contains("hunter2"),
            "{error}"
        );
    }
}
