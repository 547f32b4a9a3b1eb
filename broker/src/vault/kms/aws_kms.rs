//! Key provider `aws-kms`: a key in AWS KMS that never leaves it. The encryption
//! context names workspace and data key, so that CloudTrail shows them and
//! grants can be bound to them.
//!
//! Region, endpoint and credentials are those of any AWS program: from the
//! settings of the same names, else from the profile, a web identity, the
//! container or the instance.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, timeout::TimeoutConfig};
use aws_sdk_kms::{
    Client,
    config::Credentials,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    primitives::Blob,
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use tokio::sync::OnceCell;
use zeroize::{Zeroize, Zeroizing};

use super::{BadSetting, KeyProvider, KeySource, WrapContext, Wrapped};
use crate::domain::error::{Error, ErrorKind, Result};

const NAME: &str = "AWS_KMS_KEY_ID";

/// A call, its retries included.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn make(
    source: &KeySource<'_>,
) -> std::result::Result<Arc<dyn KeyProvider>, BadSetting> {
    let key_id = (source.setting)(NAME).ok_or_else(|| BadSetting {
        name: NAME,
        advice: "must be the id, the alias or the ARN of a symmetric key in AWS KMS".to_owned(),
    })?;
    Ok(Arc::new(AwsKms {
        key_id,
        settings: AwsSettings::read(source.setting),
        client: OnceCell::new(),
        current: RwLock::default(),
    }))
}

/// What any AWS program reads from its environment, and a broker also from its
/// settings file.
pub(super) struct AwsSettings {
    region: Option<String>,
    endpoint: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<SecretString>,
    session_token: Option<SecretString>,
}

impl AwsSettings {
    pub(super) fn read(setting: &dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            region: setting("AWS_REGION").or_else(|| setting("AWS_DEFAULT_REGION")),
            endpoint: setting("AWS_ENDPOINT_URL_KMS").or_else(|| setting("AWS_ENDPOINT_URL")),
            access_key_id: setting("AWS_ACCESS_KEY_ID"),
            secret_access_key: setting("AWS_SECRET_ACCESS_KEY").map(SecretString::from),
            session_token: setting("AWS_SESSION_TOKEN").map(SecretString::from),
        }
    }

    pub(super) async fn client(&self) -> Client {
        // The one TLS of this program; the SDK would bring another.
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder().operation_timeout(TIMEOUT).build();
        let mut config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(timeouts);
        if let Some(region) = &self.region {
            config = config.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        if let (Some(id), Some(secret)) = (&self.access_key_id, &self.secret_access_key) {
            let token = self.session_token.as_ref();
            config = config.credentials_provider(Credentials::new(
                id,
                secret.expose_secret(),
                token.map(|token| token.expose_secret().to_owned()),
                None,
                "settings",
            ));
        }
        Client::new(&config.load().await)
    }
}

struct AwsKms {
    key_id: String,
    settings: AwsSettings,
    /// Made at first use: where credentials come from may have to be asked.
    client: OnceCell<Client>,
    /// The ARN behind `key_id`, as KMS last told it.
    current: RwLock<Option<String>>,
}

fn encryption_context(context: &WrapContext) -> HashMap<String, String> {
    HashMap::from([
        (
            "dromos:workspace_id".to_owned(),
            context.workspace_id.to_string(),
        ),
        (
            "dromos:data_key_id".to_owned(),
            context.data_key_id.to_string(),
        ),
    ])
}

impl AwsKms {
    async fn client(&self) -> &Client {
        self.client.get_or_init(|| self.settings.client()).await
    }

    async fn encrypt(&self, secret: &[u8], context: HashMap<String, String>) -> Result<Wrapped> {
        let encrypted = self
            .client()
            .await
            .encrypt()
            .key_id(&self.key_id)
            .plaintext(Blob::new(secret))
            .set_encryption_context(Some(context))
            .send()
            .await
            .map_err(|error| failed("Encrypt", &error))?;
        let (Some(kek_id), Some(blob)) = (encrypted.key_id, encrypted.ciphertext_blob) else {
            return Err(Error::internal(
                "AWS KMS answered Encrypt without its result",
            ));
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(kek_id.clone());
        Ok(Wrapped {
            kek_id,
            bytes: blob.into_inner(),
        })
    }
}

/// What KMS or the way there says; none of it is secret. What may be otherwise
/// in a moment is told apart: it says nothing of the key.
fn failed<E>(call: &str, error: &SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let cause = format!("AWS KMS, {call}: {}", DisplayErrorContext(error));
    let passes = match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or_default();
            answer.raw().status().is_server_error()
                || code.contains("Throttling")
                || code.contains("LimitExceeded")
        }
        SdkError::ConstructionFailure(_) => false,
        _ => true,
    };
    if passes {
        let message = "the key provider can't be reached; try again";
        Error::new(ErrorKind::StoreUnavailable, message).because(cause)
    } else {
        Error::internal(cause)
    }
}

#[async_trait]
impl KeyProvider for AwsKms {
    async fn wrap(&self, data_key: &[u8; 32], context: &WrapContext) -> Result<Wrapped> {
        self.encrypt(data_key, encryption_context(context)).await
    }

    async fn unwrap(
        &self,
        kek_id: &str,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<SecretBox<[u8; 32]>> {
        let decrypted = self
            .client()
            .await
            .decrypt()
            .key_id(kek_id)
            .ciphertext_blob(Blob::new(wrapped))
            .set_encryption_context(Some(encryption_context(context)))
            .send()
            .await
            .map_err(|error| failed("Decrypt", &error))?;
        let plain = decrypted
            .plaintext
            .map(Blob::into_inner)
            .map(Zeroizing::new);
        if decrypted.key_id.as_deref() != Some(kek_id) {
            return Err(Error::internal("AWS KMS decrypted with another key"));
        }
        let mut data_key = Box::new([0; 32]);
        match plain {
            Some(plain) if plain.len() == data_key.len() => data_key.copy_from_slice(&plain),
            _ => {
                data_key.zeroize();
                return Err(Error::internal("a data key has another length"));
            }
        }
        Ok(SecretBox::new(data_key))
    }

    async fn current_kek_id(&self) -> Result<String> {
        let known = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(known) = known {
            return Ok(known);
        }
        // An alias may point anywhere; that Encrypt tells needs no permission
        // beyond those that wrapping needs.
        let context = HashMap::from([("dromos:purpose".to_owned(), "key id".to_owned())]);
        Ok(self.encrypt(b"which key is it", context).await?.kek_id)
    }
}

#[cfg(test)]
mod tests;
