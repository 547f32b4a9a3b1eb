//! The wire contract of Dromos, generated from the `.proto` files beside this
//! crate: the public API (`dromos.v1`) and the broker's internal one
//! (`dromos.broker.v1`).

use std::{collections::BTreeMap, sync::LazyLock};

use prost_reflect::DescriptorPool;

/// The generated messages, clients and servers.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod dromos {
    /// The public API, which the gateway serves.
    pub mod v1 {
        include!("gen/dromos.v1.rs");
    }
    /// The internal API, which the broker serves to gateways.
    pub mod broker {
        /// Its first version.
        pub mod v1 {
            include!("gen/dromos.broker.v1.rs");
        }
    }
}

pub use dromos::{broker::v1 as broker_v1, v1};

/// The encoded `FileDescriptorSet`, custom options included, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptor.binpb");

/// The same, parsed.
pub static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the committed descriptor set is valid")
});

/// The scope that each method needs, by gRPC path
/// (`/dromos.v1.ConnectionService/GetToken`), from the option
/// `(dromos.v1.access)`. A method that is not here must be refused.
pub static ACCESS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let extension = POOL
        .get_extension_by_name("dromos.v1.access")
        .expect("the descriptor set defines dromos.v1.access");
    let mut rules = BTreeMap::new();
    for method in POOL
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        let options = method.options();
        let rule = options.get_extension(&extension);
        let scope = rule
            .as_message()
            .and_then(|rule| Some(rule.get_field_by_name("scope")?.as_str()?.to_owned()));
        if let Some(scope) = scope.filter(|scope| !scope.is_empty()) {
            rules.insert(
                format!("/{}/{}", method.parent_service().full_name(), method.name()),
                scope,
            );
        }
    }
    rules
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_an_access_rule() {
        let methods: Vec<String> = POOL
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()))
            .collect();
        assert!(methods.len() > 20, "the descriptor set holds the services");
        for method in methods {
            assert!(ACCESS.contains_key(&method), "{method} has no access rule");
        }
    }
}
