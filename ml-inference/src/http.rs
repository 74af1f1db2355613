//! The HTTP side: which path means what at which listener, request bodies within their limits, probes.
//!
//! Connections are `shared::serve`'s business, what surrounds every request is the stack's, and what a body
//! means is the protocol's.

pub mod admin;
mod answer;
mod body;
mod error;
mod lab;
mod offload;
mod open_inference;
mod probes;
mod router;
mod state;
mod tf_serving;

pub use answer::{Answer, X_MODEL_VERSION};
pub use router::{answer, route_of};
pub use state::State;
