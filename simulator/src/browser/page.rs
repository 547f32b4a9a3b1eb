//! What came back.

use bytes::Bytes;
use hyper::Request;
use hyper::header::{self, HeaderMap};
use url::Url;

use super::form::{Form, read_forms};
use super::html::{Token, tokens};

/// An answer, redirects included.
#[derive(Clone, Debug)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// Where it came from.
    pub url: Url,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as text.
    pub body: String,
    /// The request that a redirect must repeat, method and body included (RFC 9110 §15.4.8).
    pub(super) repeat: Option<Request<Bytes>>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it leads.
    pub url: Url,
    /// What the user reads.
    pub label: String,
}

impl Page {
    /// Where a redirect leads (RFC 9110 §10.2.2).
    pub fn location(&self) -> Option<Url> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        self.url
            .join(self.headers.get(header::LOCATION)?.to_str().ok()?)
            .ok()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::from_str(&self.body)
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The forms, in document order.
    pub fn forms(&self) -> Vec<Form> {
        read_forms(&self.url, &self.body)
    }

    /// The links, in document order.
    pub fn links(&self) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        let mut inside = false;
        for token in tokens(&self.body) {
            match token {
                Token::Open(tag) if tag.name == "a" => {
                    let url = tag
                        .attribute("href")
                        .and_then(|href| self.url.join(href).ok());
                    inside = url.is_some();
                    links.extend(url.map(|url| Link {
                        url,
                        label: String::new(),
                    }));
                }
                Token::Close(name) if name == "a" => inside = false,
                Token::Text(text) if inside => {
                    if let Some(link) = links.last_mut() {
                        link.label.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        links
    }

    /// What a user reads, on one line.
    pub fn text(&self) -> String {
        let texts = tokens(&self.body)
            .into_iter()
            .filter_map(|token| match token {
                Token::Text(text) => Some(text),
                _ => None,
            });
        let all: String = texts.collect::<Vec<_>>().join(" ");
        all.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_carry_their_words() {
        let links = Page {
            status: 200,
            url: Url::parse("http://127.0.0.1:4000/interaction").expect("a URL"),
            headers: HeaderMap::new(),
            body: "<a href='/x?a&amp;b'>[ <b>Cancel</b> ]</a> text".to_owned(),
            repeat: None,
        }
        .links();
        assert_eq!(links[0].label, "[ Cancel ]");
        assert_eq!(links[0].url.as_str(), "http://127.0.0.1:4000/x?a&b");
        assert_eq!(links.len(), 1);
    }
}
