//! Against moto's KMS, a process of its own.

use super::*;
use crate::{
    domain::{
        ambient::Ambient,
        id::{DataKeyId, WorkspaceId},
    },
    vault::kms::{self, moto::Moto},
};

fn context() -> WrapContext {
    WrapContext {
        workspace_id: WorkspaceId::DEFAULT,
        data_key_id: DataKeyId(uuid::Uuid::from_u128(7)),
    }
}

fn provider(moto: &Moto, key_id: &str) -> Arc<dyn KeyProvider> {
    let setting = |name: &str| match name {
        NAME => Some(key_id.to_owned()),
        other => moto.setting(other),
    };
    let source = KeySource {
        setting: &setting,
        has_data_keys: false,
        ambient: &Ambient::system(),
    };
    kms::make("aws-kms", &source).expect("good settings")
}

#[tokio::test]
async fn the_encryption_context_names_workspace_and_data_key() {
    let moto = Moto::start();
    let key_id = moto.create_key().await;
    let provider = provider(&moto, &key_id);
    let wrapped = provider.wrap(&[7; 32], &context()).await.expect("wraps");
    assert!(
        wrapped.kek_id.starts_with("arn:aws:kms:eu-central-1:"),
        "{}",
        wrapped.kek_id
    );

    // Asked past the provider: only the very same context decrypts.
    let client = moto.client().await;
    let decrypt = async |context: &[(&str, &str)]| {
        let context = context
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        client
            .decrypt()
            .ciphertext_blob(Blob::new(wrapped.bytes.clone()))
            .set_encryption_context(Some(context))
            .send()
            .await
    };
    let workspace = WorkspaceId::DEFAULT.to_string();
    let data_key = "00000000-0000-0000-0000-000000000007";
    let good = [
        ("dromos:workspace_id", workspace.as_str()),
        ("dromos:data_key_id", data_key),
    ];
    let opened = decrypt(&good).await.expect("it decrypts").plaintext;
    assert_eq!(opened.expect("a plaintext").into_inner(), [7; 32]);
    for wrong in [
        &[][..],
        &good[..1],
        &[
            good[0],
            ("dromos:data_key_id", "00000000-0000-0000-0000-000000000008"),
        ],
        &[("dromos:workspace_id", data_key), good[1]],
    ] {
        let refused = decrypt(wrong).await;
        assert!(refused.is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_key_behind_an_alias_is_known_by_its_arn() {
    let moto = Moto::start();
    let client = moto.client().await;
    let (old, new) = (moto.create_key().await, moto.create_key().await);
    let alias = "alias/dromos";
    let created = client.create_alias().alias_name(alias).target_key_id(&old);
    created.send().await.expect("an alias");
    let before = provider(&moto, alias);
    let wrapped = before.wrap(&[7; 32], &context()).await.expect("wraps");
    assert!(wrapped.kek_id.ends_with(&old), "{}", wrapped.kek_id);

    // The operator points it elsewhere: what was wrapped before still opens.
    let moved = client.update_alias().alias_name(alias).target_key_id(&new);
    moved.send().await.expect("moved");
    let after = provider(&moto, alias);
    assert!(after.current_kek_id().await.expect("a key").ends_with(&new));
    let opened = after
        .unwrap(&wrapped.kek_id, &wrapped.bytes, &context())
        .await;
    assert_eq!(*opened.expect("it opens").expose_secret(), [7; 32]);
}

#[tokio::test]
async fn a_kms_that_does_not_answer_is_an_error_that_names_it() {
    let moto = Moto::start();
    let key_id = moto.create_key().await;
    let provider = provider(&moto, &key_id);
    drop(moto);
    let error = provider
        .wrap(&[7; 32], &context())
        .await
        .expect_err("nobody is there");
    let cause = error.cause.expect("a cause").to_string();
    assert!(cause.starts_with("AWS KMS, Encrypt"), "{cause}");
}
