//! Listeners and their connections: share-nothing workers that drain without losing a request.
//!
//! ```text
//! bind ──► worker (a thread, a single-threaded runtime, a SO_REUSEPORT listener of its own)
//!            └─ accept ──► connection ──► wire ──► hyper ──► tracked service ──► the service's own stack
//!                                          ├─ http1: what is no request goes no further, and is told so
//!                                          └─ takeover: after a 101, the service's alone
//! ```
//!
//! One worker per usable CPU; a connection never changes its worker, so what serves it needs no lock.

mod accept;
mod bind;
mod connection;
mod deadline;
pub mod http1;
mod http2;
mod linger;
mod refuse;
mod small_writes;
mod takeover;
mod wire;
mod workers;

use std::time::Duration;

use accept::serve;
pub use bind::{BindError, Listeners, bind};
use http1::HeadLimits;
pub use http1::Refusal;
pub use http2::{
    HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_MAX_STREAMS, HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT,
    HTTP2_STREAM_WINDOW_BYTES, Http2Limits,
};
pub use linger::{expects_continue, linger};
pub use small_writes::SmallWrites;
pub use takeover::Takeover;
pub use workers::{Workers, spawn, spawn_local, usable_cpus};

use crate::config::shape::SECONDS;
use crate::config::units::{bytes, number, seconds};
use crate::config::{Scalar, Setting, Settings, common};

pub const MAX_HEADER_BYTES: Setting = Setting::new(
    "MAX_HEADER_BYTES",
    "64Ki",
    Scalar::Bytes(8 << 10, 1 << 20),
    "largest request line and headers together; larger ones are answered 431",
);
pub const MAX_REQUEST_LINE_BYTES: Setting = Setting::new(
    "MAX_REQUEST_LINE_BYTES",
    "16Ki",
    LINE_BYTES,
    "longest request line; longer ones are answered 414",
);
pub const MAX_HEADER_LINE_BYTES: Setting = Setting::new(
    "MAX_HEADER_LINE_BYTES",
    "32Ki",
    LINE_BYTES,
    "longest single header; longer ones are answered 431",
);
pub const MAX_HEADERS: Setting = Setting::new(
    "MAX_HEADERS",
    "100",
    Scalar::Whole(1, 1000),
    "most headers of a request; more are answered 431, and above 100 every request costs a little more",
);
pub const HEADER_TIMEOUT: Setting = Setting::new(
    "HEADER_TIMEOUT",
    "10",
    SECONDS,
    "longest time from the first byte of a request's head to its last; slower ones are answered 408",
);
pub const SEND_TIMEOUT: Setting = Setting::new(
    "SEND_TIMEOUT",
    "60",
    SECONDS,
    "longest wait for a client to take more of its answer; then its connection is cut",
);

const LINE_BYTES: Scalar = Scalar::Bytes(1 << 10, 64 << 10);

/// Limits of client connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Open connections over all workers of a listener.
    pub max_connections: usize,
    /// Longest wait for the first byte of a request.
    pub keepalive_timeout: Duration,
    /// Longest wait for the rest of its head after that.
    pub header_timeout: Duration,
    /// Longest wait for a client to take more of its answer.
    pub send_timeout: Duration,
    pub head: HeadLimits,
    pub http2: Http2Limits,
    /// Whether what is refused gets a line in the log, as a request does.
    pub log_refusals: bool,
}

impl ConnectionLimits {
    pub fn from_settings(settings: &mut Settings) -> Self {
        Self {
            max_connections: settings.get(&common::MAX_CONNECTIONS, number),
            keepalive_timeout: settings.get(&common::KEEPALIVE_TIMEOUT, seconds),
            header_timeout: settings.get(&HEADER_TIMEOUT, seconds),
            send_timeout: settings.get(&SEND_TIMEOUT, seconds),
            head: HeadLimits {
                max_bytes: settings.get(&MAX_HEADER_BYTES, bytes),
                max_request_line_bytes: settings.get(&MAX_REQUEST_LINE_BYTES, bytes),
                max_header_line_bytes: settings.get(&MAX_HEADER_LINE_BYTES, bytes),
                max_headers: settings.get(&MAX_HEADERS, number),
            },
            http2: Http2Limits::from_settings(settings),
            log_refusals: true,
        }
    }

    /// The share of one of `workers` workers, at least one connection.
    fn per_worker(self, workers: usize) -> Self {
        Self {
            max_connections: self.max_connections.div_ceil(workers).max(1),
            ..self
        }
    }
}
