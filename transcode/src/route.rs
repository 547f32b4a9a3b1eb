//! One binding of an RPC to an HTTP method and a path, compiled from its
//! `google.api.HttpRule`.

use std::borrow::Cow;

use http::{Method, Uri};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use crate::{field::FieldPath, scalar, table::Entry, template::Template};

pub(crate) const HTTP_BODY: &str = "google.api.HttpBody";

pub(crate) struct Route {
    /// `None` answers every HTTP method.
    pub(crate) method: Option<Method>,
    /// The template as the annotation spells it.
    pub(crate) source: String,
    pub(crate) template: Template,
    /// The field of each of the template's variables, in the same order.
    pub(crate) variables: Vec<FieldPath>,
    pub(crate) body: BodyRule,
    pub(crate) response_body: Option<FieldDescriptor>,
    pub(crate) input: MessageDescriptor,
    pub(crate) output: MessageDescriptor,
    /// `/package.Service/Method`.
    pub(crate) uri: Uri,
    pub(crate) server_streaming: bool,
    /// Whether the answer is a `google.api.HttpBody`: bytes, not JSON.
    pub(crate) raw_response: bool,
    pub(crate) rpc: String,
}

/// What the request body stands for. `raw`: a `google.api.HttpBody`.
pub(crate) enum BodyRule {
    None,
    Whole { raw: bool },
    Field { field: FieldDescriptor, raw: bool },
}

impl Entry for Route {
    fn template(&self) -> &Template {
        &self.template
    }

    fn method(&self) -> Option<&Method> {
        self.method.as_ref()
    }
}

/// Why a rule was refused, and the template it has, where it has one.
pub(crate) struct RouteError {
    pub(crate) template: String,
    pub(crate) reason: Cow<'static, str>,
}

/// Compiles a rule and its additional bindings.
pub(crate) fn compile(
    rpc: &MethodDescriptor,
    rule: &DynamicMessage,
) -> Result<Vec<Route>, RouteError> {
    let mut routes = vec![compile_one(rpc, rule)?];
    for binding in messages(rule, "additional_bindings") {
        if !messages(&binding, "additional_bindings").is_empty() {
            return Err(RouteError {
                template: String::new(),
                reason: "additional bindings must not be nested".into(),
            });
        }
        routes.push(compile_one(rpc, &binding)?);
    }
    Ok(routes)
}

fn compile_one(rpc: &MethodDescriptor, rule: &DynamicMessage) -> Result<Route, RouteError> {
    let (method, source) = pattern(rule).map_err(|reason| RouteError {
        template: String::new(),
        reason,
    })?;
    build(rpc, rule, method, &source).map_err(|reason| RouteError {
        template: source,
        reason,
    })
}

fn build(
    rpc: &MethodDescriptor,
    rule: &DynamicMessage,
    method: Option<Method>,
    source: &str,
) -> Result<Route, Cow<'static, str>> {
    if rpc.is_client_streaming() {
        return Err("a client-streaming RPC has no REST form".into());
    }
    let (input, output) = (rpc.input(), rpc.output());
    let template = Template::parse(source)?;
    let variables = template
        .variables
        .iter()
        .map(|variable| bind(&input, &variable.path))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(twice) = repeated(&variables) {
        return Err(format!("field {} is bound by two variables", twice.name()).into());
    }
    let body = match text(rule, "body").as_str() {
        "" => BodyRule::None,
        "*" => BodyRule::Whole {
            raw: input.full_name() == HTTP_BODY,
        },
        name => {
            let field = input
                .get_field_by_name(name)
                .ok_or_else(|| format!("body names no field of {}: {name}", input.full_name()))?;
            let own = FieldPath::resolve(&input, [name])?;
            if variables.contains(&own) {
                return Err(format!("field {name} is bound by the path and the body").into());
            }
            let raw = is_http_body(&field);
            BodyRule::Field { field, raw }
        }
    };
    let response_body = match text(rule, "response_body").as_str() {
        "" => None,
        name => Some(output.get_field_by_name(name).ok_or_else(|| {
            format!(
                "response_body names no field of {}: {name}",
                output.full_name()
            )
        })?),
    };
    let raw_response = match &response_body {
        Some(field) => is_http_body(field),
        None => output.full_name() == HTTP_BODY,
    };
    let uri = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
    Ok(Route {
        method,
        source: source.to_owned(),
        template,
        variables,
        body,
        response_body,
        input,
        output,
        uri: uri
            .parse()
            .map_err(|_| "the RPC's name is not a valid path")?,
        server_streaming: rpc.is_server_streaming(),
        raw_response,
        rpc: rpc.full_name().to_owned(),
    })
}

fn bind(input: &MessageDescriptor, names: &[Box<str>]) -> Result<FieldPath, Cow<'static, str>> {
    let name = || names.join(".");
    let path = FieldPath::resolve(input, names.iter().map(AsRef::as_ref))
        .map_err(|problem| format!("variable {}: {problem}", name()))?;
    let problem = match path.leaf() {
        Some(leaf) if leaf.is_map() => "is a map",
        Some(leaf) if leaf.is_list() => "is repeated",
        Some(leaf) if !scalar::has_text_form(&leaf.kind()) => "is a message",
        _ => return Ok(path),
    };
    Err(format!(
        "variable {} {problem}, a path gives single values only",
        name()
    )
    .into())
}

fn repeated(paths: &[FieldPath]) -> Option<&FieldPath> {
    let mut rest = paths;
    while let Some((first, tail)) = rest.split_first() {
        if tail.contains(first) {
            return Some(first);
        }
        rest = tail;
    }
    None
}

fn is_http_body(field: &FieldDescriptor) -> bool {
    !field.is_list() && matches!(field.kind(), Kind::Message(desc) if desc.full_name() == HTTP_BODY)
}

/// The HTTP method and the path template of a rule.
fn pattern(rule: &DynamicMessage) -> Result<(Option<Method>, String), Cow<'static, str>> {
    for method in [
        Method::GET,
        Method::PUT,
        Method::POST,
        Method::DELETE,
        Method::PATCH,
    ] {
        let name = method.as_str().to_ascii_lowercase();
        if rule.has_field_by_name(&name) {
            return Ok((Some(method), text(rule, &name)));
        }
    }
    let custom = rule
        .has_field_by_name("custom")
        .then(|| rule.get_field_by_name("custom"))
        .flatten();
    let Some(custom) = custom.as_ref().and_then(|value| value.as_message()) else {
        return Err("the rule has no HTTP method and path".into());
    };
    let kind = text(custom, "kind");
    let method = match kind.as_str() {
        "*" => None,
        kind => Some(
            Method::from_bytes(kind.as_bytes())
                .map_err(|_| format!("the custom kind is not an HTTP method: {kind}"))?,
        ),
    };
    Ok((method, text(custom, "path")))
}

fn text(message: &DynamicMessage, name: &str) -> String {
    message
        .get_field_by_name(name)
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn messages(message: &DynamicMessage, name: &str) -> Vec<DynamicMessage> {
    let value = message.get_field_by_name(name);
    let list = value.as_ref().and_then(|value| value.as_list());
    list.unwrap_or_default()
        .iter()
        .filter_map(|value| value.as_message().cloned())
        .collect()
}
