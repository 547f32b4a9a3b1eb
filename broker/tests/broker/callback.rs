//! A consent step by step: what a browser does between `auth_url` and the end.

use dromos_simulator::browser::{self, Browser, Page};
use reqwest::StatusCode;
use serde_json::{Value, json};
use url::Url;

use crate::world::{RETURN_URL, World, query};

impl World {
    /// The browser opens `auth_url` and the user approves; the answer, as the
    /// provider sends the browser to the callback with it, is not delivered yet.
    pub async fn approved(&self, browser: &mut Browser, begun: &Value) -> Url {
        let auth_url = begun["auth_url"].as_str().expect("an auth_url");
        let callback = format!("{}/auth/callback", self.public_url);
        browser
            .walk(auth_url, &callback, browser::approve)
            .await
            .expect("the provider answers")
    }

    /// The browser opens `auth_url`: where it is sent, with its cookie.
    pub async fn open(&self, browser: &mut Browser, begun: &Value) -> Page {
        browser
            .get(begun["auth_url"].as_str().expect("an auth_url"))
            .await
            .expect("the page answers")
    }

    /// Begins a new consent for a connection.
    pub async fn reconnect(&self, id: &str) -> Value {
        let (status, begun) = self
            .post(
                &format!("/v1/connections/{id}:reconnect"),
                json!({ "return_url": RETURN_URL }),
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        assert_eq!(begun["connection_id"], id);
        begun
    }
}

/// Delivers an answer: the page that the browser then sees.
pub async fn deliver(browser: &mut Browser, answer: &Url) -> Page {
    browser.get(answer.as_str()).await.expect("a page")
}

/// The browser was sent on to the application: with which error, if any.
pub fn outcome(page: &Page) -> Option<String> {
    assert_eq!(page.status, 302, "{}", page.text());
    let location = page.location().expect("a Location");
    assert!(location.as_str().starts_with(RETURN_URL), "{location}");
    let error = query(&location, "error");
    let status = if error.is_none() { "success" } else { "error" };
    assert_eq!(query(&location, "status").as_deref(), Some(status));
    error
}

/// The browser's way ended on a plain page that tells nothing.
#[track_caller]
pub fn assert_refused(page: &Page) {
    assert_eq!(page.status, 400, "{}", page.text());
    assert_eq!(page.header("location"), None);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(page.header("set-cookie"), None);
    assert!(page.text().contains("This link"), "{}", page.text());
}

/// The consent's cookie as the browser would send it to the callback.
pub async fn cookie_of(world: &World, begun: &Value) -> String {
    let auth_url = begun["auth_url"].as_str().expect("an auth_url");
    let page = world.http.get(auth_url).send().await.expect("a page");
    let cookie = page.headers()["set-cookie"].to_str().expect("text");
    cookie.split(';').next().expect("a pair").to_owned()
}

/// A connection's current token: its generation and the token itself.
pub async fn held(world: &World, id: &str) -> (Value, Value) {
    let (status, token) = world.token(id).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    (
        token["generation"].clone(),
        token["credentials"]["access_token"].clone(),
    )
}
