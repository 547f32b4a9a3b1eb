//! Mutations with a `request_id` (AIP-155), in protobuf.

use prost::Message;

use crate::{
    domain::{
        access::Caller,
        error::{Error, Result},
    },
    flow::{Core, answers},
};

/// Makes a call once per `request_id`, and answers what it answered then.
pub(super) async fn once<Q, A, F>(
    core: &Core,
    caller: &Caller,
    method: &str,
    request_id: &str,
    request: &Q,
    call: impl FnOnce() -> F,
) -> Result<A>
where
    Q: Message,
    A: Message + Default,
    F: Future<Output = Result<A>>,
{
    if request_id.is_empty() {
        return call().await;
    }
    let request = request.encode_to_vec();
    let encoded = async || call().await.map(|answer| answer.encode_to_vec());
    let answer = answers::once(core, caller, method, request_id, &request, encoded).await?;
    A::decode(answer.as_slice()).map_err(Error::internal)
}
