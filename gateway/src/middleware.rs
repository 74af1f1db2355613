//! What a request passes on its way to the proxy: small tower layers that buffer nothing.
//!
//! Inside the stack a request travels as an [`exchange::Exchange`]: a plain struct, because http's extension
//! map would cost allocations for each thing it carries.

pub(crate) mod access_log;
pub(crate) mod api_key;
pub(crate) mod body_limit;
pub(crate) mod error_response;
pub(crate) mod exchange;
pub(crate) mod grpc;
pub(crate) mod guard;
pub(crate) mod present;
pub(crate) mod routing;
