//! Partial updates (AIP-134): the named fields of a new message, over an old
//! one.

use dromos_proto::POOL;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage};
use prost_types::FieldMask;

use crate::domain::error::{Error, Result};

/// `update` over `current`, as far as the mask says: without one, all fields
/// that are set; with `*`, all.
pub(super) fn apply<M: Message + Default>(
    full_name: &str,
    current: &M,
    update: &M,
    mask: Option<FieldMask>,
) -> Result<M> {
    let descriptor = POOL
        .get_message_by_name(full_name)
        .ok_or_else(|| Error::internal("a message that is not in the descriptor set"))?;
    let mut merged = dynamic(&descriptor, current)?;
    let update = dynamic(&descriptor, update)?;
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.iter().any(|path| path == "*") {
        merged = update;
    } else if paths.is_empty() {
        merge_set(&mut merged, &update);
    } else {
        for path in paths {
            let names: Vec<&str> = path.split('.').collect();
            copy(&mut merged, &update, &names).ok_or_else(|| {
                Error::invalid(
                    "update_mask",
                    format!("{path} is not a field of {}", descriptor.name()),
                )
            })?;
        }
    }
    M::decode(merged.encode_to_vec().as_slice()).map_err(Error::internal)
}

fn dynamic<M: Message>(descriptor: &MessageDescriptor, message: &M) -> Result<DynamicMessage> {
    DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice())
        .map_err(Error::internal)
}

fn merge_set(target: &mut DynamicMessage, source: &DynamicMessage) {
    for (field, value) in source.fields() {
        // What is a map or a JSON object is one value, not a set of fields.
        let nested = value
            .as_message()
            .filter(|_| field.containing_oneof().is_none());
        match (nested, target.get_field_mut(&field).as_message_mut()) {
            (Some(source), Some(target))
                if source.descriptor().package_name().starts_with("dromos.") =>
            {
                merge_set(target, source);
            }
            _ => target.set_field(&field, value.clone()),
        }
    }
}

fn copy(target: &mut DynamicMessage, source: &DynamicMessage, path: &[&str]) -> Option<()> {
    let (name, rest) = path.split_first()?;
    let field = target.descriptor().get_field_by_name(name)?;
    if !rest.is_empty() {
        let source = source.get_field(&field).as_message()?.clone();
        return copy(
            target.get_field_mut(&field).as_message_mut()?,
            &source,
            rest,
        );
    }
    if source.has_field(&field) {
        target.set_field(&field, source.get_field(&field).into_owned());
    } else {
        target.clear_field(&field);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use dromos_proto::v1::{OAuth2, Provider};

    use super::*;

    fn provider(display_name: &str, client_id: &str, scopes: &[&str]) -> Provider {
        Provider {
            display_name: display_name.into(),
            oauth2: Some(OAuth2 {
                client_id: client_id.into(),
                scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
                ..OAuth2::default()
            }),
            ..Provider::default()
        }
    }

    fn merge(update: &Provider, paths: Option<&[&str]>) -> Result<Provider> {
        let mask = paths.map(|paths| FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        });
        apply(
            "dromos.v1.Provider",
            &provider("Old", "old", &["a"]),
            update,
            mask,
        )
    }

    #[test]
    fn a_mask_changes_what_it_names_and_nothing_else() {
        let update = provider("New", "new", &[]);
        assert_eq!(
            merge(&update, Some(&["display_name"])).ok(),
            Some(provider("New", "old", &["a"]))
        );
        assert_eq!(
            merge(&update, Some(&["oauth2.scopes"])).ok(),
            Some(provider("Old", "old", &[]))
        );
        assert_eq!(merge(&update, Some(&["*"])).ok(), Some(update));
    }

    #[test]
    fn without_a_mask_the_fields_that_are_set_change() {
        assert_eq!(
            merge(&provider("", "new", &[]), None).ok(),
            Some(provider("Old", "new", &["a"]))
        );
    }

    #[test]
    fn a_mask_that_names_no_field_is_refused() {
        assert!(merge(&Provider::default(), Some(&["nothing"])).is_err());
        assert!(merge(&Provider::default(), Some(&["name.x"])).is_err());
    }
}
