//! REST for gRPC services, from their `google.api.http` annotations.
//!
//! A [`Transcoder`] is built at run time from a [`DescriptorPool`] and put in
//! front of any gRPC service that speaks [`tower::Service`]: tonic's routes in
//! the same process, or a channel to another server. gRPC requests pass
//! through; all others are matched against the annotations, turned into gRPC
//! requests, dispatched in process, and their answers turned into JSON.
//!
//! ```
//! # fn demo(descriptor_set: &[u8], routes: tonic::service::Routes)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let pool = prost_reflect::DescriptorPool::decode(descriptor_set)?;
//! let transcoder = transcode::Transcoder::builder(pool)
//!     .services(["library.v1.LibraryService"])
//!     .response_headers(["cache-control"])
//!     .build()?;
//! let service = transcoder.service(routes.prepare());
//! # let _ = service;
//! # Ok(())
//! # }
//! ```
//!
//! Decode the pool from the compiler's own bytes: descriptors that went
//! through `prost_types` have lost their annotations.
//!
//! # Requests
//!
//! - Path templates: all forms of the grammar in `google/api/http.proto`. A
//!   literal beats `*`, which beats `**`; a template with the path's `:verb`
//!   beats one without. In a single-segment variable every escape is decoded,
//!   in a multi-segment one `%2F` stays.
//! - Fields that neither the path nor the body gives are query parameters, in
//!   snake_case or lowerCamelCase, nested ones with dots, repeated ones
//!   repeated. Unknown ones are refused.
//! - Bodies are JSON, or anything for a `google.api.HttpBody`. An empty body
//!   leaves its field unset. Values of the path win over those of the body.
//! - `grpc-timeout`, or `x-request-timeout` in decimal seconds, is passed on
//!   as `grpc-timeout`; enforcing it is up to the inner service.
//! - Only listed headers become metadata ([`Builder::request_headers`]).
//! - The inner service tells REST from gRPC by the [`Transcoded`] extension.
//!
//! # Answers
//!
//! - proto3 JSON. Fields without presence are always written, unset ones with
//!   presence never. An `Any` of a type that the pool does not know is written
//!   as `{"@type", "value": base64}`.
//! - Server streams are NDJSON, `{"result": …}` a line and `{"error": …}` in
//!   the last if they fail; or the same objects as server-sent events, for
//!   `Accept: text/event-stream`.
//! - Errors are `google.rpc.Status` as JSON under the canonical HTTP status.
//!   They name fields, never values.

pub use builder::{BuildError, Builder};
pub use prost_reflect::DescriptorPool;
pub use request::Transcoded;
pub use service::{ResponseFuture, TranscodeService, Transcoder};

mod builder;
mod config;
mod field;
mod json;
mod messages;
mod name;
mod percent;
mod query;
mod request;
mod response;
mod route;
mod scalar;
mod service;
mod status;
mod stream;
mod table;
mod template;
mod timeout;
