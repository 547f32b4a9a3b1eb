//! Where a secret could turn up.

use std::{path::Path, process::Command};

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{life::Life, search::Search};
use crate::support::Up;

impl Life {
    /// Everything that an API key may list, and the metrics.
    pub async fn look_at(&mut self, up: &Up) {
        for path in [
            "/v1/audit?page_size=1000",
            "/v1/connections",
            "/v1/providers",
            "/v1/api-keys",
            "/v1/webhooks",
            "/v1/workspaces",
            "/v1/keys",
        ] {
            let answer = self.good(Method::GET, path, Value::Null).await;
            self.search.read(path, answer.to_string());
        }
        for (name, url) in [
            ("gateway", self.gateway.clone()),
            ("broker", up.address("Broker, internal")),
        ] {
            let metrics = self
                .http
                .get(format!("{url}/metrics"))
                .send()
                .await
                .unwrap();
            assert_eq!(metrics.status(), StatusCode::OK);
            let metrics = metrics.text().await.unwrap();
            self.search
                .read(format!("the metrics of the {name}"), metrics);
        }
    }
}

/// Every file in a folder and those below, but for the files of keys.
pub fn look_into(search: &mut Search, folder: &Path, keys: &[&str]) {
    look_below(search, folder, folder, keys);
}

fn look_below(search: &mut Search, top: &Path, folder: &Path, keys: &[&str]) {
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.strip_prefix(top).unwrap().to_str().unwrap();
        if path.is_dir() {
            look_below(search, top, &path, keys);
        } else if !keys.contains(&name) {
            let bytes = std::fs::read(&path).unwrap();
            search.read(format!("the file {name}"), bytes);
        }
    }
}

/// Every key of Redis and what it holds.
pub fn look_at_redis(search: &mut Search, url: &str) {
    let cli = |arguments: &[&str]| {
        let ran = Command::new("redis-cli")
            .args(["-u", url, "--no-auth-warning"])
            .args(arguments)
            .output();
        let ran = ran.expect("redis-cli comes with Redis: run `cargo xtask setup`");
        assert!(ran.status.success());
        ran.stdout
    };
    let keys = String::from_utf8(cli(&["--scan"])).unwrap();
    assert!(!keys.is_empty(), "nothing was kept in Redis");
    for key in keys.lines() {
        search.read(
            format!("Redis' {key}"),
            [key.as_bytes(), &cli(&["--raw", "get", key])].concat(),
        );
    }
}

/// All tables of a PostgreSQL database.
pub fn look_at_postgres(search: &mut Search, url: &str) {
    let ran = Command::new("pg_dump").args(["--inserts", url]).output();
    let ran = ran.expect("pg_dump comes with PostgreSQL: run `cargo xtask setup`");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    search.read("the database", ran.stdout);
}

#[test]
fn files_are_looked_for_at_any_depth_and_key_files_are_known_by_their_place() {
    let secret = "marker-in-some-file-0123456789";
    let place = tempfile::tempdir().unwrap();
    let below = place.path().join("journal/deeper");
    std::fs::create_dir_all(&below).unwrap();
    let found = |file: &Path| {
        std::fs::write(file, secret).unwrap();
        let mut search = Search::default();
        search.met("it", secret);
        look_into(&mut search, place.path(), &["the.key"]);
        std::fs::remove_file(file).unwrap();
        search.hits().len()
    };
    assert_eq!(found(&below.join("entry")), 1);
    assert_eq!(found(&below.join("the.key")), 1);
    assert_eq!(found(&place.path().join("the.key")), 0);
}
