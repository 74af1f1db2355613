//! One upstream connection with its timer and its age, used by one request at a time.
//!
//! The task of that request writes and reads it: nobody else has to be woken, and dropping the connection ends it,
//! whatever is unsent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use tokio::time::{Instant, Sleep, sleep_until};

use super::http1::{Http1, Http1Error};

pub(super) struct Connection {
    pub(super) http: Http1,
    /// One timer for all requests: moving a timer that is set costs far less than setting one.
    timer: Pin<Box<Sleep>>,
    pub(super) opened: Instant,
    pub(super) idle_since: Instant,
    /// Requests it was taken out for.
    pub(super) requests: usize,
}

impl Connection {
    pub(super) fn new(http: Http1, now: Instant) -> Self {
        Self {
            http,
            timer: Box::pin(sleep_until(now)),
            opened: now,
            idle_since: now,
            requests: 1,
        }
    }

    /// Sends the request it was started with and waits for the head of its answer. `late` is asked when the time is
    /// over: it gives more, or ends the wait with `None`.
    pub(super) async fn answer(
        &mut self,
        until: Instant,
        mut late: impl FnMut() -> Option<Instant>,
    ) -> Option<Result<Response<()>, Http1Error>> {
        self.timer.as_mut().reset(until);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = self.http.poll_answer(cx) {
                return Poll::Ready(Some(answer));
            }
            while self.timer.as_mut().poll(cx).is_ready() {
                match late() {
                    Some(until) => self.timer.as_mut().reset(until),
                    None => return Poll::Ready(None),
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the time is over that was set last; `until` sets it anew.
    pub(super) fn poll_timer(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(until) = until {
            self.timer.as_mut().reset(until);
        }
        self.timer.as_mut().poll(cx)
    }
}
