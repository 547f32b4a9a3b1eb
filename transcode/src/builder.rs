//! Building a transcoder from a descriptor pool.

use std::{fmt, sync::Arc};

use http::header::HeaderName;
use prost_reflect::{DescriptorPool, ServiceDescriptor};

use crate::{
    Transcoder,
    config::Config,
    json::Names,
    route::{self, RouteError},
    table::Table,
};

/// 1 MiB.
const DEFAULT_MAX_BODY: usize = 1 << 20;

const DEFAULT_REQUEST_HEADERS: [&str; 5] = [
    "authorization",
    "x-request-id",
    "traceparent",
    "tracestate",
    "forwarded",
];

/// Collects the settings of a [`Transcoder`]; made by [`Transcoder::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    pool: DescriptorPool,
    services: Option<Vec<String>>,
    request_headers: Vec<String>,
    response_headers: Vec<String>,
    max_body: usize,
    names: Names,
}

/// Why a [`Transcoder`] could not be built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The pool does not define the `google.api.http` extension. Descriptors
    /// that went through `prost_types` have lost their options: decode the
    /// pool from the compiler's own bytes.
    MissingAnnotations,
    /// A service named with [`Builder::services`] is not in the pool.
    UnknownService {
        /// The name as it was given.
        service: String,
    },
    /// A header is not a valid name, or is one that the transcoder or HTTP
    /// itself sets (`content-type`, `te`, `grpc-…`, hop-by-hop headers).
    InvalidHeader {
        /// The name as it was given.
        header: String,
    },
    /// An annotation is invalid, or two of them answer the same requests.
    InvalidRule {
        /// The RPC's full name, `package.Service.Method`.
        method: String,
        /// The path template; empty when the rule has none.
        template: String,
        /// What is wrong.
        reason: String,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingAnnotations => {
                f.write_str("the descriptor pool does not define google.api.http")
            }
            Self::UnknownService { service } => {
                write!(f, "service {service} is not in the descriptor pool")
            }
            Self::InvalidHeader { header } => write!(f, "header {header:?} cannot be forwarded"),
            Self::InvalidRule {
                method,
                template,
                reason,
            } => write!(f, "method {method}, template {template:?}: {reason}"),
        }
    }
}

impl std::error::Error for BuildError {}

/// Without the pool: the `Debug` of a recursive message type has no end.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("services", &self.services)
            .field("request_headers", &self.request_headers)
            .field("response_headers", &self.response_headers)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new(pool: DescriptorPool) -> Self {
        Self {
            pool,
            services: None,
            request_headers: DEFAULT_REQUEST_HEADERS.map(str::to_owned).to_vec(),
            response_headers: Vec::new(),
            max_body: DEFAULT_MAX_BODY,
            names: Names::Original,
        }
    }

    /// Which services get a REST API, by full name. Default: every service in
    /// the pool that has annotations.
    pub fn services<I>(mut self, services: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.services = Some(services.into_iter().map(Into::into).collect());
        self
    }

    /// Which request headers are passed on as metadata, instead of the default
    /// `authorization`, `x-request-id`, `traceparent`, `tracestate` and
    /// `forwarded`. No other header reaches the inner service, except for the
    /// deadline.
    pub fn request_headers<I>(mut self, headers: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.request_headers = headers.into_iter().map(Into::into).collect();
        self
    }

    /// Which metadata of the answer (initial or trailing) becomes response
    /// headers. Default: none.
    pub fn response_headers<I>(mut self, headers: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.response_headers = headers.into_iter().map(Into::into).collect();
        self
    }

    /// The largest request body, in bytes. Default: 1 MiB.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Spells field names on output in lowerCamelCase (their `json_name`),
    /// where the default is the spelling of the `.proto` file. Input takes
    /// both either way.
    pub fn lower_camel_case(mut self, yes: bool) -> Self {
        self.names = if yes {
            Names::LowerCamel
        } else {
            Names::Original
        };
        self
    }

    /// Compiles all annotations.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] names the first annotation or setting that cannot work.
    pub fn build(self) -> Result<Transcoder, BuildError> {
        let services = match &self.services {
            None => self.pool.services().collect(),
            Some(names) => names
                .iter()
                .map(|name| find_service(&self.pool, name))
                .collect::<Result<Vec<_>, _>>()?,
        };
        let table = compile(&self.pool, &services)?;
        Ok(Transcoder::new(Config {
            table,
            names: self.names,
            request_headers: header_names(&self.request_headers)?,
            response_headers: header_names(&self.response_headers)?,
            max_body: self.max_body,
            pool: self.pool,
        }))
    }
}

fn find_service(pool: &DescriptorPool, name: &str) -> Result<ServiceDescriptor, BuildError> {
    pool.get_service_by_name(name)
        .ok_or_else(|| BuildError::UnknownService {
            service: name.to_owned(),
        })
}

fn compile(
    pool: &DescriptorPool,
    services: &[ServiceDescriptor],
) -> Result<Table<route::Route>, BuildError> {
    let extension = pool
        .get_extension_by_name("google.api.http")
        .ok_or(BuildError::MissingAnnotations)?;
    let mut table = Table::default();
    for rpc in services.iter().flat_map(ServiceDescriptor::methods) {
        let options = rpc.options();
        if !options.has_extension(&extension) {
            continue;
        }
        let rule = options.get_extension(&extension);
        let Some(rule) = rule.as_message() else {
            continue;
        };
        let invalid = |error: RouteError| BuildError::InvalidRule {
            method: rpc.full_name().to_owned(),
            template: error.template,
            reason: error.reason.into_owned(),
        };
        for route in route::compile(&rpc, rule).map_err(invalid)? {
            let template = route.source.clone();
            table.insert(Arc::new(route)).map_err(|other| {
                invalid(RouteError {
                    template,
                    reason: format!(
                        "answers the same requests as {:?} of {}",
                        other.source, other.rpc
                    )
                    .into(),
                })
            })?;
        }
    }
    Ok(table)
}

fn header_names(names: &[String]) -> Result<Vec<HeaderName>, BuildError> {
    const RESERVED: [&str; 11] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let mut out: Vec<HeaderName> = Vec::new();
    for name in names {
        let header: HeaderName = name
            .parse()
            .ok()
            .filter(|header: &HeaderName| {
                !RESERVED.contains(&header.as_str()) && !header.as_str().starts_with("grpc-")
            })
            .ok_or_else(|| BuildError::InvalidHeader {
                header: name.clone(),
            })?;
        if !out.contains(&header) {
            out.push(header);
        }
    }
    Ok(out)
}
