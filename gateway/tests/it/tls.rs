use dromos_gateway::Config;
use dromos_serve::{ListenOptions, TlsIdentity};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::Code;

use crate::support::{FakeBroker, KEY, Running, SERVICE_KEY, Via, config, healthy, http1};

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
    fn issue(&self) -> (Vec<u8>, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem().into_bytes(), key.serialize_pem())
    }

    fn identity(&self, client_ca: Option<&Self>) -> TlsIdentity {
        let (certificates, key) = self.issue();
        let client_ca = client_ca.map(|authority| authority.pem.clone().into_bytes());
        TlsIdentity {
            certificates,
            private_key: key.into_bytes(),
            client_ca,
        }
    }
}

/// A broker that wants a certificate of `authority`, and how to reach it.
async fn broker(authority: &Authority) -> (FakeBroker, Config) {
    let tls = Some(authority.identity(Some(authority)).server_config().unwrap());
    let options = ListenOptions {
        tls,
        ..ListenOptions::default()
    };
    let broker = FakeBroker::start_at("127.0.0.1:0".parse().unwrap(), options, healthy).await;
    let url = format!("https://localhost:{}", broker.address.port());
    let mut config = Config::new("127.0.0.1:0", url, SERVICE_KEY.to_owned());
    config.broker_tls.ca = Some(authority.pem.clone().into_bytes());
    (broker, config)
}

#[tokio::test]
async fn the_gateway_shows_the_broker_its_certificate() {
    let authority = Authority::new();
    let (_broker, mut config) = broker(&authority).await;
    let (certificate, key) = authority.issue();
    config.broker_tls.identity = Some((certificate, key.into()));
    let gateway = Running::start(config).await;
    assert_eq!(Via::Rest.check_with_key(&gateway).await.code, Code::Ok);
}

#[tokio::test]
async fn a_broker_or_a_gateway_of_another_authority_is_not_talked_to() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (broker, config) = broker(&authority).await;
    let mut without = config.clone();
    without.broker_tls.identity = None;
    let mut strange = config.clone();
    let (certificate, key) = stranger.issue();
    strange.broker_tls.identity = Some((certificate, key.into()));
    let mut distrusting = config;
    let (certificate, key) = authority.issue();
    distrusting.broker_tls.identity = Some((certificate, key.into()));
    distrusting.broker_tls.ca = Some(stranger.pem.clone().into_bytes());
    for config in [without, strange, distrusting] {
        let gateway = Running::start(config).await;
        let answer = Via::Rest.check_with_key(&gateway).await;
        answer.expect(Code::Unavailable, 503, "BROKER_UNAVAILABLE");
    }
    assert_eq!(broker.seen().len(), 0);
}

#[tokio::test]
async fn the_gateway_itself_serves_tls() {
    let authority = Authority::new();
    let broker = FakeBroker::start(healthy).await;
    let mut config = config(broker.address);
    config.tls = Some(authority.identity(None));
    let gateway = Running::start(config).await;
    let _ = http1();
    let ca = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .build()
        .unwrap();
    let url = format!(
        "https://localhost:{}/v1/check-connection/conn-1",
        gateway.address.port()
    );
    let call = client
        .get(url)
        .header("authorization", format!("Bearer {KEY}"));
    let answer = call.send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, http::Version::HTTP_2)
    );
}
