//! What every key provider must do. A new one joins [`PROVIDERS`] and is run
//! here with its settings.

use secrecy::ExposeSecret;

use super::{moto::Moto, *};
use crate::domain::ambient::Ambient;

fn providers(moto: &Moto, kms_key: &str) -> Vec<(&'static str, std::sync::Arc<dyn KeyProvider>)> {
    let ambient = Ambient::system();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("key");
    PROVIDERS
        .iter()
        .map(|(name, make)| {
            let setting = |setting: &str| match setting {
                "ENCRYPTION_KEY" => Some("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned()),
                "ENCRYPTION_KEY_FILE" => Some(file.display().to_string()),
                "AWS_KMS_KEY_ID" => Some(kms_key.to_owned()),
                other => moto.setting(other),
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

fn context(number: u128) -> WrapContext {
    WrapContext {
        workspace_id: WorkspaceId::DEFAULT,
        data_key_id: DataKeyId(uuid::Uuid::from_u128(number)),
    }
}

#[tokio::test]
async fn every_key_provider_unwraps_what_it_wrapped_in_the_same_context_only() {
    let moto = Moto::start();
    let kms_key = moto.create_key().await;
    for (name, provider) in providers(&moto, &kms_key) {
        let wrapped = provider.wrap(&[7; 32], &context(1)).await.expect("wraps");
        assert!(
            !wrapped.bytes.windows(32).any(|window| window == [7; 32]),
            "{name} stores the key in plain"
        );
        assert_eq!(
            provider.current_kek_id().await.expect("a key"),
            wrapped.kek_id,
            "{name}"
        );
        let opened = provider
            .unwrap(&wrapped.kek_id, &wrapped.bytes, &context(1))
            .await
            .expect("unwraps");
        assert_eq!(*opened.expose_secret(), [7; 32], "{name}");
        assert!(
            provider
                .unwrap(&wrapped.kek_id, &wrapped.bytes, &context(2))
                .await
                .is_err(),
            "{name}: context"
        );
        assert!(
            provider
                .unwrap("another", &wrapped.bytes, &context(1))
                .await
                .is_err(),
            "{name}: kek id"
        );
        let mut changed = wrapped.bytes.clone();
        changed[20] ^= 1;
        assert!(
            provider
                .unwrap(&wrapped.kek_id, &changed, &context(1))
                .await
                .is_err(),
            "{name}: changed"
        );
        assert!(
            provider
                .unwrap(&wrapped.kek_id, b"", &context(1))
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

#[tokio::test]
async fn the_first_key_of_a_file_wraps_and_the_others_unwrap() {
    use std::os::unix::fs::OpenOptionsExt;
    let ambient = Ambient::system();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let with = |lines: &str| {
        let path = dir.path().join(ambient.id().to_string());
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .expect("a file");
        std::io::Write::write_all(&mut file, lines.as_bytes()).expect("written");
        let setting = |_: &str| Some(path.display().to_string());
        make(
            "file",
            &KeySource {
                setting: &setting,
                has_data_keys: true,
                ambient: &ambient,
            },
        )
    };
    let old = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let new = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
    let before = with(old).expect("one key");
    let both = with(&format!("{new}\n{old}\n")).expect("two keys");
    let after = with(&format!("{new}\n")).expect("one key");
    let wrapped = before.wrap(&[7; 32], &context(1)).await.expect("wraps");
    let unwrap = async |provider: &std::sync::Arc<dyn KeyProvider>, wrapped: &Wrapped| {
        let context = context(1);
        let opened = provider.unwrap(&wrapped.kek_id, &wrapped.bytes, &context);
        opened
            .await
            .is_ok_and(|key| *key.expose_secret() == [7; 32])
    };
    assert!(unwrap(&both, &wrapped).await);
    assert!(!unwrap(&after, &wrapped).await);
    let again = both.wrap(&[7; 32], &context(1)).await.expect("wraps");
    assert!(unwrap(&after, &again).await && !unwrap(&before, &again).await);
    let spoilt = with(&format!("{new}\nnot a key\n"));
    assert!(spoilt.is_err_and(|bad| bad.name == "ENCRYPTION_KEY_FILE"));
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
