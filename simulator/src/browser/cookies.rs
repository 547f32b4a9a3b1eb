//! Cookies, after RFC 6265 §5.

use std::time::{Duration, SystemTime};

use chrono::DateTime;
use url::Url;

#[derive(Clone, Debug)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Only this very host gets it; else its subdomains do too.
    host_only: bool,
    path: String,
    /// Absent for a session cookie.
    expires_at: Option<SystemTime>,
}

/// The cookies of one browser, oldest first.
#[derive(Debug, Default)]
pub(super) struct CookieJar(Vec<Cookie>);

impl CookieJar {
    /// Takes one `Set-Cookie` line from an answer of `url` (§5.2, §5.3).
    pub(super) fn store(&mut self, url: &Url, line: &str, now: SystemTime) {
        let Some(cookie) = parse(url, line, now) else {
            return;
        };
        let same = |old: &Cookie| {
            (&old.name, &old.domain, &old.path) == (&cookie.name, &cookie.domain, &cookie.path)
        };
        let expired = cookie
            .expires_at
            .is_some_and(|expires_at| expires_at <= now);
        match self.0.iter().position(same) {
            Some(place) if expired => drop(self.0.remove(place)),
            // It keeps its place, since the order of cookies is that of their creation.
            Some(place) => self.0[place] = cookie,
            None if expired => {}
            None => self.0.push(cookie),
        }
    }

