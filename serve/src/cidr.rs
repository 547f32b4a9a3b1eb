//! Address ranges in CIDR notation (RFC 4632), for allow-lists.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// A range of IP addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: u128,
    mask: u128,
}

/// The text is no address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address range such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct CidrError;

impl Cidr {
    /// Whether `address` lies in the range. An IPv4-mapped IPv6 address
    /// (`::ffff:10.0.0.1`, what a dual-stack socket reports) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        mapped(address) & self.mask == self.network
    }
}

/// IPv4 ranges are kept inside ::ffff:0:0/96, so one comparison serves both.
fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
    .to_bits()
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, length) = match text.trim().split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError)?;
        let (width, offset) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        let length = match length {
            None => width,
            // `parse` alone would take "+8".
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|length| *length <= width)
                .ok_or(CidrError)?,
            Some(_) => return Err(CidrError),
        };
        let host_bits = Ipv6Addr::BITS - (offset + length);
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Ok(Self {
            network: mapped(address) & mask,
            mask,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/8", "10.0.0.1", "9.255.255.255"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::a00:1"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("::1", "::1", "127.0.0.1"),
        ] {
            let cidr: Cidr = range.parse().unwrap();
            assert!(
                cidr.contains(inside.parse().unwrap()),
                "{range} holds {inside}"
            );
            assert!(
                !cidr.contains(outside.parse().unwrap()),
                "{range} does not hold {outside}"
            );
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "host/8",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError), "{text}");
        }
    }
}
