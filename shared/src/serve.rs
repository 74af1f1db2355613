//! Listeners and their connections: share-nothing workers that drain without losing a request.
//!
//! ```text
//! bind ──► worker (a thread, a single-threaded runtime, a SO_REUSEPORT listener of its own)
//!            └─ accept ──► connection ──► tracked service ──► the service's own stack
//! ```
//!
//! One worker per usable CPU; a connection never changes its worker, so what serves it needs no lock.

mod accept;
mod bind;
mod connection;
mod linger;
mod small_writes;
mod workers;

use std::time::Duration;

use accept::serve;
pub use bind::{BindError, Listeners, bind};
pub use linger::{expects_continue, linger};
pub use small_writes::SmallWrites;
pub use workers::{Workers, spawn, spawn_local, usable_cpus};

use crate::config::units::{bytes, seconds, whole};
use crate::config::{Setting, Settings, common};

pub const MAX_HEADER_BYTES: Setting = Setting::new(
    "MAX_HEADER_BYTES",
    "64Ki",
    "bytes from 8Ki to 1Mi",
    "largest request line and headers together; larger ones, and more than 100 headers, are answered 431",
);

/// Limits of client connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Open connections over all workers of a listener.
    pub max_connections: usize,
    /// Longest wait for a request head, the first or the next.
    pub keepalive_timeout: Duration,
    pub max_header_bytes: usize,
}

impl ConnectionLimits {
    pub fn from_settings(settings: &mut Settings) -> Self {
        Self {
            max_connections: settings.get(&common::MAX_CONNECTIONS, |text| whole(text, 1..=1_000_000)),
            keepalive_timeout: settings.get(&common::KEEPALIVE_TIMEOUT, seconds),
            max_header_bytes: settings.get(&MAX_HEADER_BYTES, |text| {
                let size = usize::try_from(bytes(text)?).ok()?;
                (8 * 1024..=1024 * 1024).contains(&size).then_some(size)
            }),
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
