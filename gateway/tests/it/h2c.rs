//! HTTP/2 towards upstreams, and gRPC through the gateway: streams, trailers, cancellation, and what may be sent again.

mod answers;
mod connections;
mod deadlines;
mod frames;
mod resends;
mod streaming;
mod trailers;
mod unary;
pub(crate) mod upstream;
