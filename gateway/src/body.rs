//! The bodies that pass through: never buffered, watched while they pass.

mod request;
mod response;

pub use request::{ClientBody, RequestBody};
pub use response::{ReadLimits, ResponseBody, UpstreamBody};

/// Errors of a streamed body end the connection; their kind only matters to the log.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
