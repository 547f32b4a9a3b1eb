//! Starting: settings, keys and databases that are not as they should be.

use std::{
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use dromos_broker::{Broker, Config, StartError};
use dromos_serve::Settings;

use crate::world::{ADMIN_KEY, Db, SERVICE_KEY, create_database, on_both};

/// Made up, as all secrets here.
pub const STATE_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
pub const ENCRYPTION_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// A whole configuration, over a database.
pub fn settings(database_url: &str) -> Vec<(&'static str, String)> {
    // Beside an SQLite file; a PostgreSQL has no folder of its own.
    let folder = match database_url.rsplit_once('/') {
        Some((_, name)) if database_url.starts_with("postgres") => {
            format!("{}/startup-{name}", env!("CARGO_TARGET_TMPDIR"))
        }
        Some((folder, _)) => folder.to_owned(),
        None => String::new(),
    };
    [
        ("DATA_DIR", folder.as_str()),
        ("DATABASE_URL", database_url),
        ("BASE_URL", "https://auth.example.com"),
        ("LISTEN", "127.0.0.1:0"),
        ("PUBLIC_LISTEN", "127.0.0.1:0"),
        ("API_KEYS", SERVICE_KEY),
        ("STATE_KEY", STATE_KEY),
        ("ENCRYPTION_KEY", ENCRYPTION_KEY),
        ("BOOTSTRAP_ADMIN_KEY", ADMIN_KEY),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

/// These settings, with others in their place; an empty one is left out.
pub fn with(all: &[(&'static str, String)], own: &[(&'static str, &str)]) -> Vec<(String, String)> {
    let given = |name: &str| own.iter().any(|own| own.0 == name);
    all.iter()
        .filter(|entry| !given(entry.0))
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .chain(
            own.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
        .filter(|entry| !entry.1.is_empty())
        .collect()
}

/// Runs `dromos-broker` with these settings and no others until it ends.
pub fn run(settings: &[(String, String)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dromos-broker"))
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("the program runs")
}

/// It ended with EX_CONFIG, and one line that names the setting and says `how`.
#[track_caller]
pub fn assert_config_error(output: &Output, setting: &str, how: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{setting}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{setting}: {stderr}");
    assert!(stderr.starts_with(setting), "{setting}: {stderr}");
    assert!(stderr.contains(how), "{setting}: {stderr}");
    assert!(output.stdout.is_empty());
    for secret in [SERVICE_KEY, STATE_KEY, ENCRYPTION_KEY, ADMIN_KEY] {
        assert!(!stderr.contains(&secret[..8]), "{setting}: {stderr}");
    }
}

pub fn file_in(dir: &Path) -> String {
    dir.join("dromos.db").display().to_string()
}

#[test]
fn a_missing_or_malformed_setting_ends_the_start_with_one_line_that_helps() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let good = settings(&file_in(dir.path()));
    let random = "openssl rand -base64 32";
    for (change, setting, how) in [
        (
            ("API_KEYS", ""),
            "API_KEYS is missing",
            "openssl rand -hex 32",
        ),
        (
            ("API_KEYS", "short"),
            "API_KEYS is malformed",
            "openssl rand -hex 32",
        ),
        (
            ("API_KEYS", "0123456789abcdef,short"),
            "API_KEYS is malformed",
            "16 to 512",
        ),
        (("BASE_URL", ""), "BASE_URL is missing", "https://"),
        (
            ("BASE_URL", "auth.example.com"),
            "BASE_URL is malformed",
            "without a path",
        ),
        (
            ("BASE_URL", "https://example.com/auth"),
            "BASE_URL is malformed",
            "without a path",
        ),
        (("STATE_KEY", ""), "STATE_KEY is missing", random),
        (("STATE_KEY", "c2hvcnQ="), "STATE_KEY is malformed", random),
        (
            ("STATE_KEY", "not base64!"),
            "STATE_KEY is malformed",
            random,
        ),
        (("ENCRYPTION_KEY", ""), "ENCRYPTION_KEY is m", random),
        (
            ("ENCRYPTION_KEY", "c2hvcnQ="),
            "ENCRYPTION_KEY is malformed",
            random,
        ),
        (
            ("ENCRYPTION_KEY_PREVIOUS", "x"),
            "ENCRYPTION_KEY_PREVIOUS is malformed",
            random,
        ),
        (
            ("KEY_PROVIDER", "magic"),
            "KEY_PROVIDER is malformed",
            "env, file",
        ),
        (("KEY_PROVIDER", "file"), "ENCRYPTION_KEY_FILE is m", "path"),
        (
            ("BOOTSTRAP_ADMIN_KEY", "short"),
            "BOOTSTRAP_ADMIN_KEY is malformed",
            "openssl rand -hex 32",
        ),
        (
            ("ALLOWED_RETURN_URLS", "app.test"),
            "ALLOWED_RETURN_URLS is malformed",
            "https://",
        ),
        (
            ("ALLOWED_CIDRS", "10.0.0.0/99"),
            "ALLOWED_CIDRS is malformed",
            "10.0.0.0/8",
        ),
        (
            ("ALLOW_PRIVATE_NETWORKS", "maybe"),
            "ALLOW_PRIVATE_NETWORKS is malformed",
            "true or false",
        ),
        (
            ("TLS_CERT_FILE", "/nowhere.pem"),
            "TLS_KEY_FILE is missing",
            "PEM",
        ),
    ] {
        let output = run(&with(&good, &[change]));
        assert_config_error(&output, setting, how);
    }
    // Without a database that names a folder, DATA_DIR has to.
    for (url, how) in [
        ("", "DATABASE_URL"),
        ("postgres://127.0.0.1:9/x", "journal"),
    ] {
        let output = run(&with(&good, &[("DATABASE_URL", url), ("DATA_DIR", "")]));
        assert_config_error(&output, "DATA_DIR is missing", how);
    }
    let file = dir.path().join("a-file").display().to_string();
    std::fs::write(&file, "").expect("a file");
    let output = run(&with(&good, &[("DATA_DIR", &file)]));
    assert_config_error(&output, "DATA_DIR is malformed", "write");
}

#[test]
fn an_address_that_can_not_be_listened_on_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for name in ["LISTEN", "PUBLIC_LISTEN"] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let output = run(&with(&settings(&file_in(dir.path())), &[(name, &address)]));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            stderr.starts_with(&format!("{name} can't be bound")),
            "{stderr}"
        );
    }
}

/// A broker of this process, bound.
pub async fn bind(settings: &[(String, String)]) -> Result<Broker, StartError> {
    let mut config = Config::from_settings(&Settings::from_map(settings.to_vec()))?;
    config.migrate = true;
    config.database_wait = Duration::ZERO;
    Broker::bind(config).await
}

#[tokio::test]
async fn a_database_that_can_not_be_reached_ends_the_start_after_a_bounded_wait() {
    // Bound and never accepted from by PostgreSQL: nothing is there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let url = format!("postgres://someone:hunter2@127.0.0.1:{port}/dromos");
    let began = Instant::now();
    let error = bind(&with(&settings(&url), &[]))
        .await
        .err()
        .expect("no database, no broker");
    assert!(began.elapsed() < Duration::from_secs(10));
    let text = error.to_string();
    assert!(text.starts_with("DATABASE_URL: "), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        !text.contains("hunter2") && !text.contains("someone"),
        "{text}"
    );
    assert!(!error.is_config(), "it may be there in a minute");
}

on_both!(
    a_schema_that_is_not_up_to_date_is_said_and_mended_by_migrate,
    |db: Db| async move {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let url = match db {
            Db::Sqlite => file_in(dir.path()),
            Db::Postgres => create_database().await,
        };
        let mut config = Config::from_settings(&Settings::from_map(with(&settings(&url), &[])))
            .expect("good settings");
        config.database_wait = Duration::ZERO;
        let first = Broker::bind(config).await;
        match db {
            // An embedded database has nobody else who would do it.
            Db::Sqlite => assert!(first.is_ok()),
            Db::Postgres => {
                let text = first.err().expect("an empty database").to_string();
                assert!(text.contains("dromos-broker migrate"), "{text}");
            }
        }
    }
);

on_both!(
    migrate_brings_a_database_up_to_date_and_says_so,
    |db: Db| async move {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let url = match db {
            Db::Sqlite => file_in(dir.path()),
            Db::Postgres => create_database().await,
        };
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/sqlite");
        let all = std::fs::read_dir(folder).expect("the migrations").count();
        for expected in [format!("; {all} migrations"), "; 0 migrations".to_owned()] {
            let output = Command::new(env!("CARGO_BIN_EXE_dromos-broker"))
                .arg("migrate")
                .env_clear()
                .env("DATABASE_URL", &url)
                .output()
                .expect("the program runs");
            let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{stdout}");
            assert!(stdout.contains(&expected), "{stdout}");
        }
    }
);
