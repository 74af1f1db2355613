//! The bodies that pass through, and the tunnel that may follow instead: never buffered, watched while they pass.

mod request;
mod response;
mod tunnel;

pub use request::{ClientBody, RequestBody};
pub use response::{ReadLimits, ResponseBody, UpstreamBody};
pub use tunnel::{Ended, Tunnel};

/// Errors of a streamed body end the connection; their kind only matters to the log.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
