//! Query parameters to fields.

use prost_reflect::{DynamicMessage, ReflectMessage as _};

use crate::{
    field::FieldPath,
    name,
    percent::{self, Mode},
    route::{BodyRule, Route},
    scalar,
    status::Failure,
};

/// Sets the fields that the query names.
pub(crate) fn apply(
    route: &Route,
    query: &str,
    message: &mut DynamicMessage,
) -> Result<(), Failure> {
    let mut seen: Vec<FieldPath> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let broken = || Failure::invalid("the query is not percent-encoded UTF-8");
        let key = percent::decode(key, Mode::Query).ok_or_else(broken)?;
        let value = percent::decode(value, Mode::Query).ok_or_else(broken)?;
        let path = resolve(route, &key, message)?;
        let refuse = |problem: scalar::Problem| Failure::invalid_field(path.name(), problem);
        let Some(leaf) = path.leaf() else {
            continue;
        };
        if !leaf.is_list() {
            if seen.contains(&path) {
                return Err(refuse("given more than once".into()));
            }
            if let Some(oneof) = path.conflict(message) {
                return Err(refuse(
                    format!("another field of the oneof \"{oneof}\" is set").into(),
                ));
            }
        }
        let value = scalar::from_text(&leaf.kind(), &value).map_err(refuse)?;
        path.put(message, value);
        seen.push(path);
    }
    Ok(())
}

fn resolve(route: &Route, key: &str, message: &DynamicMessage) -> Result<FieldPath, Failure> {
    let refuse = |problem: scalar::Problem| Failure::invalid_field(name::safe(key), problem);
    let path =
        FieldPath::resolve(&message.descriptor(), key.split('.')).map_err(
            |problem| match problem.as_ref() {
                "no such field" => refuse(name::quoted("unknown query parameter", key).into()),
                _ => refuse(problem),
            },
        )?;
    if route.variables.contains(&path) {
        return Err(refuse("is given by the path, not the query".into()));
    }
    match &route.body {
        BodyRule::Whole { .. } => return Err(refuse("belongs in the body, not the query".into())),
        BodyRule::Field { field, .. } if path.starts_with(field) => {
            return Err(refuse("belongs in the body, not the query".into()));
        }
        BodyRule::Field { .. } | BodyRule::None => {}
    }
    match path.leaf() {
        Some(leaf) if leaf.is_map() => Err(refuse("a map cannot be given in the query".into())),
        Some(leaf) if !scalar::has_text_form(&leaf.kind()) => Err(refuse(
            "a message cannot be given in the query; name its fields".into(),
        )),
        _ => Ok(path),
    }
}
