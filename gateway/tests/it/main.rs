//! The real gateway binary on real sockets: routing, faults of upstreams, DNS, EndpointSlices, limits, start to exit.

mod cors;
mod dns;
mod endpoint_slices;
mod faults;
mod h2c;
mod harness;
mod http1;
mod http2;
mod http2_drain;
mod lifecycle;
mod limits;
mod messages;
mod proxies;
mod proxy_protocol;
mod reload;
mod resilience;
mod route_fuzz;
mod routing;
mod streams;
mod upgrade;
mod versions;
