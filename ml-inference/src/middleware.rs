//! The layers around every request, one concern a file. The stack gives their order and the reasons.

mod access_log;
mod context;
mod cors;
mod identity;

pub use access_log::AccessLogLayer;
pub use context::ContextLayer;
pub use cors::CorsLayer;
pub use identity::Identity;
