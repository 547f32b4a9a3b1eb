//! Server reflection for some of the services of a descriptor set.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::service::RoutesBuilder;

/// A `FileDescriptorSet` whose files stay encoded: decoding one drops the
/// custom options (`google.api.http`) that clients may want to see.
#[derive(Clone, PartialEq, Message)]
struct EncodedFiles {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// The descriptor set cannot be used for reflection.
#[derive(Debug, thiserror::Error)]
#[error("the descriptor set can't be reflected: {0}")]
pub struct ReflectionError(String);

/// Adds server reflection, v1 and v1alpha, that knows `services` (full names)
/// of `descriptor_set`, what their files import, the details that errors carry,
/// and health; nothing else.
///
/// # Errors
///
/// The descriptor set does not decode, or lacks one of `services`.
pub fn add_reflection(
    routes: &mut RoutesBuilder,
    descriptor_set: &[u8],
    services: &[&str],
) -> Result<(), ReflectionError> {
    let files = files_of(descriptor_set, services)?;
    let builder = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(&files)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        for service in services {
            builder = builder.with_service_name(*service);
        }
        builder
    };
    let failed = |error: tonic_reflection::server::Error| ReflectionError(error.to_string());
    let v1 = builder().with_service_name("grpc.reflection.v1.ServerReflection");
    routes.add_service(v1.build_v1().map_err(failed)?);
    let v1alpha = builder().with_service_name("grpc.reflection.v1alpha.ServerReflection");
    routes.add_service(v1alpha.build_v1alpha().map_err(failed)?);
    Ok(())
}

/// Where the messages are defined that errors carry as details: with it, a
/// client that knows nothing can still show them.
const ERROR_DETAILS: &str = "google/rpc/error_details.proto";

/// The files that define `services`, those of [`ERROR_DETAILS`] where there are
/// any, and all that they import.
fn files_of(descriptor_set: &[u8], services: &[&str]) -> Result<Vec<u8>, ReflectionError> {
    let decoded = |error: prost::DecodeError| ReflectionError(error.to_string());
    let encoded = EncodedFiles::decode(descriptor_set).map_err(decoded)?;
    let mut files = BTreeMap::new();
    for bytes in encoded.file {
        let file = FileDescriptorProto::decode(bytes.as_slice()).map_err(decoded)?;
        files.insert(file.name().to_owned(), (file, bytes));
    }
    let mut wanted = vec![ERROR_DETAILS.to_owned()];
    for service in services {
        let defines = |file: &FileDescriptorProto| {
            let mut names = file
                .service
                .iter()
                .map(|found| format!("{}.{}", file.package(), found.name()));
            names.any(|name| name == *service)
        };
        let found = files.values().find(|(file, _)| defines(file));
        let (file, _) = found.ok_or_else(|| ReflectionError(format!("{service} is not in it")))?;
        wanted.push(file.name().to_owned());
    }
    let mut kept = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if let Some((file, _)) = files.get(&name)
            && kept.insert(name)
        {
            wanted.extend(file.dependency.iter().cloned());
        }
    }
    let file = files
        .into_iter()
        .filter(|(name, _)| kept.contains(name))
        .map(|(_, (_, bytes))| bytes);
    Ok(EncodedFiles {
        file: file.collect(),
    }
    .encode_to_vec())
}
