//! What the services of Dromos share about listening: settings, telemetry,
//! one port for gRPC, gRPC-Web and REST, and the errors they answer with.
//!
//! A request walks through, from the outside in: [`serve`] (TCP, TLS, HTTP) →
//! [`observe`] (its id, its log line) → the app's own layers (CORS) → the
//! dispatch by content type → gRPC-Web or REST become gRPC → the RPC layer
//! (deadline, limits, metrics, panics) → the gRPC service.

mod app;
mod cidr;
mod context;
mod deadline;
mod discovery;
mod dispatch;
mod limit;
mod listener;
mod log_json;
mod log_writer;
mod meter;
mod observe;
mod preface;
mod problem;
mod rpc;
mod rpc_body;
mod settings;
mod signal;
pub mod status;
mod table;
pub mod telemetry;
mod tls;
pub mod traces;

pub use app::{GrpcApp, MAX_BODY};
pub use cidr::{Cidr, CidrError};
pub use context::{REQUEST_ID, RequestContext, Transport, code_name};
pub use deadline::{Deadline, Deadlines, GRPC_TIMEOUT, format_timeout, parse_timeout};
pub use discovery::{ReflectionError, add_reflection};
pub use listener::{ListenOptions, serve};
pub use observe::observe;
pub use settings::{EXIT_CONFIG, Settings, SettingsError};
pub use signal::shutdown_signal;
pub use tls::{TlsIdentity, read_certificates, read_private_key};
