//! The internal listener's gRPC services: authenticate, validate, convert. The
//! only place that knows protobuf.

use std::sync::Arc;

use dromos_proto::{
    FILE_DESCRIPTOR_SET, broker_v1,
    v1::{
        access_service_server, audit_service_server, key_service_server, provider_service_server,
        webhook_service_server, workspace_service_server,
    },
};
use tonic::{Request, service::Routes};
use tonic_health::ServingStatus;

use crate::{
    domain::{
        access::Caller,
        error::{Error, ErrorKind, Result},
    },
    flow::Core,
};

mod access;
mod audit;
pub mod authenticate;
mod connections;
mod convert;
mod field_mask;
mod keys;
mod provider_convert;
mod providers;
mod repeatable;
pub mod status;
mod watch;
mod webhooks;
mod workspaces;

/// The services that the internal listener serves.
pub const SERVICES: [&str; 7] = [
    "dromos.broker.v1.ConnectionService",
    "dromos.v1.ProviderService",
    "dromos.v1.WorkspaceService",
    "dromos.v1.AccessService",
    "dromos.v1.AuditService",
    "dromos.v1.WebhookService",
    "dromos.v1.KeyService",
];

/// One RPC's world: the flows.
#[derive(Clone)]
struct Rpc(Arc<Core>);

/// All services, with health and reflection.
///
/// # Errors
/// The contract that this program was built with can't be reflected.
pub async fn routes(
    core: &Arc<Core>,
) -> std::result::Result<Routes, dromos_serve::ReflectionError> {
    let rpc = Rpc(core.clone());
    let mut routes = Routes::builder();
    routes
        .add_service(
            broker_v1::connection_service_server::ConnectionServiceServer::new(rpc.clone()),
        )
        .add_service(provider_service_server::ProviderServiceServer::new(
            rpc.clone(),
        ))
        .add_service(workspace_service_server::WorkspaceServiceServer::new(
            rpc.clone(),
        ))
        .add_service(access_service_server::AccessServiceServer::new(rpc.clone()))
        .add_service(audit_service_server::AuditServiceServer::new(rpc.clone()))
        .add_service(webhook_service_server::WebhookServiceServer::new(
            rpc.clone(),
        ))
        .add_service(key_service_server::KeyServiceServer::new(rpc));
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in SERVICES {
        reporter
            .set_service_status(service, ServingStatus::Serving)
            .await;
    }
    routes.add_service(health);
    dromos_serve::add_reflection(&mut routes, FILE_DESCRIPTOR_SET, &SERVICES)?;
    Ok(routes.routes().prepare())
}

/// Takes a request apart: who calls, and with what.
fn split<T>(request: Request<T>) -> Result<(Caller, T)> {
    let (_, extensions, message) = request.into_parts();
    // The authentication layer puts it there; a call that came around it has none.
    let caller = extensions.get::<Caller>().cloned();
    let caller = caller
        .ok_or_else(|| Error::new(ErrorKind::Unauthenticated, "a valid API key is required"))?;
    Ok((caller, message))
}
