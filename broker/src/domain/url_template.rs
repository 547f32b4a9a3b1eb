//! URLs with parts to fill in: `https://${connection_config.tenant}.example.com/`.
//!
//! A part is a whole label of the host, left of at least two written-out ones,
//! or lies behind the host. So it can change neither scheme nor port, nor the
//! domain that receives a secret.

use std::collections::BTreeMap;

use url::Url;

const OPEN: &str = "${connection_config.";

/// The names of the parts, in order.
///
/// # Errors
/// What is wrong with the template.
pub fn parts(template: &str) -> Result<Vec<&str>, &'static str> {
    let mut names = vec![];
    let mut rest = template;
    while let Some(at) = rest.find("${") {
        let part = rest[at..]
            .strip_prefix(OPEN)
            .ok_or("${…} must be ${connection_config.<name>}")?;
        let end = part.find('}').ok_or("${…} is not closed")?;
        let name = &part[..end];
        let named = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if name.is_empty() || !named {
            return Err("a part's name has letters, digits, _ and - only");
        }
        names.push(name);
        rest = &part[end + 1..];
    }
    Ok(names)
}

/// Whether the template can be filled in safely.
///
/// # Errors
/// What is wrong with it.
pub fn check(template: &str) -> Result<(), &'static str> {
    let names = parts(template)?;
    if !names.is_empty() {
        let (scheme, rest) = template.split_once("://").ok_or("is not a URL")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if scheme.contains('$') || !check_host(authority) {
            return Err("a part of the host must be a whole label left of a written-out domain");
        }
    }
    let sample: BTreeMap<String, String> = names
        .iter()
        .map(|&name| (name.to_owned(), "x".to_owned()))
        .collect();
    fill(template, &sample)
        .map(drop)
        .map_err(|_| "is not an absolute URL without user information or fragment")
}

fn check_host(authority: &str) -> bool {
    // A part's own dot would split its label, so the parts are masked first.
    let masked = authority.replace(OPEN, "${");
    let labels: Vec<&str> = masked.split('.').collect();
    let whole = |label: &str| {
        label.starts_with("${") && label.ends_with('}') && label.matches('$').count() == 1
    };
    let is_part = |label: &&str| label.contains('$');
    match labels.iter().rposition(is_part) {
        None => true,
        Some(last) => labels.len() - last > 2 && labels.iter().copied().filter(is_part).all(whole),
    }
}

/// Why a template can't be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// A part has no value.
    #[error("connection_config.{0} is missing")]
    Missing(String),
    /// A value has characters that could change the URL's structure.
    #[error("connection_config.{0} must be 1 to 63 letters, digits, _ or -")]
    Malformed(String),
    /// The result is no absolute URL.
    #[error("the provider's URL is malformed")]
    NotAUrl,
}

/// Fills the template in.
///
/// # Errors
/// See [`FillError`].
pub fn fill(template: &str, values: &BTreeMap<String, String>) -> Result<Url, FillError> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    for name in parts(template).map_err(|_| FillError::NotAUrl)? {
        let at = rest.find("${").ok_or(FillError::NotAUrl)?;
        let value = values
            .get(name)
            .ok_or_else(|| FillError::Missing(name.to_owned()))?;
        let fits = (1..=63).contains(&value.len())
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !fits {
            return Err(FillError::Malformed(name.to_owned()));
        }
        text.push_str(&rest[..at]);
        text.push_str(value);
        rest = &rest[at + OPEN.len() + name.len() + 1..];
    }
    text.push_str(rest);
    let url = Url::parse(&text).map_err(|_| FillError::NotAUrl)?;
    let plain = url.host().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    if plain {
        Ok(url)
    } else {
        Err(FillError::NotAUrl)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("tenant".to_owned(), value.to_owned())])
    }

    #[test]
    fn a_part_fills_a_label_or_a_path_segment() {
        for template in [
            "https://${connection_config.tenant}.example.com/token",
            "https://example.com/${connection_config.tenant}/token",
            "https://login.example.com/token",
        ] {
            assert_eq!(check(template), Ok(()), "{template}");
        }
        let url = fill(
            "https://${connection_config.tenant}.example.com/t",
            &values("acme"),
        );
        assert_eq!(
            url.map(|url| url.to_string()),
            Ok("https://acme.example.com/t".to_owned())
        );
    }

    #[test]
    fn hardening_29_connection_config_never_chooses_the_registrable_domain() {
        for template in [
            "https://${connection_config.host}/token",
            "https://${connection_config.domain}.com/token",
            "https://login.${connection_config.domain}.com/token",
            "https://a${connection_config.tenant}.example.com/",
            "https://example.com:${connection_config.port}/",
            "${connection_config.scheme}://example.com/",
            "https://${connection_config.user}@example.com/",
            "https://${host}.example.com/",
        ] {
            assert!(check(template).is_err(), "{template}");
        }
        for value in ["evil.test/", "a.b", "a@b", "", "a:b", "..", "a%2fb", "a\\b"] {
            assert!(
                fill(
                    "https://${connection_config.tenant}.example.com/",
                    &values(value)
                )
                .is_err(),
                "{value}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_filled_url_keeps_scheme_and_domain(value in "\\PC{0,70}") {
            if let Ok(url) = fill("https://${connection_config.tenant}.example.com/p", &values(&value)) {
                prop_assert_eq!(url.scheme(), "https");
                prop_assert!(url.host_str().is_some_and(|host| host.ends_with(".example.com")));
                prop_assert_eq!(url.path(), "/p");
            }
        }

        #[test]
        fn no_template_makes_the_parser_panic(template in "\\PC*") {
            let _ = check(&template);
            let _ = fill(&template, &values("acme"));
        }
    }
}
