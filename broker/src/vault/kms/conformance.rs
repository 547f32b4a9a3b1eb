//! What every key provider must do. A new one joins [`PROVIDERS`] and is run
//! here with its settings.

use secrecy::ExposeSecret;

use super::*;
use crate::domain::ambient::Ambient;

fn providers() -> Vec<(&'static str, std::sync::Arc<dyn KeyProvider>)> {
    let ambient = Ambient::system();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("key");
    PROVIDERS
        .iter()
        .map(|(name, make)| {
            let setting = |setting: &str| match setting {
                "ENCRYPTION_KEY" => Some("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned()),
                "ENCRYPTION_KEY_FILE" => Some(file.display().to_string()),
                _ => None,
            };
            let source = KeySource {
                setting: &setting,
                has_data_keys: false,
                ambient: &ambient,
            };
            (
                *name,
                make(&source).unwrap_or_else(|bad| panic!("{name}: {bad:?}")),
            )
        })
        .collect()
}

#[tokio::test]
async fn every_key_provider_unwraps_what_it_wrapped_in_the_same_context_only() {
    for (name, provider) in providers() {
        let wrapped = provider.wrap(&[7; 32], b"context").await.expect("wraps");
        assert!(
            !wrapped.bytes.windows(32).any(|window| window == [7; 32]),
            "{name} stores the key in plain"
        );
        let opened = provider
            .unwrap(&wrapped.kek_id, &wrapped.bytes, b"context")
            .await
            .expect("unwraps");
        assert_eq!(*opened.expose_secret(), [7; 32], "{name}");
        assert!(
            provider
                .unwrap(&wrapped.kek_id, &wrapped.bytes, b"other")
                .await
                .is_err(),
            "{name}: context"
        );
        assert!(
            provider
                .unwrap("another", &wrapped.bytes, b"context")
                .await
                .is_err(),
            "{name}: kek id"
        );
        let mut changed = wrapped.bytes.clone();
        changed[20] ^= 1;
        assert!(
            provider
                .unwrap(&wrapped.kek_id, &changed, b"context")
                .await
                .is_err(),
            "{name}: changed"
        );
        assert!(
            provider
                .unwrap(&wrapped.kek_id, b"", b"context")
                .await
                .is_err(),
            "{name}: empty"
        );
    }
}

#[test]
fn hardening_36_a_missing_key_file_is_never_replaced_once_there_are_data_keys() {
    let ambient = Ambient::system();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("key");
    let setting = |_: &str| Some(path.display().to_string());
    let lost = make(
        "file",
        &KeySource {
            setting: &setting,
            has_data_keys: true,
            ambient: &ambient,
        },
    );
    assert!(lost.is_err_and(|bad| bad.name == "ENCRYPTION_KEY_FILE"));
    assert!(!path.exists());
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let ambient = Ambient::system();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("key");
    let setting = |_: &str| Some(path.display().to_string());
    let source = KeySource {
        setting: &setting,
        has_data_keys: false,
        ambient: &ambient,
    };
    assert!(make("file", &source).is_ok());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    assert!(make("file", &source).is_err_and(|bad| bad.advice.contains("chmod 600")));
}

#[test]
fn short_and_malformed_keys_are_refused_by_name() {
    let ambient = Ambient::system();
    for text in [None, Some("c2hvcnQ="), Some("not base64"), Some("")] {
        let setting = |_: &str| text.map(str::to_owned);
        let source = KeySource {
            setting: &setting,
            has_data_keys: false,
            ambient: &ambient,
        };
        assert!(
            make("env", &source).is_err_and(|bad| bad.name == "ENCRYPTION_KEY"),
            "{text:?}"
        );
    }
}
