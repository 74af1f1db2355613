//! The real gateway binary on real sockets: routing, faults of upstreams, DNS, limits, start to exit.

mod common;
mod dns;
mod faults;
mod lifecycle;
mod limits;
mod resilience;
mod routing;
