//! Support for tests that start the real binaries on real sockets.
//!
//! ```text
//! Process    starts a binary, keeps its output, waits for log lines and for its end
//! Spawned    a child process without any of these; errors instead of panics
//! RawClient  speaks HTTP/1.1 byte by byte: half requests, broken ones, slow ones
//! RawHttp2   speaks HTTP/2 frame by frame, likewise
//! Upstream   a scripted server: answers, hangs, resets, closes
//! DnsServer  names and their addresses, as the test says
//! ApiServer  a Kubernetes API server as far as EndpointSlices go: list and watch
//! TlsFront   TLS before any of these
//! TcpFront   a way to any of these, which drops or resets
//! Mount      a directory that changes at once, as a ConfigMap or a Secret
//! Scratch    a directory that is gone afterwards
//! fuzz       mutates known inputs for as long as it is given
//! docs       tables of the documentation, compared with the code
//! ```
//!
//! Everything here panics when the world is not as the test says; the message carries the process's output.

mod api_server;
mod dns_server;
pub mod docs;
mod fuzz;
mod mount;
mod process;
mod raw_client;
mod raw_http2;
mod scratch;
mod spawned;
mod tcp_front;
mod tls_front;
mod upstream;
mod waiting;

pub use api_server::{ApiServer, Asked, Mood, NAMESPACE, Pod, SERVICE, slice, slice_with_ports};
pub use dns_server::{DnsServer, Zone, pods};
pub use fuzz::{Fuzzed, fuzz};
pub use mount::Mount;
pub use process::{Finished, Process};
pub use raw_client::{RawClient, RawResponse};
pub use raw_http2::{RawFrame, RawHttp2, head, kind};
pub use rustix::process::Signal;
pub use scratch::Scratch;
pub use spawned::Spawned;
pub use tcp_front::{TcpFront, Way};
pub use tls_front::TlsFront;
pub use upstream::{Upstream, UpstreamConnection};
pub use waiting::{DEADLINE, eventually};
