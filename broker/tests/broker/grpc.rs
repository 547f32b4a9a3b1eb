//! gRPC calls as the tests make them, without a client for each service.

use dromos_proto::POOL;
use http::uri::PathAndQuery;
use tonic::{
    Code, Request, Status,
    metadata::{MetadataKey, MetadataValue},
    transport::Channel,
};
use tonic_types::StatusExt;

/// Calls a method with an empty message and these headers: the code, and the
/// ErrorInfo's reason.
pub async fn call_empty(url: &str, path: &str, headers: &[(&str, &str)]) -> (Code, String) {
    let channel = Channel::from_shared(url.to_owned())
        .expect("a URL")
        .connect_lazy();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("a channel");
    let mut request = Request::new(());
    for (name, value) in headers {
        request.metadata_mut().insert(
            MetadataKey::from_bytes(name.as_bytes()).expect("a header's name"),
            MetadataValue::try_from(*value).expect("a header's value"),
        );
    }
    let path: PathAndQuery = path.parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    match client.unary(request, path, codec).await {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), reason(&status)),
    }
}

/// The ErrorInfo's reason.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

/// The paths of all methods of the contract that `keep` keeps, by the full name
/// of their service.
pub fn methods(keep: impl Fn(&str) -> bool) -> Vec<String> {
    POOL.services()
        .filter(|service| keep(service.full_name()))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()))
        .collect()
}
