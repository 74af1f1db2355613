//! The limits of client connections, and the settings that they come from.

use std::time::Duration;

use super::http1::HeadLimits;
use crate::config::scalar::SECONDS;
use crate::config::units::{boolean, bytes, number, seconds};
use crate::config::{Scalar, Setting, Settings};

/// [`HeadLimits::max_bytes`].
pub const MAX_HEADER_BYTES: Setting = Setting::new(
    "MAX_HEADER_BYTES",
    "64Ki",
    Scalar::Bytes(8 << 10, 1 << 20),
    "largest request line and headers together; larger ones are answered 431",
);
/// [`HeadLimits::max_request_line_bytes`].
pub const MAX_REQUEST_LINE_BYTES: Setting = Setting::new(
    "MAX_REQUEST_LINE_BYTES",
    "16Ki",
    LINE_BYTES,
    "longest request line; longer ones are answered 414",
);
/// [`HeadLimits::max_header_line_bytes`].
pub const MAX_HEADER_LINE_BYTES: Setting = Setting::new(
    "MAX_HEADER_LINE_BYTES",
    "32Ki",
    LINE_BYTES,
    "longest single header; longer ones are answered 431",
);
/// [`HeadLimits::max_headers`].
pub const MAX_HEADERS: Setting = Setting::new(
    "MAX_HEADERS",
    "100",
    Scalar::Whole(1, 1000),
    "most headers of a request; more are answered 431, and above 100 every request costs a little more",
);
/// [`ConnectionLimits::keepalive_timeout`], in seconds.
pub const KEEPALIVE_TIMEOUT: Setting = Setting::new(
    "KEEPALIVE_TIMEOUT",
    "75",
    SECONDS,
    "longest wait for the first byte of a connection's first or next request",
);
/// [`ConnectionLimits::max_connections`].
pub const MAX_CONNECTIONS: Setting = Setting::new(
    "MAX_CONNECTIONS",
    "10000",
    Scalar::Whole(1, 1_000_000),
    "open client connections; further ones wait in the accept queue",
);
/// [`ConnectionLimits::header_timeout`], in seconds.
pub const HEADER_TIMEOUT: Setting = Setting::new(
    "HEADER_TIMEOUT",
    "10",
    SECONDS,
    "longest time from the first byte of a request's head to its last; slower ones are answered 408",
);
/// [`ConnectionLimits::send_timeout`], in seconds.
pub const SEND_TIMEOUT: Setting = Setting::new(
    "SEND_TIMEOUT",
    "60",
    SECONDS,
    "longest wait for a client to read more of its response; then its connection is cut",
);
/// [`ConnectionLimits::answer_half_closed`].
pub const ANSWER_HALF_CLOSED: Setting = Setting::new(
    "ANSWER_HALF_CLOSED",
    "false",
    Scalar::Boolean,
    "whether an HTTP/1 client that ends its sending side after a whole request gets its answer; `false` takes it for one \
     that left, and cancels the request",
);

/// Concurrent requests of one HTTP/2 connection.
pub const HTTP2_MAX_STREAMS: Setting = Setting::new(
    "HTTP2_MAX_STREAMS",
    "128",
    Scalar::Whole(1, 10_000),
    "most requests at a time on one HTTP/2 connection",
);
/// The flow-control window of one HTTP/2 stream, in bytes.
pub const HTTP2_STREAM_WINDOW_BYTES: Setting = Setting::new(
    "HTTP2_STREAM_WINDOW_BYTES",
    "64Ki",
    WINDOW,
    "how much of one HTTP/2 request's body, and of its answer, may wait in memory",
);
/// The flow-control window of one HTTP/2 connection, in bytes.
pub const HTTP2_CONNECTION_WINDOW_BYTES: Setting = Setting::new(
    "HTTP2_CONNECTION_WINDOW_BYTES",
    "1Mi",
    WINDOW,
    "how much of the bodies of all requests of one HTTP/2 connection may wait in memory",
);
/// The time between two pings of an HTTP/2 client, in seconds.
pub const HTTP2_PING_INTERVAL: Setting = Setting::new(
    "HTTP2_PING_INTERVAL",
    "30",
    SECONDS,
    "how often an HTTP/2 client is pinged",
);
/// The time that an HTTP/2 client has for answering a ping, in seconds.
pub const HTTP2_PING_TIMEOUT: Setting = Setting::new(
    "HTTP2_PING_TIMEOUT",
    "20",
    SECONDS,
    "how long it may take to answer a ping; then its connection is cut",
);

const LINE_BYTES: Scalar = Scalar::Bytes(1 << 10, 64 << 10);
/// The first is what HTTP/2 begins with, the last nearly all that it allows (RFC 9113, 6.9.2).
const WINDOW: Scalar = Scalar::Bytes(64 << 10, 1 << 30);

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
    /// True when a client that ended its sending side is answered. One that really left is then found by the write of
    /// its answer only: until then both look the same.
    pub answer_half_closed: bool,
    /// Limits of a request's head.
    pub head: HeadLimits,
    /// Limits of HTTP/2.
    pub http2: Http2Limits,
    /// True when a rejected request gets a line in the log, as a request does.
    pub log_refusals: bool,
}

impl ConnectionLimits {
    /// The limits in `settings`, with refusals logged.
    pub fn from_settings(settings: &mut Settings) -> Self {
        Self {
            max_connections: settings.get(&MAX_CONNECTIONS, number),
            keepalive_timeout: settings.get(&KEEPALIVE_TIMEOUT, seconds),
            header_timeout: settings.get(&HEADER_TIMEOUT, seconds),
            send_timeout: settings.get(&SEND_TIMEOUT, seconds),
            answer_half_closed: settings.get(&ANSWER_HALF_CLOSED, boolean),
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
    pub(super) fn per_worker(self, workers: usize) -> Self {
        Self {
            max_connections: self.max_connections.div_ceil(workers).max(1),
            ..self
        }
    }
}

/// Limits of HTTP/2 connections.
#[derive(Debug, Clone, Copy)]
pub struct Http2Limits {
    pub(super) max_streams: u32,
    pub(super) stream_window: u32,
    pub(super) connection_window: u32,
    pub(super) ping_interval: Duration,
    pub(super) ping_timeout: Duration,
}

impl Http2Limits {
    fn from_settings(settings: &mut Settings) -> Self {
        Self {
            max_streams: settings.get(&HTTP2_MAX_STREAMS, number),
            stream_window: settings.get(&HTTP2_STREAM_WINDOW_BYTES, bytes),
            connection_window: settings.get(&HTTP2_CONNECTION_WINDOW_BYTES, bytes),
            ping_interval: settings.get(&HTTP2_PING_INTERVAL, seconds),
            ping_timeout: settings.get(&HTTP2_PING_TIMEOUT, seconds),
        }
    }
}
