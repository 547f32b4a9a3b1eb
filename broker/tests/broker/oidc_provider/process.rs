//! The OpenID provider's process: it says what happens on its standard output,
//! and ends with its standard input.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(30);

/// A port that nobody has, held until it is needed.
pub struct Port(TcpListener, u16);

impl Port {
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.1)
    }
}

/// Below the range from which outgoing connections get theirs, and never one
/// that another test here was given, so that none takes it between the choice
/// and the start.
pub fn free_port() -> Port {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 20_000 + u16::try_from(std::process::id() % 10_000).expect("it fits");
    loop {
        let port = begin + NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "no port is free");
        if let Ok(held) = TcpListener::bind(("127.0.0.1", port)) {
            return Port(held, port);
        }
    }
}

/// Dropping it ends the process.
pub struct OidcProvider {
    pub issuer: String,
    child: Child,
    events: watch::Receiver<Vec<Value>>,
}

impl OidcProvider {
    pub async fn start(port: Port, config: &Value) -> Self {
        let issuer = port.issuer();
        let Port(held, port) = port;
        drop(held);
        let mut child = Command::new(setting("TEST_NODE"))
            .arg(setting("TEST_OIDC_PROVIDER"))
            .arg(port.to_string())
            .env("OIDC_PROVIDER_CONFIG", config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (sender, mut events) = watch::channel(vec![]);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sender.send_modify(|events| events.push(event));
            }
        });
        let listening = Value::from(format!("listening {issuer}"));
        let started = events.wait_for(|events| events.contains(&listening));
        tokio::time::timeout(PATIENCE, started)
            .await
            .expect("the OpenID provider starts in time")
            .expect("the OpenID provider starts; `cargo xtask test` installs what it needs");
        Self {
            issuer,
            child,
            events,
        }
    }

    /// How often something has happened to a client's tokens.
    pub fn count(&self, event: &str, client: &str) -> u64 {
        count(&self.events.borrow(), event, client)
    }

    /// Resolves once it has happened.
    pub async fn wait_for(&self, event: &str, client: &str) {
        let mut events = self.events.clone();
        let happened = events.wait_for(|events| count(events, event, client) > 0);
        tokio::time::timeout(PATIENCE, happened)
            .await
            .unwrap_or_else(|_| panic!("no {event} at {client}"))
            .expect("the provider runs");
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn count(events: &[Value], event: &str, client: &str) -> u64 {
    let matching = |found: &&Value| found["event"] == event && found["client_id"] == client;
    events.iter().filter(matching).count() as u64
}

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; `cargo xtask test` sets it"))
}
