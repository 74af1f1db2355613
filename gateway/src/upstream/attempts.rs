//! The attempts of one request to reach an endpoint.

use std::cell::Cell;
use std::net::SocketAddr;

use tokio::time::Instant;

/// How one request has fared so far in getting a connection.
#[derive(Debug)]
pub struct Attempts {
    /// The time, while it is still the time: nearly every request asks for it once.
    pub(super) now: Cell<Option<Instant>>,
    /// Endpoints not to try again while there are others.
    pub tried: Vec<SocketAddr>,
    /// Whether a pooled connection will do: after one broke, the next is opened anew.
    pub fresh: bool,
    /// No connection is waited for longer than this.
    pub(super) connect_by: Instant,
    /// No free place is waited for longer than this.
    pub(super) wait_until: Instant,
    pub(super) refused: usize,
}

impl Attempts {
    pub fn new(now: Instant, connect_by: Instant, wait_until: Instant) -> Self {
        Self {
            now: Cell::new(Some(now)),
            tried: Vec::new(),
            fresh: false,
            connect_by,
            wait_until,
            refused: 0,
        }
    }
}
