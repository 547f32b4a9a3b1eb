//! Paths to fields inside a message.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::{json::WellKnown, scalar::Problem};

/// A path from a message to a field that text can give a value to.
#[derive(Clone)]
pub(crate) struct FieldPath(Vec<FieldDescriptor>);

impl FieldPath {
    /// Resolves names, in either spelling, outermost first.
    pub(crate) fn resolve<'n>(
        root: &MessageDescriptor,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Self, Problem> {
        let mut fields: Vec<FieldDescriptor> = Vec::new();
        let mut desc = root.clone();
        for name in names {
            if let Some(parent) = fields.last() {
                desc = enter(parent)?;
            }
            let field = desc
                .get_field_by_name(name)
                .or_else(|| desc.get_field_by_json_name(name))
                .ok_or("no such field")?;
            fields.push(field);
        }
        Ok(Self(fields))
    }

    /// The field at the end of the path.
    pub(crate) fn leaf(&self) -> Option<&FieldDescriptor> {
        self.0.last()
    }

    /// The path in the spelling of the `.proto` file.
    pub(crate) fn name(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(FieldDescriptor::name).collect();
        names.join(".")
    }

    pub(crate) fn starts_with(&self, field: &FieldDescriptor) -> bool {
        self.0.first() == Some(field)
    }

    /// Sets the field, or appends to it when it is repeated.
    pub(crate) fn put(&self, message: &mut DynamicMessage, value: Value) {
        let Some((leaf, parents)) = self.0.split_last() else {
            return;
        };
        let mut message = message;
        for parent in parents {
            match message.get_field_mut(parent) {
                Value::Message(inner) => message = inner,
                // `resolve` went through singular messages only.
                _ => return,
            }
        }
        if leaf.is_list() {
            if let Value::List(values) = message.get_field_mut(leaf) {
                values.push(value);
            }
        } else {
            message.set_field(leaf, value);
        }
    }

    /// The name of a oneof of which another member is set already.
    pub(crate) fn conflict(&self, message: &DynamicMessage) -> Option<String> {
        let (field, rest) = self.0.split_first()?;
        if let Some(oneof) = field.containing_oneof()
            && oneof
                .fields()
                .any(|other| other != *field && message.has_field(&other))
        {
            return Some(oneof.name().to_owned());
        }
        match message.get_field(field).as_ref() {
            Value::Message(inner) => Self(rest.to_vec()).conflict(inner),
            _ => None,
        }
    }
}

impl PartialEq for FieldPath {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

fn enter(field: &FieldDescriptor) -> Result<MessageDescriptor, Problem> {
    if field.is_map() {
        return Err("a map cannot be named field by field".into());
    }
    if field.is_list() {
        return Err("the fields of a repeated message cannot be named".into());
    }
    match field.kind() {
        Kind::Message(desc) if WellKnown::of(&desc).is_none() => Ok(desc),
        Kind::Message(_) => Err("a well-known type is given as a whole".into()),
        _ => Err("no such field".into()),
    }
}
