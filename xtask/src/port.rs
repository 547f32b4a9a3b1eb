//! Ports for servers that other programs must find.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result};

/// Ports from 32768 on are what the system gives to outgoing connections.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Where the next search begins. Two runs at once should not walk the ports in
/// step, so each begins somewhere else.
static NEXT: LazyLock<AtomicU64> =
    LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(0) >> 1));

/// A port on 127.0.0.1 that was free a moment ago, and another one with every call.
///
/// # Errors
/// When no port is free.
pub fn free() -> Result<u16> {
    (0..COUNT)
        .map(|_| {
            let offset = NEXT.fetch_add(1, Ordering::Relaxed) % u64::from(COUNT);
            FIRST + offset as u16
        })
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port between 20000 and 32000 on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let port = free().unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        for _ in 0..100 {
            assert_ne!(free().unwrap(), port);
        }
    }

    #[test]
    fn a_port_is_below_the_ephemeral_range() {
        assert!((FIRST..FIRST + COUNT).contains(&free().unwrap()));
    }
}
