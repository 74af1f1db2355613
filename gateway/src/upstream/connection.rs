//! One upstream connection of HTTP/1.1 with its timer and its age, used by one request at a time.
//!
//! The task of that request writes and reads it: nobody else has to be woken, and dropping the connection ends it,
//! whatever is unsent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use super::http1::Http1;

pub(super) struct Connection {
    pub(super) http: Http1,
    /// One timer for all requests: moving a timer that is set costs far less than setting one.
    pub(super) timer: Timer,
    pub(super) opened: Instant,
    pub(super) idle_since: Instant,
    /// Requests it was taken out for.
    pub(super) requests: usize,
}

impl Connection {
    pub(super) fn new(http: Http1, now: Instant) -> Self {
        Self {
            http,
            timer: Timer::new(now),
            opened: now,
            idle_since: now,
            requests: 1,
        }
    }
}

/// Timer of one wait after the other.
pub(super) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    pub(super) fn new(now: Instant) -> Self {
        Self(Box::pin(sleep_until(now)))
    }

    /// Ready when the time is over that was set last; `until` sets it anew.
    pub(super) fn poll(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(until) = until {
            self.0.as_mut().reset(until);
        }
        self.0.as_mut().poll(cx)
    }
}
