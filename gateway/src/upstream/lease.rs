//! One request at an endpoint, and the connection that carries it.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, request};
use http_body::{Frame, SizeHint};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::http1::{Http1Error, Unsent};
use super::moment::Moment;
use super::pool::{Counted, Shelf};
use super::{Added, Endpoint, Outcome};
use crate::body::RequestBody;

/// A request in an endpoint's hand, from the choice to the end of its answer: dropping it frees the place.
pub struct InFlight {
    shelf: Rc<Shelf>,
    began: Instant,
    /// No outcome was noted yet.
    awaiting: bool,
    /// It decides whether an ejected endpoint comes back.
    probe: bool,
}

impl InFlight {
    /// Takes a place at the shelf's endpoint, if one is free.
    pub(super) fn begin(shelf: &Rc<Shelf>, began: Instant) -> Option<Self> {
        let (limit, now) = (shelf.owner.cluster.config.max_concurrency, Moment::from(began));
        shelf.endpoint.load().begin(limit, now).then(|| Self {
            probe: shelf.endpoint.claim_probe(now),
            shelf: Rc::clone(shelf),
            began,
            awaiting: true,
        })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.shelf.endpoint
    }

    pub(super) fn shelf(&self) -> &Rc<Shelf> {
        &self.shelf
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    fn note(&mut self, outcome: Outcome, sent: Moment, now: Moment) {
        if std::mem::take(&mut self.awaiting) {
            let ejection = &self.shelf.owner.cluster.config.ejection;
            self.shelf.endpoint.note(outcome, sent, now, ejection);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let endpoint = &self.shelf.endpoint;
        if self.awaiting {
            endpoint.load().abandoned();
            if self.probe {
                endpoint.release_probe();
            }
        }
        endpoint.load().ended();
        self.shelf.owner.cluster.queue.freed_one();
    }
}

/// A connection in use. Dropped without [`Lease::give_back`] it is closed.
pub struct Lease {
    in_flight: InFlight,
    connection: Counted,
    /// Whether it carried requests before: then its failure may be that of a connection gone stale.
    pub reused: bool,
    sent: Instant,
    /// When the head of its answer came.
    answered: Instant,
}

impl Lease {
    /// A lease whose request goes out at `now`.
    pub(super) fn new(in_flight: InFlight, connection: Counted, reused: bool, now: Instant) -> Self {
        Self {
            sent: now,
            answered: now,
            in_flight,
            connection,
            reused,
        }
    }

    pub fn endpoint(&self) -> &Endpoint {
        self.in_flight.endpoint()
    }

    /// When its request goes out: once there is a connection.
    pub fn sent_at(&self) -> Instant {
        self.sent
    }

    /// Takes on a request.
    pub fn start(&mut self, head: &request::Parts, added: &Added<'_>, body: &RequestBody) {
        self.connection.get().http.start(head, added, body);
    }

    /// Takes on a request that another connection left unwritten.
    pub fn start_unsent(&mut self, unsent: Unsent) {
        self.connection.get().http.start_unsent(unsent);
    }

    pub fn answered_at(&self) -> Instant {
        self.answered
    }

    /// Sends the request and waits for the head of its answer; `None` when `late` gives no more time.
    pub async fn answer(
        &mut self,
        until: Instant,
        late: impl FnMut() -> Option<Instant>,
    ) -> Option<Result<Response<()>, Http1Error>> {
        self.connection.get().answer(until, late).await
    }

    /// The request, whole, if nothing of it was written.
    pub fn take_unsent(&mut self) -> Option<Box<Unsent>> {
        self.connection.get().http.take_unsent().map(Box::new)
    }

    /// Notes what came of the request, once.
    pub fn note(&mut self, outcome: Outcome, now: Instant) {
        self.answered = now;
        self.in_flight.note(outcome, Moment::from(self.sent), Moment::from(now));
    }

    /// The next part of the answer's body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        self.connection.get().http.poll_body(cx)
    }

    pub fn body_has_ended(&self) -> bool {
        self.connection.look().http.body_has_ended()
    }

    pub fn body_size(&self) -> SizeHint {
        self.connection.look().http.body_size()
    }

    /// Whether the time is over that was set last; `until` sets it anew.
    pub fn poll_timer(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.get().poll_timer(until, cx)
    }

    /// Whether the whole request was written.
    pub fn has_sent_all(&self) -> bool {
        self.connection.look().http.has_sent_all()
    }

    /// The connection as a socket, after the upstream switched protocols on it. It is of no use to the pool then.
    pub fn socket(&mut self) -> &mut TcpStream {
        self.connection.get().http.socket()
    }

    /// What the upstream sent of the new protocol together with its answer's head.
    pub fn take_ahead(&mut self) -> Bytes {
        self.connection.get().http.take_ahead()
    }

    /// Returns the connection to its pool, if it can carry another request.
    pub fn give_back(self, now: Instant) {
        self.connection.give_back(now);
    }
}
