//! The attempts of one request to reach an endpoint.

use std::cell::Cell;
use std::net::SocketAddr;

use tokio::time::Instant;

use super::error::ConnectError;

/// Number of attempts that a request has begun, and the endpoints and connections that the next one avoids.
#[derive(Debug)]
pub struct Attempts {
    /// The time, while it is still the time: nearly every request asks for it once.
    now: Cell<Option<Instant>>,
    begun: usize,
    /// Endpoints not to try again while there are others.
    excluded: Vec<SocketAddr>,
    needs_new_connection: bool,
    /// No connection is waited for longer than this.
    pub(super) connect_by: Instant,
    /// No free slot is waited for longer than this.
    pub(super) wait_until: Instant,
    /// Connections that failed at once.
    refused: usize,
}

impl Attempts {
    pub fn new(now: Instant, connect_by: Instant, wait_until: Instant) -> Self {
        Self {
            now: Cell::new(Some(now)),
            begun: 0,
            excluded: Vec::new(),
            needs_new_connection: false,
            connect_by,
            wait_until,
            refused: 0,
        }
    }

    /// Begins the next attempt; returns its number, from 1.
    pub fn begin(&mut self) -> usize {
        self.begun += 1;
        self.begun
    }

    /// Leaves `endpoint` out of later attempts while there are others.
    pub fn exclude(&mut self, endpoint: SocketAddr) {
        self.excluded.push(endpoint);
    }

    /// Makes later attempts open a connection instead of taking a pooled one.
    pub fn require_new_connection(&mut self) {
        self.needs_new_connection = true;
    }

    /// Notes that no connection to `endpoint` could be opened.
    pub(super) fn connect_failed(&mut self, endpoint: SocketAddr, error: &ConnectError) {
        self.exclude(endpoint);
        if !matches!(error, ConnectError::Timeout) {
            self.refused += 1;
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.now.take().unwrap_or_else(Instant::now)
    }

    pub(super) fn excluded(&self) -> &[SocketAddr] {
        &self.excluded
    }

    pub(super) fn has_tried(&self, endpoint: SocketAddr) -> bool {
        self.excluded.contains(&endpoint)
    }

    pub(super) fn needs_new_connection(&self) -> bool {
        self.needs_new_connection
    }

    pub(super) fn refused(&self) -> usize {
        self.refused
    }
}
