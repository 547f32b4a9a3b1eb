//! A tiny scripted browser: it keeps cookies, reads forms and links, and takes every redirect by hand.
//!
//! It speaks plain HTTP/1.1 to servers of tests and demonstrations. It runs no scripts, knows no TLS, and does not
//! weigh `SameSite`; it treats every host as trustworthy, so cookies marked `Secure` travel over HTTP too.

mod cookies;
mod form;
mod html;
mod page;
mod walk;
mod wire;

pub use form::{Button, Form};
pub use page::{Link, Page};
pub use walk::{Action, approve, approve_as, deny};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request};
use url::Url;

use crate::Clock;
use cookies::CookieJar;

/// How many redirects a browser takes in a row.
const MAX_REDIRECTS: u32 = 20;

/// Why the browser could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrowserError {
    /// The address is no URL, or not one for plain HTTP.
    #[error("cannot open {0}: only http:// addresses are spoken")]
    Address(String),
    /// The server could not be reached, hung up, or its answer broke off.
    #[error("no complete answer from {url}: {reason}")]
    Connection {
        /// The address.
        url: Url,
        /// What happened.
        reason: String,
    },
    /// The page has no form to submit.
    #[error("{0} holds no form")]
    NoForm(Url),
    /// The form wants an encoding other than `application/x-www-form-urlencoded`.
    #[error("the form on {0} is not URL-encoded")]
    FormEncoding(Url),
    /// Too many redirects in a row, or too many pages on one walk.
    #[error("still on the way after {0} steps, at {1}")]
    TooFar(u32, Url),
    /// A walk ended on a page that leads nowhere.
    #[error("the walk ended at {url} with status {status}: {text}")]
    DeadEnd {
        /// The address of the page.
        url: Url,
        /// Its status.
        status: u16,
        /// The beginning of its text.
        text: String,
    },
}

/// A browser with its own cookies.
#[derive(Debug, Default)]
pub struct Browser {
    jar: CookieJar,
    clock: Clock,
}

impl Browser {
    /// A browser without cookies, on the machine's clock.
    pub fn new() -> Self {
        Self::default()
    }

    /// A browser without cookies, whose cookies expire by `clock`.
    pub fn with_clock(clock: Clock) -> Self {
        Self {
            jar: CookieJar::default(),
            clock,
        }
    }

    /// Fetches one page. A redirect is a page like any other.
    pub async fn get(&mut self, url: &str) -> Result<Page, BrowserError> {
        let url = Url::parse(url).map_err(|_| BrowserError::Address(url.to_owned()))?;
        self.send(url, Request::new(Bytes::new())).await
    }

    /// Fetches a page and takes the redirects that follow.
    pub async fn open(&mut self, url: &str) -> Result<Page, BrowserError> {
        let mut page = self.get(url).await?;
        for _ in 0..MAX_REDIRECTS {
            match self.follow(&page).await? {
                Some(next) => page = next,
                None => return Ok(page),
            }
        }
        Err(BrowserError::TooFar(MAX_REDIRECTS, page.url))
    }

    /// Takes the redirect that a page is; nothing if it is none.
    pub async fn follow(&mut self, page: &Page) -> Result<Option<Page>, BrowserError> {
        let Some(next) = page.location() else {
            return Ok(None);
        };
        let request = page
            .repeat
            .clone()
            .unwrap_or_else(|| Request::new(Bytes::new()));
        self.send(next, request).await.map(Some)
    }

    /// Submits the first form of a page. A value replaces the field of that name, or is added; one that has the name
    /// and value of a button presses it. With no button pressed, the first one is, as by the Enter key.
    pub async fn submit(
        &mut self,
        page: &Page,
        values: &[(&str, &str)],
    ) -> Result<Page, BrowserError> {
        let forms = page.forms();
        let form = forms
            .first()
            .ok_or_else(|| BrowserError::NoForm(page.url.clone()))?;
        self.submit_form(page, form, values).await
    }

    /// Submits one of the forms of a page, as [`Browser::submit`] does.
    pub async fn submit_form(
        &mut self,
        page: &Page,
        form: &Form,
        values: &[(&str, &str)],
    ) -> Result<Page, BrowserError> {
        if !form.url_encoded {
            return Err(BrowserError::FormEncoding(page.url.clone()));
        }
        let (mut action, fields) = form.filled(values);
        let encoded = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&fields)
            .finish();
        if form.method == Method::GET {
            action.set_query(Some(&encoded));
            return self.send(action, Request::new(Bytes::new())).await;
        }
        let mut request = Request::new(Bytes::from(encoded));
        *request.method_mut() = Method::POST;
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, form_type);
        if let Ok(origin) = HeaderValue::from_str(&page.url.origin().ascii_serialization()) {
            request.headers_mut().insert(header::ORIGIN, origin);
        }
        self.send(action, request).await
    }

    /// Sends a request of your own making to `url`, with this browser's cookies; its URI is ignored.
    pub async fn send(&mut self, url: Url, request: Request<Bytes>) -> Result<Page, BrowserError> {
        let repeated = request.clone();
        let mut request = request.map(Full::new);
        let now = self.clock.now();
        if let Some(cookie) = self
            .jar
            .header(&url, now)
            .and_then(|cookie| HeaderValue::from_str(&cookie).ok())
        {
            request.headers_mut().insert(header::COOKIE, cookie);
        }
        let (parts, body) = wire::exchange(&url, request).await?;
        for line in parts.headers.get_all(header::SET_COOKIE) {
            self.jar
                .store(&url, &String::from_utf8_lossy(line.as_bytes()), now);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        let status = parts.status.as_u16();
        // The other redirects turn into a GET, as browsers do it.
        let repeat = matches!(status, 307 | 308).then_some(repeated);
        Ok(Page {
            status,
            url,
            headers: parts.headers,
            body,
            repeat,
        })
    }

    /// The value of the cookie of that name that would be sent to `url`.
    pub fn cookie(&self, url: &Url, name: &str) -> Option<String> {
        self.jar.value(url, name, self.clock.now())
    }
}
