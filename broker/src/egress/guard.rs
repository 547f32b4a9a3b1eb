//! Which addresses the broker may call: public ones, over https. Checked on the
//! address that is dialled, so that a name can't be made to point inside after
//! it was looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// The guard's setting.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guard {
    /// Development: http, and private and loopback addresses. Metadata and
    /// link-local addresses stay closed.
    pub allow_private_networks: bool,
}

impl Guard {
    /// Whether a URL may be called, as far as its text tells.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, url: &Url) -> Result<(), &'static str> {
        match url.scheme() {
            "https" => {}
            "http" if self.allow_private_networks => {}
            _ => return Err("not https"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it holds user information");
        }
        match url.host() {
            Some(Host::Ipv4(ip)) => self.check_address(ip.into()),
            Some(Host::Ipv6(ip)) => self.check_address(ip.into()),
            Some(Host::Domain(_)) => Ok(()),
            None => Err("it has no host"),
        }
    }

    /// Whether an address may be dialled.
    ///
    /// # Errors
    /// Why not.
    pub fn check_address(&self, ip: IpAddr) -> Result<(), &'static str> {
        let ip = embedded_v4(ip);
        match class(ip) {
            Class::Public => Ok(()),
            Class::Private if self.allow_private_networks => Ok(()),
            Class::Private => Err("a private or loopback address"),
            Class::Never => Err("a metadata, link-local or unusable address"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Class {
    Public,
    Private,
    /// Not even in development: metadata services and what no provider has.
    Never,
}

/// The IPv4 address that an IPv6 address carries: mapped, NAT64 (RFC 6052) or
/// 6to4 (RFC 3056).
fn embedded_v4(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => ip,
    }
}

fn class(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(ip) => class_v4(ip),
        IpAddr::V6(ip) => class_v6(ip),
    }
}

fn class_v4(ip: Ipv4Addr) -> Class {
    /// Alibaba's and Azure's metadata services; the others are link-local.
    const METADATA: [Ipv4Addr; 2] = [
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(168, 63, 129, 16),
    ];
    let octets = ip.octets();
    if METADATA.contains(&ip)
        || ip.is_link_local()
        || ip.is_unspecified()
        || ip.is_broadcast()
        || ip.is_multicast()
    {
        return Class::Never;
    }
    match octets {
        // This network (RFC 791), and the class that was reserved (RFC 1112).
        [0, ..] | [240..=255, ..] => Class::Never,
        // Shared (RFC 6598), protocol assignments (RFC 6890), benchmarks
        // (RFC 2544), documentation (RFC 5737).
        [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] => Class::Private,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Private,
        _ if ip.is_private() || ip.is_loopback() => Class::Private,
        _ => Class::Public,
    }
}

fn class_v6(ip: Ipv6Addr) -> Class {
    /// AWS's metadata service over IPv6.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    if ip.is_loopback() {
        return Class::Private;
    }
    if ip == METADATA || ip.is_unspecified() || ip.is_multicast() {
        return Class::Never;
    }
    match ip.segments()[0] {
        // Link-local, and site-local before it was dropped (RFC 3879).
        0xfe80..=0xfeff => Class::Never,
        // Unique local (RFC 4193).
        0xfc00..=0xfdff => Class::Private,
        // Global unicast (RFC 4291 §2.4), without documentation and Teredo.
        0x2001 if matches!(ip.segments()[1], 0 | 0xdb8) => Class::Private,
        0x2000..=0x3fff => Class::Public,
        _ => Class::Never,
    }
}

/// Resolves a name and leaves only addresses that may be dialled.
pub(super) struct GuardedResolver {
    guard: Guard,
}

impl GuardedResolver {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.guard;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found
                .filter(|address| guard.check_address(address.ip()).is_ok())
                .collect();
            if allowed.is_empty() {
                return Err("the egress guard allows none of the name's addresses".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRODUCTION: Guard = Guard {
        allow_private_networks: false,
    };
    const DEVELOPMENT: Guard = Guard {
        allow_private_networks: true,
    };

    fn check(guard: Guard, url: &str) -> bool {
        guard.check(&url.parse().expect("a URL")).is_ok()
    }

    #[test]
    fn hardening_15_private_loopback_and_metadata_addresses_are_refused() {
        for host in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "[::1]",
            "[::]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "2130706433",
            "0x7f.1",
            "255.255.255.255",
            "224.0.0.1",
        ] {
            assert!(
                !check(PRODUCTION, &format!("https://{host}/token")),
                "{host}"
            );
        }
        for host in ["8.8.8.8", "[2606:4700::1111]", "login.example.com"] {
            assert!(
                check(PRODUCTION, &format!("https://{host}/token")),
                "{host}"
            );
        }
    }

    #[test]
    fn plain_http_and_other_schemes_are_refused() {
        for url in [
            "http://login.example.com/",
            "ftp://login.example.com/",
            "file:///etc/passwd",
            "https://a:b@login.example.com/",
        ] {
            assert!(!check(PRODUCTION, url), "{url}");
        }
    }

    #[test]
    fn development_opens_private_networks_but_never_metadata() {
        for url in ["http://127.0.0.1:1/", "http://[::1]:1/", "http://10.0.0.1/"] {
            assert!(check(DEVELOPMENT, url), "{url}");
        }
        for url in [
            "http://169.254.169.254/",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:169.254.169.254]/",
            "http://100.100.100.200/",
        ] {
            assert!(!check(DEVELOPMENT, url), "{url}");
        }
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_judged_alike_however_it_is_wrapped(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            let plain = PRODUCTION.check_address(v4.into()).is_ok();
            prop_assert_eq!(PRODUCTION.check_address(v4.to_ipv6_mapped().into()).is_ok(), plain);
        }
    }

    #[tokio::test]
    async fn hardening_15_a_name_that_points_inside_is_refused_when_it_is_dialled() {
        let resolver = GuardedResolver::new(PRODUCTION);
        let name: Name = "localhost".parse().expect("a name");
        assert!(resolver.resolve(name).await.is_err());
    }
}
