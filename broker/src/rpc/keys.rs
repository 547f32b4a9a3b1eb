//! dromos.v1.KeyService.

use dromos_proto::v1::{
    DataKey as ProtoDataKey, KeyEncryptionKey, KeyRotation as ProtoRotation, ListKeysRequest,
    ListKeysResponse, RotateKeysRequest, key_rotation::Target, key_service_server::KeyService,
};
use tonic::{Request, Response, Status};

use super::{
    Rpc,
    connections::reply,
    convert::{parse_id, timestamp},
    repeatable::once,
    split,
};
use crate::{
    domain::{
        error::{Error, Result},
        id::WorkspaceId,
        keys::{DataKey, KeyRotation, Progress, RotationTarget},
        page::PageRequest,
    },
    flow::keys::{self, Kek, Keys},
};

#[tonic::async_trait]
impl KeyService for Rpc {
    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> std::result::Result<Response<ListKeysResponse>, Status> {
        reply(self.list_keys_page(request).await)
    }

    async fn rotate_keys(
        &self,
        request: Request<RotateKeysRequest>,
    ) -> std::result::Result<Response<ProtoRotation>, Status> {
        reply(self.begin_rotation(request).await)
    }
}

impl Rpc {
    async fn list_keys_page(&self, request: Request<ListKeysRequest>) -> Result<ListKeysResponse> {
        let (
            _,
            ListKeysRequest {
                page_size,
                page_token,
                workspace_id,
            },
        ) = split(request)?;
        let page = PageRequest::parse(page_size, &page_token)?;
        let Keys {
            keks,
            data_keys,
            rotations,
        } = keys::list(&self.0, parse_workspace(&workspace_id)?, page).await?;
        Ok(ListKeysResponse {
            key_encryption_keys: keks.into_iter().map(kek_to_proto).collect(),
            data_keys: data_keys.items.into_iter().map(key_to_proto).collect(),
            rotations: rotations.into_iter().map(to_proto).collect(),
            next_page_token: data_keys.next_page_token,
        })
    }

    async fn begin_rotation(&self, request: Request<RotateKeysRequest>) -> Result<ProtoRotation> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.KeyService/RotateKeys";
        let call = || async {
            let RotateKeysRequest {
                target,
                workspace_id,
                request_id: _,
            } = &message;
            let target = match Target::try_from(*target) {
                Ok(Target::Unspecified | Target::DataKeys) => RotationTarget::DataKeys,
                Ok(Target::KeyEncryptionKey) => RotationTarget::KeyEncryptionKey,
                Err(_) => {
                    return Err(Error::invalid(
                        "target",
                        "must be DATA_KEYS or KEY_ENCRYPTION_KEY",
                    ));
                }
            };
            keys::rotate(&self.0, &caller, target, parse_workspace(workspace_id)?)
                .await
                .map(to_proto)
        };
        once(
            &self.0,
            &caller,
            method,
            &message.request_id,
            &message,
            call,
        )
        .await
    }
}

fn parse_workspace(text: &str) -> Result<Option<WorkspaceId>> {
    match text {
        "" => Ok(None),
        id => parse_id("workspace_id", id).map(Some),
    }
}

/// A count, as the contract has it.
fn count(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

fn kek_to_proto(kek: Kek) -> KeyEncryptionKey {
    let Kek {
        id,
        current,
        data_keys,
    } = kek;
    KeyEncryptionKey {
        id,
        current,
        data_keys: count(data_keys),
    }
}

fn key_to_proto((key, rows_left): (DataKey, i64)) -> ProtoDataKey {
    let DataKey {
        id,
        workspace_id,
        kek_id,
        active,
        created_at,
        wrapped_at,
        seals,
        emptied_at: _,
    } = key;
    ProtoDataKey {
        id: id.to_string(),
        workspace_id: workspace_id.to_string(),
        kek_id,
        active,
        created_at: Some(timestamp(created_at)),
        wrapped_at: Some(timestamp(wrapped_at)),
        seals: count(seals),
        rows_left: count(rows_left),
    }
}

fn to_proto(rotation: KeyRotation) -> ProtoRotation {
    let KeyRotation {
        id,
        target,
        workspace_id,
        progress: Progress {
            total,
            done,
            failed,
        },
        created_at,
        started_at,
        finished_at,
    } = rotation;
    let target = match target {
        RotationTarget::DataKeys => Target::DataKeys,
        RotationTarget::KeyEncryptionKey => Target::KeyEncryptionKey,
    };
    ProtoRotation {
        id: id.to_string(),
        target: target.into(),
        workspace_id: workspace_id.map(|id| id.to_string()).unwrap_or_default(),
        total: count(total),
        done: count(done),
        failed: count(failed),
        created_at: Some(timestamp(created_at)),
        started_at: started_at.map(timestamp),
        finished_at: finished_at.map(timestamp),
    }
}
