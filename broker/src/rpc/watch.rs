//! dromos.broker.v1.ConnectionService.WatchConnection.

use dromos_proto::v1::{WatchConnectionRequest, WatchConnectionResponse};
use futures_util::{StreamExt, stream, stream::BoxStream};
use tonic::{Request, Status};

use super::{
    Rpc,
    connections::{payload, proto_status},
    convert::{parse_id, timestamp},
    split, status,
};
use crate::{
    domain::error::Result,
    flow::watch::{self, Change, WatchRequest},
};

/// The stream. It makes the next message when that is asked for.
pub(super) type Changes = BoxStream<'static, std::result::Result<WatchConnectionResponse, Status>>;

impl Rpc {
    pub(super) async fn watch(&self, request: Request<WatchConnectionRequest>) -> Result<Changes> {
        let (caller, message) = split(request)?;
        let WatchConnectionRequest {
            connection_id,
            resume_token,
            include_credentials,
        } = message;
        let request = WatchRequest {
            connection_id: parse_id("connection_id", &connection_id)?,
            resume_token,
            include_credentials,
        };
        let watch = watch::open(&self.0, caller, request).await?;
        Ok(stream::unfold(watch, async |mut watch| {
            let next = watch.next().await?;
            Some((next.map(to_proto).map_err(status::of), watch))
        })
        .boxed())
    }
}

fn to_proto(change: Change) -> WatchConnectionResponse {
    let (event_id, event_type) = match change.event {
        Some((id, kind)) => (id.to_string(), kind.as_str().to_owned()),
        None => Default::default(),
    };
    WatchConnectionResponse {
        connection_id: change.connection_id.to_string(),
        event_type,
        event_id,
        status: proto_status(change.status).into(),
        reason: change.reason,
        generation: change.generation,
        occurred_at: Some(timestamp(change.occurred_at)),
        resume_token: change.resume_token,
        payload: change.payload.map(payload),
    }
}
