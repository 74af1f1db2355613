//! The HTTP side: which path means what at which listener, request bodies within their limits, probes.
//!
//! Connections are `shared::serve`'s business, what surrounds every request is the stack's, and what a body
//! means is the protocol's.

pub mod admin;
mod body;
mod context;
mod error;
mod inference;
mod lab;
mod mlflow;
mod offload;
mod open_inference;
mod path;
mod probes;
mod response;
mod router;
mod state;
mod tf_serving;

pub use context::ParsedRequest;
pub use response::ResponseBody;
pub use router::answer;
pub use state::ServiceState;
