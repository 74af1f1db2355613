//! Listeners and their connections: share-nothing workers that drain without losing a request.
//!
//! ```text
//! bind ──► worker (a thread, a single-threaded runtime, a SO_REUSEPORT listener of its own)
//!            └─ accept ──► (PROXY protocol) ──► connection ──► wire ──► hyper ──► tracked service ──► the service's own stack
//!                                                               ├─ http1: malformed requests are rejected here
//!                                                               └─ takeover: after a 101, the service's alone
//! ```
//!
//! One worker per usable CPU; a connection never changes its worker, so what serves it needs no lock.

mod accept;
mod bind;
mod catch_panic;
mod connection;
mod connections;
mod deadline;
mod field_blocks;
mod frames;
pub mod http1;
mod http2;
mod limits;
mod linger;
mod metrics;
mod observed;
mod proxy_protocol;
mod refuse;
mod small_writes;
mod takeover;
mod validating_io;
mod workers;

pub use bind::{BindError, Listeners, bind};
pub use catch_panic::{CatchPanic, CatchPanicFuture, CatchPanicLayer};
pub use field_blocks::{FieldBlocks, LargeBlock, max_trailer_bytes, trailer_bytes};
pub use http1::Refusal;
pub use limits::{
    ANSWER_HALF_CLOSED, ConnectionLimits, HEADER_TIMEOUT, HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_MAX_STREAMS,
    HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT, HTTP2_STREAM_WINDOW_BYTES, Http2Limits, KEEPALIVE_TIMEOUT,
    MAX_CONNECTIONS, MAX_HEADER_BYTES, MAX_HEADER_LINE_BYTES, MAX_HEADERS, MAX_REQUEST_LINE_BYTES, SEND_TIMEOUT,
};
pub use linger::{expects_continue, linger};
pub use metrics::ConnectionMetrics;
pub use observed::{Observe, ObservedBody, ObservedFuture};
pub use small_writes::SmallWrites;
pub use takeover::Takeover;
pub use workers::{Workers, spawn, spawn_local, usable_cpus};
