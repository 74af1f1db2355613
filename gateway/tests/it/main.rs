//! The real gateway binary on real sockets: routing, faults of upstreams, DNS, EndpointSlices, limits, start to exit.

mod common;
mod dns;
mod endpoint_slices;
mod faults;
mod lifecycle;
mod limits;
mod resilience;
mod routing;
mod tls_front;
