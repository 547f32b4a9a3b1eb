//! Key providers: who holds the key-encryption key. A new one is one file and
//! one line in [`PROVIDERS`].

use async_trait::async_trait;
use secrecy::SecretBox;

use crate::domain::{
    error::Result,
    id::{DataKeyId, WorkspaceId},
    sealed::WrappedDataKey,
};

mod aws_kms;
mod env;
mod file;
mod local;

/// A wrapped data key, and which key-encryption key wrapped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The key-encryption key's id.
    pub kek_id: String,
    /// The wrapped key.
    pub bytes: Vec<u8>,
}

/// Which data key is wrapped, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapContext {
    /// The workspace it encrypts for.
    pub workspace_id: WorkspaceId,
    /// The data key's id.
    pub data_key_id: DataKeyId,
}

impl WrapContext {
    /// Of a data key.
    #[must_use]
    pub fn of(key: &WrappedDataKey) -> Self {
        Self {
            workspace_id: key.workspace_id,
            data_key_id: key.data_key_id,
        }
    }

    /// As bytes to authenticate.
    fn aad(&self) -> Vec<u8> {
        super::aad::of_data_key(self.workspace_id, self.data_key_id)
    }
}

/// Wraps and unwraps data keys. The context is authenticated with the key; what
/// was wrapped in one context does not unwrap in another.
#[async_trait]
pub trait KeyProvider: Send + Sync {
    /// Wraps a data key under the current key-encryption key.
    async fn wrap(&self, data_key: &[u8; 32], context: &WrapContext) -> Result<Wrapped>;
    /// Unwraps a data key.
    async fn unwrap(
        &self,
        kek_id: &str,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<SecretBox<[u8; 32]>>;
    /// The id of the key-encryption key that wraps now.
    async fn current_kek_id(&self) -> Result<String>;
}

/// What a key provider is made from.
pub struct KeySource<'a> {
    /// Reads a setting.
    pub setting: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the database already holds wrapped data keys: a key that is not
    /// there may be made only while it does not.
    pub has_data_keys: bool,
    /// Randomness, for a key that is made.
    pub ambient: &'a crate::domain::ambient::Ambient,
}

/// Why a key provider can't be made: the setting, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSetting {
    /// The setting's name.
    pub name: &'static str,
    /// What is wrong, and what to do.
    pub advice: String,
}

type Make = fn(&KeySource<'_>) -> std::result::Result<std::sync::Arc<dyn KeyProvider>, BadSetting>;

/// Every key provider, by the value of KEY_PROVIDER.
pub const PROVIDERS: &[(&str, Make)] = &[
    ("env", env::make),
    ("file", file::make),
    ("aws-kms", aws_kms::make),
];

/// Makes the key provider of a name.
///
/// # Errors
/// The setting that is missing or malformed.
pub fn make(
    name: &str,
    source: &KeySource<'_>,
) -> std::result::Result<std::sync::Arc<dyn KeyProvider>, BadSetting> {
    match PROVIDERS.iter().find(|provider| provider.0 == name) {
        Some((_, make)) => make(source),
        None => {
            let known: Vec<&str> = PROVIDERS.iter().map(|provider| provider.0).collect();
            Err(BadSetting {
                name: "KEY_PROVIDER",
                advice: format!("use one of: {}", known.join(", ")),
            })
        }
    }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod moto;
