//! Mutations that may be repeated (AIP-155): the same `request_id` gives the
//! same answer and one effect. Answers are kept sealed, for a day.

use std::time::Duration;

use ring::digest::{Context, SHA256};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::Core;
use crate::{
    domain::{
        access::Caller,
        error::{Error, ErrorKind, Result},
        sealed::Place,
    },
    store::{AnswerClaim, AnswerKey},
};

const MAX_LEN: usize = 128;
/// How long a call that is being made elsewhere is waited for.
const WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Makes a call once. `request` and the answer are in their encoded form.
///
/// # Errors
/// INVALID_ARGUMENT where the `request_id` came with another request before;
/// those of the call.
pub async fn once<F>(
    core: &Core,
    caller: &Caller,
    method: &str,
    request_id: &str,
    request: &[u8],
    call: impl FnOnce() -> F,
) -> Result<Vec<u8>>
where
    F: Future<Output = Result<Vec<u8>>>,
{
    if request_id.is_empty() {
        return call().await;
    }
    if request_id.len() > MAX_LEN || !request_id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::invalid(
            "request_id",
            "has at most 128 visible ASCII characters",
        ));
    }
    let key = AnswerKey {
        workspace_id: caller.workspace_id(),
        api_key_id: caller.key.id,
        method: method.to_owned(),
        request_id: request_id.to_owned(),
    };
    let request_hash = hash(&[request]);
    let place = place(&key);
    let give_up = Instant::now() + WAIT;
    loop {
        let claim = core
            .store
            .claim_answer(&key, request_hash, core.ambient.now())
            .await?;
        let known = match &claim {
            AnswerClaim::New => break,
            AnswerClaim::Running { request_hash } | AnswerClaim::Done { request_hash, .. } => {
                request_hash
            }
        };
        if *known != request_hash {
            return Err(Error::invalid(
                "request_id",
                "was used for another request within the last 24 hours",
            ));
        }
        if let AnswerClaim::Done { answer, .. } = &claim {
            return Ok(core
                .vault
                .open(&place, answer)
                .await?
                .expose_secret()
                .to_vec());
        }
        if Instant::now() >= give_up {
            return Err(Error::new(
                ErrorKind::StoreUnavailable,
                "the same request is still being made; try again",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
    match call().await {
        Ok(answer) => {
            with_active_key!(
                core,
                key.workspace_id,
                async {
                    let sealed = core.vault.seal(&place, &answer).await?;
                    core.store.finish_answer(&key, sealed).await
                }
                .await
            )?;
            Ok(answer)
        }
        Err(error) => {
            core.store.drop_answer(&key).await?;
            Err(error)
        }
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context
        .finish()
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

/// An answer opens only for the key, method and `request_id` it was given to.
fn place(key: &AnswerKey) -> Place {
    let hash = hash(&[
        key.api_key_id.0.as_bytes(),
        key.method.as_bytes(),
        key.request_id.as_bytes(),
    ]);
    let row = uuid::Uuid::from_bytes(hash[..16].try_into().expect("16 of 32 bytes"));
    Place {
        workspace_id: key.workspace_id,
        table: "answers",
        row,
        field: "answer",
        generation: 0,
    }
}
