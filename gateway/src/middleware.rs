//! The layers that a request passes on its way to the proxy: small tower layers that buffer nothing.

pub(crate) mod access_log;
pub(crate) mod api_key;
pub(crate) mod body_limit;
pub(crate) mod error_response;
pub(crate) mod exchange;
pub(crate) mod guard;
pub(crate) mod routing;
