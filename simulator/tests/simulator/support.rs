//! A client of the simulator, over real HTTP.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dromos_simulator::browser::{Browser, BrowserError, Page, approve};
use dromos_simulator::{Behaviour, Clock, Simulator, SimulatorConfig};
use hyper::{Method, Request};
use serde_json::Value;
use url::Url;

pub const CALLBACK: &str = "http://127.0.0.1:1/callback?keep=this";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The challenge of [`VERIFIER`], from RFC 7636 appendix B.
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub type Params<'a> = Vec<(&'a str, &'a str)>;

pub struct Client {
    pub sim: Simulator,
    pub browser: Browser,
}

/// A client of a provider whose clock stands still.
pub async fn client(change: impl FnOnce(&mut Behaviour)) -> Client {
    let mut behaviour = Behaviour::default();
    change(&mut behaviour);
    let clock = Clock::at(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let redirect_uris = vec![CALLBACK.to_owned()];
    let config = SimulatorConfig {
        behaviour,
        clock,
        redirect_uris,
        ..SimulatorConfig::default()
    };
    let sim = Simulator::start_with(config).await.expect("a free port");
    Client {
        sim,
        browser: Browser::new(),
    }
}

/// The usual authorization request.
pub fn usual() -> Params<'static> {
    vec![
        ("response_type", "code"),
        ("client_id", "sim-client"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid read"),
        ("state", "the state"),
        ("nonce", "the nonce"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]
}

/// The same, with one parameter changed, added or, with an empty value, left out.
pub fn with<'a>(mut params: Params<'a>, name: &'a str, value: &'a str) -> Params<'a> {
    params.retain(|(existing, _)| *existing != name);
    if !value.is_empty() {
        params.push((name, value));
    }
    params
}

impl Client {
    pub fn at(&self, path: &str) -> Url {
        Url::parse(&format!("{}{path}", self.sim.url())).expect("a URL")
    }

    pub fn authorize_url(&self, params: &Params<'_>) -> String {
        let mut url = self.at("/authorize");
        url.query_pairs_mut().extend_pairs(params);
        url.into()
    }

    /// Where the user who approves ends up.
    pub async fn authorized(&mut self, params: &Params<'_>) -> Url {
        let url = self.authorize_url(params);
        self.browser
            .walk(&url, CALLBACK, approve)
            .await
            .expect("the callback")
    }

    pub async fn code(&mut self) -> String {
        let callback = self.authorized(&usual()).await;
        query(&callback, "code").expect("a code")
    }

    pub async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Page, BrowserError> {
        let mut request = Request::builder().method(Method::POST);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::from(body)).expect("a request");
        let url = self.at(path);
        self.browser.send(url, request).await
    }

    /// A form POST with `client_secret_basic`.
    pub async fn post_form(
        &mut self,
        path: &str,
        params: &Params<'_>,
    ) -> Result<Page, BrowserError> {
        let authorization = basic(self.sim.client_id(), self.sim.client_secret());
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", FORM),
        ];
        self.post(path, &headers, encode(params)).await
    }

    pub async fn exchange(&mut self, code: &str) -> Page {
        self.post_form("/token", &exchange_params(code))
            .await
            .expect("an answer")
    }

    pub async fn refresh(&mut self, refresh_token: &str) -> Page {
        self.post_form("/token", &refresh_params(refresh_token))
            .await
            .expect("an answer")
    }

    /// The tokens of a fresh consent.
    pub async fn tokens(&mut self) -> Value {
        let code = self.code().await;
        let page = self.exchange(&code).await;
        assert_eq!(page.status, 200, "{}", page.body);
        json(&page)
    }

    pub async fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Page {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let url = self.at(path);
        self.browser
            .send(url, request.body(Bytes::new()).expect("a request"))
            .await
            .expect("an answer")
    }

    pub async fn me(&mut self, access_token: &str) -> Page {
        self.get_with(
            "/api/me",
            &[("authorization", &format!("Bearer {access_token}"))],
        )
        .await
    }

    pub fn now(&self) -> SystemTime {
        self.sim.clock().now()
    }
}

pub const FORM: &str = "application/x-www-form-urlencoded";

pub fn exchange_params(code: &str) -> Params<'_> {
    let grant = ("grant_type", "authorization_code");
    vec![
        grant,
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ]
}

pub fn refresh_params(refresh_token: &str) -> Params<'_> {
    vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
    ]
}

pub fn encode(params: &Params<'_>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(params)
        .finish()
}

/// `client_secret_basic`: both parts form-encoded first (RFC 6749 §2.3.1).
pub fn basic(client_id: &str, client_secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(client_secret)))
    )
}

pub fn query(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

pub fn json(page: &Page) -> Value {
    page.json().expect("JSON")
}

pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Status and error code of an OAuth error.
pub fn error(page: &Page) -> (u16, String) {
    (page.status, text(&json(page), "error").to_owned())
}

pub fn is(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}
