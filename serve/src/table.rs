//! The methods that are served, by gRPC path.

use std::{collections::HashMap, sync::Arc};

use prost_reflect::DescriptorPool;

/// Paths that every service here has besides its own.
const COMMON: [(&str, bool); 5] = [
    ("/grpc.health.v1.Health/Check", false),
    ("/grpc.health.v1.Health/List", false),
    ("/grpc.health.v1.Health/Watch", true),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        true,
    ),
    (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        true,
    ),
];

/// One method.
#[derive(Debug, Clone)]
pub(crate) struct Rpc {
    pub(crate) path: Arc<str>,
    /// Whether either side may send more than one message.
    pub(crate) streams: bool,
}

/// The known methods: what may be a label, and what has a default deadline.
#[derive(Debug, Clone)]
pub(crate) struct RpcTable(Arc<HashMap<Arc<str>, Rpc>>);

impl RpcTable {
    /// The methods of `services` (full names), and those of health and
    /// reflection.
    pub(crate) fn new(pool: &DescriptorPool, services: &[String]) -> Self {
        let wanted = pool
            .services()
            .filter(|service| services.iter().any(|name| name == service.full_name()));
        let own = wanted.flat_map(|service| {
            let name = service.full_name().to_owned();
            let rpc = move |method: prost_reflect::MethodDescriptor| {
                let streams = method.is_server_streaming() || method.is_client_streaming();
                (format!("/{name}/{}", method.name()), streams)
            };
            service.methods().map(rpc).collect::<Vec<_>>()
        });
        let common = COMMON
            .into_iter()
            .map(|(path, streams)| (path.to_owned(), streams));
        let rpcs = own.chain(common).map(|(path, streams)| {
            let path: Arc<str> = path.into();
            (path.clone(), Rpc { path, streams })
        });
        Self(Arc::new(rpcs.collect()))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Rpc> {
        self.0.get(path)
    }
}
