//! One upstream connection, driven by the task of the request that uses it.
//!
//! hyper splits a connection into a sender and a future that reads and writes; usually a task of its own runs that
//! future, and each request then costs two wake-ups between the tasks. Here whoever holds the connection polls
//! both: a request's task writes its request and reads its answer itself, and dropping the connection ends it,
//! whatever is unsent. While a connection idles nobody polls it; it is looked at when it is taken out.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use super::connect::Driver;
use crate::body::RequestBody;

pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    /// `None` once it has ended: dropping it hands back a request that it has not written.
    driver: Option<Driver>,
    /// One timer for all requests: moving a timer that is set costs far less than setting one.
    timer: Pin<Box<Sleep>>,
    pub(super) opened: Instant,
    pub(super) idle_since: Instant,
    /// Requests it was taken out for.
    pub(super) requests: usize,
}

impl Connection {
    pub(super) fn new(sender: SendRequest<RequestBody>, driver: Driver, now: Instant) -> Self {
        Self {
            sender,
            driver: Some(driver),
            timer: Box::pin(sleep_until(now)),
            opened: now,
            idle_since: now,
            requests: 1,
        }
    }

    /// Reads and writes what can be read and written now.
    fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
        let polled = driver.as_mut().map(|driver| Pin::new(driver).poll(cx));
        if let Some(Poll::Ready(end)) = polled {
            *driver = None;
            if let Err(error) = end {
                debug!(%error, "upstream connection ended early");
            }
        }
    }

    /// Lets an idle connection notice what happened to it meanwhile, without anyone to be woken.
    pub(super) fn look(&mut self) {
        Self::drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
    }

    pub(super) fn is_open(&self) -> bool {
        self.driver.is_some() && !self.sender.is_closed()
    }

    /// Whether it can take a request: its last exchange is over.
    pub(super) fn is_ready(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Sends `request` and waits for the head of its answer. `late` is asked when the time is over: it gives more,
    /// or ends the wait with `None`.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
        until: Instant,
        mut late: impl FnMut() -> Option<Instant>,
    ) -> Option<Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> {
        // Nothing but `drive` makes progress with it, and that has the task's own waker: one for the answer as
        // well would only wake the task that is running.
        let mut unwoken = Context::from_waker(Waker::noop());
        let mut answer = pin!(self.sender.try_send_request(request));
        self.timer.as_mut().reset(until);
        std::future::poll_fn(|cx| {
            Self::drive(&mut self.driver, cx);
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut unwoken) {
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

    /// The next part of an answer that this connection carries.
    pub(super) fn poll_body(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut unwoken = Context::from_waker(Waker::noop());
        if let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(&mut unwoken) {
            return Poll::Ready(frame);
        }
        Self::drive(&mut self.driver, cx);
        Pin::new(incoming).poll_frame(&mut unwoken)
    }

    /// Whether the time is over that was set last; `until` sets it anew.
    pub(super) fn poll_timer(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(until) = until {
            self.timer.as_mut().reset(until);
        }
        self.timer.as_mut().poll(cx)
    }
}
