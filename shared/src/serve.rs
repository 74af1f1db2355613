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

use std::ops::RangeInclusive;
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

use crate::config::units::{MILLIS_OR_SECONDS, bytes, seconds, whole};
use crate::config::{Setting, Settings, common};

pub const MAX_HEADER_BYTES: Setting = Setting::new(
    "MAX_HEADER_BYTES",
    "64Ki",
    "bytes from 8Ki to 1Mi",
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
    "a whole number from 1 to 1000",
    "most headers of a request; more are answered 431, and above 100 every request costs a little more",
);
pub const HEADER_TIMEOUT: Setting = Setting::new(
    "HEADER_TIMEOUT",
    "10",
    MILLIS_OR_SECONDS,
    "longest time from the first byte of a request's head to its last; slower ones are answered 408",
);
pub const SEND_TIMEOUT: Setting = Setting::new(
    "SEND_TIMEOUT",
    "60",
    MILLIS_OR_SECONDS,
    "longest wait for a client to take more of its answer; then its connection is cut",
);

const LINE_BYTES: &str = "bytes from 1Ki to 64Ki";

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
            max_connections: settings.get(&common::MAX_CONNECTIONS, |text| whole(text, 1..=1_000_000)),
            keepalive_timeout: settings.get(&common::KEEPALIVE_TIMEOUT, seconds),
            header_timeout: settings.get(&HEADER_TIMEOUT, seconds),
            send_timeout: settings.get(&SEND_TIMEOUT, seconds),
            head: HeadLimits {
                max_bytes: settings.get(&MAX_HEADER_BYTES, |text| size(text, 8 * 1024..=1024 * 1024)),
                max_request_line_bytes: settings.get(&MAX_REQUEST_LINE_BYTES, line_size),
                max_header_line_bytes: settings.get(&MAX_HEADER_LINE_BYTES, line_size),
                max_headers: settings.get(&MAX_HEADERS, |text| whole(text, 1..=1000)),
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

fn line_size(text: &str) -> Option<usize> {
    size(text, 1024..=64 * 1024)
}

fn size(text: &str, range: RangeInclusive<usize>) -> Option<usize> {
    let size = usize::try_from(bytes(text)?).ok()?;
    range.contains(&size).then_some(size)
}
