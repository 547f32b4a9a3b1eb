//! Starting again, over what an earlier broker left: its keys, most of all.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    startup::{ENCRYPTION_KEY, STATE_KEY, assert_config_error, bind, file_in, run, settings, with},
    world::{ADMIN_KEY, Db, SERVICE_KEY, create_database, http_client, on_both},
};

/// Made up.
const OTHER_ADMIN_KEY: &str = "another-admin-key-0123456789abcdefghij";

/// A broker that serves, and the end of it.
struct Running {
    url: String,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(settings: &[(String, String)]) -> Self {
        let broker = bind(settings).await.expect("the broker starts");
        let url = format!("http://{}", broker.internal_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(broker.run(async {
            let _ = stopped.await;
        }));
        Self { url, stop, task }
    }

    async fn call(&self, key: &str, method: Method, path: &str) -> (StatusCode, Value) {
        let answer = http_client()
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(SERVICE_KEY)
            .header("x-dromos-key", key)
            .send()
            .await
            .expect("an answer");
        let status = answer.status();
        (status, answer.json().await.expect("JSON"))
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.expect("it ends well");
    }
}

on_both!(
    hardening_36_a_bootstrap_key_is_taken_once,
    |db: Db| async move {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let url = match db {
            Db::Sqlite => file_in(dir.path()),
            Db::Postgres => create_database().await,
        };
        let settings = settings(&url);
        let keys = "/v1/api-keys";
        let first = Running::start(&with(&settings, &[])).await;
        let (status, found) = first.call(ADMIN_KEY, Method::GET, keys).await;
        assert_eq!(status, StatusCode::OK, "{found}");
        let key = &found["api_keys"][0];
        assert_eq!(key["scopes"], json!(["admin", "operator"]));
        let id = key["id"].as_str().expect("an id").to_owned();
        first.stop().await;

        // A restart keeps the key, and takes no other in its place.
        let other = with(&settings, &[("BOOTSTRAP_ADMIN_KEY", OTHER_ADMIN_KEY)]);
        let second = Running::start(&other).await;
        let (status, _) = second.call(ADMIN_KEY, Method::GET, keys).await;
        assert_eq!(status, StatusCode::OK);
        let (status, _) = second.call(OTHER_ADMIN_KEY, Method::GET, keys).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        // Not even when no key is left: neither another one nor itself.
        let (status, _) = second
            .call(ADMIN_KEY, Method::DELETE, &format!("{keys}/{id}"))
            .await;
        assert_eq!(status, StatusCode::OK);
        second.stop().await;
        for settings in [with(&settings, &[]), other] {
            let third = Running::start(&settings).await;
            for key in [ADMIN_KEY, OTHER_ADMIN_KEY] {
                let (status, _) = third.call(key, Method::GET, keys).await;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{key}");
            }
            third.stop().await;
        }
    }
);

/// A key of the default workspace that encrypts something, then the broker's end.
async fn keep_a_secret(settings: &[(String, String)]) {
    let running = Running::start(settings).await;
    let provider = json!({
        "name": "acme",
        "oauth2": {
            "authorization_endpoint": "https://login.acme.test/authorize",
            "token_endpoint": "https://login.acme.test/token",
            "client_id": "c",
            "client_secret": "made up",
        },
    });
    let answer = http_client()
        .post(format!("{}/v1/providers", running.url))
        .bearer_auth(SERVICE_KEY)
        .header("x-dromos-key", ADMIN_KEY)
        .json(&provider)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    running.stop().await;
}

on_both!(
    hardening_36_a_lost_key_file_is_not_replaced_by_a_new_key,
    |db: Db| async move {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let url = match db {
            Db::Sqlite => file_in(dir.path()),
            Db::Postgres => create_database().await,
        };
        let file = dir.path().join("key");
        let path = file.display().to_string();
        let settings = with(
            &settings(&url),
            &[
                ("KEY_PROVIDER", "file"),
                ("ENCRYPTION_KEY_FILE", &path),
                ("ENCRYPTION_KEY", ""),
            ],
        );
        keep_a_secret(&settings).await;
        let key = std::fs::read_to_string(&file).expect("the first start made the key");
        std::fs::remove_file(&file).expect("it goes");
        assert_config_error(&run(&settings), "ENCRYPTION_KEY_FILE", "restore the file");
        assert!(!file.exists(), "no fresh key");
        // Another key in its place is noticed as well, and not the same as a lost one.
        std::fs::write(&file, format!("{ENCRYPTION_KEY}\n")).expect("written");
        let output = run(&settings);
        assert_config_error(&output, "ENCRYPTION_KEY_FILE", "chmod 600");
        set_private(&file);
        assert_config_error(&run(&settings), "ENCRYPTION_KEY_FILE", "does not open it");
        // With the right one back, all is well.
        std::fs::write(&file, key).expect("written");
        Running::start(&settings).await.stop().await;
    }
);

fn set_private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("changed");
}

on_both!(
    another_encryption_key_than_the_databases_ends_the_start,
    |db: Db| async move {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let url = match db {
            Db::Sqlite => file_in(dir.path()),
            Db::Postgres => create_database().await,
        };
        keep_a_secret(&with(&settings(&url), &[])).await;
        let wrong = with(&settings(&url), &[("ENCRYPTION_KEY", STATE_KEY)]);
        assert_config_error(
            &run(&wrong),
            "ENCRYPTION_KEY is malformed",
            "does not open it",
        );
    }
);
