//! The same call over gRPC, gRPC-Web and REST: the same answer, the same error.

mod answers;
mod bad_input;
mod bad_requests;
mod call;
mod clients;
mod errors;
mod internal;
mod observed;
mod table;
