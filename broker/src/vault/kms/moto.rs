//! A KMS for tests: moto's server, a process of its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use aws_sdk_kms::Client;

use super::aws_kms::AwsSettings;

/// A running moto; it ends when this is dropped.
pub(super) struct Moto {
    child: Child,
    /// Where it listens.
    pub url: String,
}

impl Moto {
    pub(super) fn start() -> Self {
        let program = std::env::var("TEST_MOTO").expect(
            "TEST_MOTO names moto_server; `cargo xtask test` installs it and sets the variable",
        );
        let mut child = Command::new(program)
            // Any free port, which it tells.
            .args(["--host", "127.0.0.1", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("moto starts");
        let mut told = BufReader::new(child.stderr.take().expect("a pipe"));
        let url = loop {
            let mut line = String::new();
            let read = told.read_line(&mut line).expect("text");
            assert_ne!(read, 0, "moto ended before it listened");
            if let Some((_, url)) = line.split_once("Running on ") {
                break url.trim().to_owned();
            }
        };
        // It writes a line for each request, which somebody has to read.
        std::thread::spawn(move || {
            let mut sink = std::io::sink();
            let _ = std::io::copy(&mut told, &mut sink);
        });
        Self { child, url }
    }

    /// The settings that lead there.
    pub(super) fn setting(&self, name: &str) -> Option<String> {
        match name {
            "AWS_ENDPOINT_URL_KMS" => Some(self.url.clone()),
            "AWS_REGION" => Some("eu-central-1".to_owned()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("made-up".to_owned()),
            _ => None,
        }
    }

    /// A client of it.
    pub(super) async fn client(&self) -> Client {
        AwsSettings::read(&|name| self.setting(name)).client().await
    }

    /// Makes a key: its id.
    pub(super) async fn create_key(&self) -> String {
        let created = self.client().await.create_key().send().await;
        let key = created.expect("moto makes a key").key_metadata;
        key.expect("it tells the key").key_id
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