    /// The `Cookie` header for a request to `url` (§5.4): longer paths first, then older cookies.
    pub(super) fn header(&self, url: &Url, now: SystemTime) -> Option<String> {
        let mut cookies = self.matching(url, now);
        cookies.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = cookies
            .iter()
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub(super) fn value(&self, url: &Url, name: &str, now: SystemTime) -> Option<String> {
        self.matching(url, now)
            .into_iter()
            .find(|cookie| cookie.name == name)
            .map(|cookie| cookie.value.clone())
    }

    fn matching(&self, url: &Url, now: SystemTime) -> Vec<&Cookie> {
        let host = url.host_str().unwrap_or_default();
        let goes_to = |cookie: &&Cookie| {
            cookie.expires_at.is_none_or(|expires_at| now < expires_at)
                && (host == cookie.domain
                    || (!cookie.host_only && domain_matches(host, &cookie.domain)))
                && path_matches(url.path(), &cookie.path)
        };
        self.0.iter().filter(goes_to).collect()
    }
}

fn parse(url: &Url, line: &str, now: SystemTime) -> Option<Cookie> {
    let mut parts = line.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
    let host = url.host_str()?.to_owned();
    let (mut domain, mut path, mut max_age, mut expires, mut secure) =
        (None, None, None, None, false);
    for part in parts {
        let (attribute, text) = part.split_once('=').unwrap_or((part, ""));
        let text = text.trim();
        match attribute.trim().to_ascii_lowercase().as_str() {
            "domain" if !text.is_empty() => {
                domain = Some(text.trim_start_matches('.').to_ascii_lowercase())
            }
            "path" => path = text.starts_with('/').then(|| text.to_owned()),
            "max-age" => max_age = text.parse::<i64>().ok().or(max_age),
            "expires" => expires = date(text).or(expires),
            "secure" => secure = true,
            _ => {}
        }
    }
    if name.is_empty() || !prefix_holds(&name, secure, domain.as_deref(), path.as_deref()) {
        return None;
    }
    // A host may set cookies for itself and for a domain it is part of, and for no other (§5.3, 6).
    if domain
        .as_deref()
        .is_some_and(|domain| host != domain && !domain_matches(&host, domain))
    {
        return None;
    }
    // Max-Age wins over Expires (§5.3, 3).
    let expires_at = match max_age {
        Some(seconds) if seconds <= 0 => Some(now),
        // A life too long to add up is a life without end.
        Some(seconds) => now.checked_add(Duration::from_secs(seconds.unsigned_abs())),
        None => expires,
    };
    Some(Cookie {
        name,
        value,
        host_only: domain.is_none(),
        domain: domain.unwrap_or(host),
        path: path.unwrap_or_else(|| default_path(url.path())),
        expires_at,
    })
}

/// What `__Secure-` and `__Host-` promise (RFC 6265bis §4.1.3).
fn prefix_holds(name: &str, secure: bool, domain: Option<&str>, path: Option<&str>) -> bool {
    if name.starts_with("__Host-") {
        return secure && domain.is_none() && path == Some("/");
    }
    secure || !name.starts_with("__Secure-")
}

fn date(text: &str) -> Option<SystemTime> {
    // Old servers write `01-Jan-1970`.
    DateTime::parse_from_rfc2822(&text.replace('-', " "))
        .ok()
        .map(SystemTime::from)
}

/// §5.1.4: the folder of the page.
fn default_path(path: &str) -> String {
    match path.rfind('/') {
        Some(0) | None => "/".to_owned(),
        Some(last) => path[..last].to_owned(),
    }
}

/// §5.1.4.
fn path_matches(path: &str, cookie_path: &str) -> bool {
    path.strip_prefix(cookie_path)
        .is_some_and(|rest| rest.is_empty() || cookie_path.ends_with('/') || rest.starts_with('/'))
}

/// §5.1.3: a true subdomain. Addresses have none.
fn domain_matches(host: &str, domain: &str) -> bool {
    let is_name = !host.starts_with('[')
        && !host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_name
        && host
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const NOW: SystemTime = UNIX_EPOCH;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn sent(jar: &CookieJar, to: &str) -> Option<String> {
        jar.header(&url(to), NOW + Duration::from_secs(1_800_000_000))
    }

    fn jar(from: &str, lines: &[&str]) -> CookieJar {
        let mut jar = CookieJar::default();
        for line in lines {
            jar.store(&url(from), line, NOW + Duration::from_secs(1_800_000_000));
        }
        jar
    }

    #[test]
    fn a_cookie_goes_to_its_path_and_below_and_nowhere_else() {
        let jar = jar("http://127.0.0.1:1/", &["a=1; Path=/inter"]);
        assert_eq!(
            sent(&jar, "http://127.0.0.1:1/inter").as_deref(),
            Some("a=1")
        );
        assert_eq!(
            sent(&jar, "http://127.0.0.1:1/inter/x?y").as_deref(),
            Some("a=1")
        );
        assert_eq!(sent(&jar, "http://127.0.0.1:1/interaction"), None);
        assert_eq!(sent(&jar, "http://127.0.0.1:1/"), None);
    }

    #[test]
    fn without_a_path_the_folder_of_the_page_counts() {
        let jar = jar("http://127.0.0.1/auth/start", &["a=1"]);
        assert_eq!(
            sent(&jar, "http://127.0.0.1/auth/other").as_deref(),
            Some("a=1")
        );
        assert_eq!(sent(&jar, "http://127.0.0.1/else"), None);
    }

    #[test]
    fn longer_paths_come_first_then_older_cookies() {
        let jar = jar(
            "http://h.test/a/b",
            &["x=1; Path=/", "y=2; Path=/", "z=3; Path=/a/b"],
        );
        assert_eq!(
            sent(&jar, "http://h.test/a/b").as_deref(),
            Some("z=3; x=1; y=2")
        );
    }

    #[test]
    fn a_cookie_of_one_host_stays_there_and_a_domain_cookie_reaches_subdomains() {
        let own = jar("http://app.h.test/", &["a=1"]);
        assert_eq!(sent(&own, "http://sub.app.h.test/"), None);
        assert_eq!(sent(&own, "http://h.test/"), None);
        let shared = jar("http://app.h.test/", &["a=1; Domain=.h.test"]);
        assert_eq!(
            sent(&shared, "http://other.h.test/").as_deref(),
            Some("a=1")
        );
        assert_eq!(sent(&shared, "http://evilh.test/"), None);
    }

    #[test]
    fn a_host_cannot_set_a_cookie_for_another() {
        let jar = jar(
            "http://127.0.0.1/",
            &["a=1; Domain=h.test", "b=2; Domain=0.0.1"],
        );
        assert_eq!(sent(&jar, "http://h.test/"), None);
        assert_eq!(sent(&jar, "http://127.0.0.1/"), None);
    }

    #[test]
    fn max_age_zero_and_a_past_date_delete() {
        for deletion in [
            "a=; Max-Age=0",
            "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "a=; Expires=Thu, 01-Jan-1970 00:00:00 GMT",
        ] {
            let jar = jar("http://127.0.0.1/", &["a=1", "b=2", deletion]);
            assert_eq!(
                sent(&jar, "http://127.0.0.1/").as_deref(),
                Some("b=2"),
                "{deletion}"
            );
        }
    }

    #[test]
    fn a_cookie_ends_with_its_max_age_even_if_expires_says_later() {
        let jar = jar(
            "http://127.0.0.1/",
            &["a=1; Expires=Fri, 01 Jan 2100 00:00:00 GMT; Max-Age=60"],
        );
        let start = NOW + Duration::from_secs(1_800_000_000);
        let at = url("http://127.0.0.1/");
        assert_eq!(
            jar.header(&at, start + Duration::from_secs(59)).as_deref(),
            Some("a=1")
        );
        assert_eq!(jar.header(&at, start + Duration::from_secs(60)), None);
    }

    #[test]
    fn secure_cookies_travel_and_prefixes_must_keep_their_promise() {
        let jar = jar(
            "http://127.0.0.1/",
            &[
                "a=1; Secure; HttpOnly",
                "__Host-b=2; Path=/",
                "__Host-c=3; Path=/; Secure",
            ],
        );
        assert_eq!(
            sent(&jar, "http://127.0.0.1/").as_deref(),
            Some("a=1; __Host-c=3")
        );
    }
}
