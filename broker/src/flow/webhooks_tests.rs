use std::{net::IpAddr, time::Duration};

use url::Host;

use super::*;

/// What URLs are made of.
const PIECES: &[&str] = &[
    "https://",
    "http://",
    "HTTPS:",
    "ftp://",
    "javascript:",
    "file:///",
    "//",
    "/",
    "\\",
    "@",
    "user:marker-password@",
    ":",
    ":443",
    ":0",
    ":99999",
    "hooks.example.com",
    "localhost",
    "127.0.0.1",
    "127.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "[::1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "169.254.169.254",
    "10.0.0.1",
    "192.168.1.1",
    "0.0.0.0",
    "8.8.8.8",
    "[2606:4700::1111]",
    "\u{ff11}\u{ff12}\u{ff17}.1",
    "\u{e9}",
    "xn--",
    "%2e%2e",
    "..",
    "%00",
    "\t",
    "\n",
    " ",
    "?",
    "#",
    "a=b&",
];
const KINDS: &[&str] = &[
    "connection.activated",
    "connection.revoked",
    "credential.refreshed",
    "connection.activated ",
    "Connection.Activated",
    "*",
    "",
];

/// Bytes as a URL: half of all values stand for a piece.
fn url_of(input: &[u8]) -> String {
    // Half of them get as far as the path.
    let (first, input) = input.split_first().unwrap_or((&0, &[]));
    let begin = if first % 2 == 0 {
        "https://hooks.example.com/"
    } else {
        ""
    };
    // Some are as long as may be, and longer where they are encoded.
    let end = if first % 16 == 0 {
        "\u{e9}".repeat(900)
    } else {
        String::new()
    };
    let piece = |byte: &u8| match byte.checked_sub(128) {
        Some(index) => PIECES[usize::from(index) % PIECES.len()].to_owned(),
        None => char::from(*byte).to_string(),
    };
    let middle: String = input.iter().map(piece).collect();
    format!("{begin}{middle}{end}")
}

/// By other rules than the guard's own.
fn is_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
        }
        IpAddr::V6(ip) => {
            let mapped = ip.to_ipv4_mapped();
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || mapped.is_some_and(|ip| is_inside(ip.into()))
        }
    }
}

#[test]
fn fuzz_a_webhook_is_sent_to_public_https_alone_and_can_be_stored_again() {
    let guard = Guard::default();
    bolero::check!()
        .with_test_time(Duration::from_secs(3))
        .with_max_len(24)
        .for_each(|input: &[u8]| {
            let (kinds, url) = input.split_at(input.len().min(3));
            let kinds = kinds.iter().filter(|byte| **byte < 128);
            let settings = WebhookSettings {
                url: url_of(url),
                event_types: kinds
                    .map(|byte| KINDS[usize::from(*byte) % KINDS.len()].to_owned())
                    .collect(),
                disabled: false,
            };
            let (url, kinds) = match settings.checked(guard) {
                Ok(checked) => checked,
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::InvalidArgument);
                    assert!(!format!("{error:?}").contains("marker-password"));
                    return;
                }
            };
            assert_eq!(url.scheme(), "https");
            assert!(url.username().is_empty() && url.password().is_none());
            assert!(url.fragment().is_none());
            let inside = match url.host() {
                Some(Host::Ipv4(ip)) => is_inside(ip.into()),
                Some(Host::Ipv6(ip)) => is_inside(ip.into()),
                Some(Host::Domain(name)) => name.is_empty(),
                None => true,
            };
            assert!(!inside, "{url}");
            for (index, kind) in kinds.iter().enumerate() {
                assert!(!kinds[..index].contains(kind), "told once");
                assert!(
                    settings
                        .event_types
                        .iter()
                        .any(|text| text == kind.as_str())
                );
            }
            let told = |text: &String| kinds.iter().any(|kind| kind.as_str() == text);
            assert!(settings.event_types.iter().all(told));
            // What is shown can be sent back, as an update of another field does.
            let shown = WebhookSettings {
                url: url.to_string(),
                event_types: kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
                disabled: true,
            };
            let again = shown.checked(guard).map_err(|error| format!("{error:?}"));
            assert_eq!(again, Ok((url, kinds)));
        });
}
