//! Where credentials may go: encrypted transport, and only the origins that
//! the caller named.

use http::Uri;
use url::{Host, Origin, Url};

use crate::Error;

/// What a destination must fulfil.
#[derive(Debug, Clone, Default)]
pub(crate) struct Destinations {
    /// Whether plaintext may go beyond loopback.
    pub(crate) allow_plaintext: bool,
    /// The only origins allowed, where the caller named any.
    pub(crate) origins: Option<Vec<Origin>>,
}

impl Destinations {
    /// Refuses a URL that credentials must not go to.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Error> {
        let refused = |problem| {
            // An origin holds no path, query or user information.
            Err(Error::Destination {
                origin: url.origin().ascii_serialization(),
                problem,
            })
        };
        if !is_secure(url, self.allow_plaintext) {
            return refused("it is neither https nor loopback");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("the URL holds user information");
        }
        if self
            .origins
            .as_ref()
            .is_some_and(|origins| !origins.contains(&url.origin()))
        {
            return refused("the origin is not among the allowed ones");
        }
        Ok(())
    }

    /// The same for a URI, which must be absolute.
    pub(crate) fn check_uri(&self, uri: &Uri) -> Result<(), Error> {
        let refused = |problem| Error::Destination {
            origin: origin_of(uri),
            problem,
        };
        let (Some(_), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(refused("the request's URI is not absolute"));
        };
        let url = Url::parse(&uri.to_string()).map_err(|_| refused("the URI can't be read"))?;
        // Two parsers must see one host, or the check is about another than the one dialled.
        if !url
            .host_str()
            .is_some_and(|host| host.eq_ignore_ascii_case(authority.host()))
        {
            return Err(refused("the URI's host is ambiguous"));
        }
        self.check(&url)
    }
}

fn origin_of(uri: &Uri) -> String {
    match (uri.scheme_str(), uri.host()) {
        (Some(scheme), Some(host)) => format!("{scheme}://{host}"),
        _ => "an unknown origin".to_owned(),
    }
}

/// Whether what goes there is encrypted, stays on this machine, or may be
/// plaintext because the caller said so.
pub(crate) fn is_secure(url: &Url, allow_plaintext: bool) -> bool {
    match url.scheme() {
        "https" | "wss" => true,
        "http" | "ws" => allow_plaintext || is_loopback(url),
        _ => false,
    }
}

/// Whether the host is this machine (RFC 6761 §6.3 for `localhost`).
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The origin that a caller allows: scheme, host and port, nothing more.
pub(crate) fn origin(text: &str) -> Result<Origin, Error> {
    let error = |problem: &str| Error::Setting {
        setting: "origin",
        problem: problem.to_owned(),
    };
    let url = Url::parse(text).map_err(|_| error("is not a URL"))?;
    let origin = url.origin();
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !origin.is_tuple() || !bare || !url.username().is_empty() || url.password().is_some() {
        return Err(error(
            "must be a scheme, a host and perhaps a port, and nothing more",
        ));
    }
    Ok(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secure(text: &str) -> bool {
        is_secure(&Url::parse(text).expect("a URL"), false)
    }

    #[test]
    fn plaintext_is_for_loopback_only() {
        for text in [
            "https://api.acme.test",
            "wss://api.acme.test",
            "http://localhost:1",
            "http://127.8.9.10",
            "http://[::1]:80",
            "ws://agent.localhost",
        ] {
            assert!(secure(text), "{text}");
        }
        for text in [
            "http://api.acme.test",
            "ws://api.acme.test",
            "http://localhost.acme.test",
            "http://notlocalhost",
            "http://127.0.0.1.acme.test",
            "http://[::ffff:10.0.0.1]",
            "http://0.0.0.0",
            "ftp://localhost",
        ] {
            assert!(!secure(text), "{text}");
        }
        let url = Url::parse("http://api.acme.test").expect("a URL");
        assert!(is_secure(&url, true), "the caller said so");
    }

    #[test]
    fn an_allowed_origin_is_scheme_host_and_port_exactly() {
        let allowed = origin("https://api.acme.test").expect("an origin");
        let only = Destinations {
            origins: Some(vec![allowed]),
            ..Destinations::default()
        };
        let check = |text: &str| only.check(&Url::parse(text).expect("a URL")).is_ok();
        assert!(check("https://api.acme.test/v1/items"));
        assert!(check("https://API.acme.test:443/"));
        assert!(!check("https://api.acme.test:8443/"));
        assert!(!check("https://api.acme.test.evil.test/"));
        assert!(!check("http://localhost/"));
        for text in [
            "api.acme.test",
            "https://api.acme.test/v1",
            "https://u@api.acme.test",
            "data:x",
        ] {
            assert_eq!(
                origin(text).map_err(|error| error.reason().to_owned()),
                Err("INVALID_SETTING".to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_uri_is_absolute_and_tells_no_secret_when_refused() {
        let any = Destinations::default();
        assert!(
            any.check_uri(&Uri::from_static("https://API.acme.test/v1?limit=2"))
                .is_ok()
        );
        assert!(any.check_uri(&Uri::from_static("/v1/items")).is_err());
        for uri in [
            "http://api.acme.test/made-up?key=made-up",
            "https://me:made-up@api.acme.test/",
        ] {
            let error = any.check_uri(&Uri::from_static(uri)).expect_err("refused");
            assert!(!format!("{error} {error:?}").contains("made-up"), "{error}");
        }
    }
}
