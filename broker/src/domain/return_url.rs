//! Where a user's browser may be sent in the end.

use url::Url;

/// The broker's rule for workspaces that have none of their own.
#[derive(Debug, Clone, Default)]
pub struct ReturnUrlPolicy {
    /// Origins (scheme, host, port), exact.
    pub allowed: Vec<String>,
    /// Development: loopback origins are allowed, too.
    pub allow_loopback: bool,
}

/// The origin of a text that is one: `https://app.example.com`, with an
/// optional port and nothing behind it but a slash.
#[must_use]
pub fn parse_origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    // A wildcard would be taken literally, and match nothing.
    let written_out = url.host_str().is_some_and(|host| !host.contains('*'));
    (is_http(&url) && bare && written_out).then(|| url.origin().ascii_serialization())
}

/// The `return_url`, if it is allowed: its origin must equal one of the
/// workspace's or, where that has none, of the broker's. Nothing is matched by
/// prefix, suffix or host alone.
///
/// # Errors
/// What to tell the caller.
pub fn check(
    return_url: &str,
    workspace: &[String],
    broker: &ReturnUrlPolicy,
) -> Result<Url, &'static str> {
    let url = Url::parse(return_url).map_err(|_| "is not a URL")?;
    if !is_http(&url) {
        return Err("must be an http or https URL without user information");
    }
    let origin = url.origin().ascii_serialization();
    let listed = if workspace.is_empty() {
        &broker.allowed
    } else {
        workspace
    };
    let listed = listed
        .iter()
        .filter_map(|entry| parse_origin(entry))
        .any(|entry| entry == origin);
    if listed || (broker.allow_loopback && is_loopback(&url)) {
        Ok(url)
    } else {
        Err(
            "its origin is not allowed for this workspace; add it to the workspace's allowed_return_urls",
        )
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.username().is_empty()
        && url.password().is_none()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(domain)) => domain == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Adds the outcome to a `return_url`, keeping its query and fragment.
#[must_use]
pub fn with_outcome(return_url: &Url, connection_id: &str, error: Option<&str>) -> Url {
    let mut url = return_url.clone();
    let mut query = url.query_pairs_mut();
    query.append_pair("status", if error.is_none() { "success" } else { "error" });
    query.append_pair("connection_id", connection_id);
    if let Some(error) = error {
        query.append_pair("error", error);
    }
    drop(query);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardening_06_a_return_url_is_checked_by_scheme_host_and_port_exactly() {
        let policy = ReturnUrlPolicy {
            allowed: vec!["https://app.example.com".into()],
            allow_loopback: false,
        };
        assert!(check("https://app.example.com/done?x=1#y", &[], &policy).is_ok());
        assert!(check("https://app.example.com:443/done", &[], &policy).is_ok());
        for bad in [
            "http://app.example.com/done",
            "https://app.example.com:8443/",
            "https://app.example.com.evil.test/",
            "https://evil.test/app.example.com",
            "https://user@app.example.com/",
            "https://app.example.com@evil.test/",
            "javascript:alert(1)",
            "//app.example.com/",
            "http://localhost/",
        ] {
            assert!(check(bad, &[], &policy).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_workspace_with_its_own_list_does_not_use_the_brokers() {
        let policy = ReturnUrlPolicy {
            allowed: vec!["https://broker.test".into()],
            allow_loopback: false,
        };
        let own = ["https://own.test".to_owned()];
        assert!(check("https://own.test/x", &own, &policy).is_ok());
        assert!(check("https://broker.test/x", &own, &policy).is_err());
    }

    #[test]
    fn development_mode_allows_loopback_only() {
        let policy = ReturnUrlPolicy {
            allowed: vec![],
            allow_loopback: true,
        };
        for good in [
            "http://localhost:3000/",
            "http://127.0.0.1:9/done",
            "http://[::1]:9/",
        ] {
            assert!(check(good, &[], &policy).is_ok(), "{good}");
        }
        for bad in [
            "http://localhost.evil.test/",
            "http://10.0.0.1/",
            "http://127.0.0.1.evil.test/",
        ] {
            assert!(check(bad, &[], &policy).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_outcome_keeps_query_and_fragment() {
        let url = Url::parse("https://app.test/done?a=b%20c&d=#frag").expect("a URL");
        assert_eq!(
            with_outcome(&url, "id", Some("access_denied")).as_str(),
            "https://app.test/done?a=b%20c&d=&status=error&connection_id=id&error=access_denied#frag"
        );
    }
}
