//! One request at an endpoint, and the connection that carries it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, request};
use http_body::{Frame, SizeHint};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::added::Added;
use super::endpoint::{Endpoint, Outcome};
use super::error::UpstreamError;
use super::http1::Unsent;
use super::http2::{Session, Stream};
use super::moment::Moment;
use super::pool::{Counted, Shelf};
use super::request_body::RequestBody;

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
    pub(super) fn begin(shelf: &Rc<Shelf>, limit: u32, began: Instant) -> Option<Self> {
        let now = Moment::from(began);
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
            let (cluster, endpoint) = (&self.shelf.owner.cluster, &self.shelf.endpoint);
            if endpoint.note(outcome, sent, now, &cluster.config.ejection) {
                // The answer that brought it back may itself have waited for the end of what was wrong.
                let latency = cluster.latest().endpoints().median_latency(Some(endpoint.address), now);
                endpoint.load().start_over(latency, now);
                cluster.queue.freed();
            }
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
        self.shelf.owner.cluster.queue.freed();
    }
}

/// What carries a request: all of a connection, or a part of one.
pub(super) enum Carrier {
    Http1(Counted),
    Http2(Box<Stream>),
}

impl Carrier {
    /// One more stream of `session`.
    pub(super) fn over(session: &Rc<Session>, now: Instant) -> Self {
        Self::Http2(Stream::new(session, now))
    }
}

/// What the upstream can have seen of a request that got no answer.
pub enum Seen {
    /// Nothing was written. Where that took work, here is the request, whole.
    Nothing(Option<Box<Unsent>>),
    /// Nothing that it looked at: it says so itself.
    Refused,
    Perhaps,
}

/// A connection, or a part of one, in use. Dropped without [`Lease::give_back`] it is closed.
pub struct Lease {
    in_flight: InFlight,
    carrier: Carrier,
    /// Whether it carried requests before: then its failure may be that of a connection gone stale.
    pub reused: bool,
    sent: Instant,
    /// When the head of its answer came.
    answered: Instant,
}

impl Lease {
    /// A lease whose request goes out at `now`.
    pub(super) fn new(in_flight: InFlight, carrier: Carrier, reused: bool, now: Instant) -> Self {
        Self {
            sent: now,
            answered: now,
            in_flight,
            carrier,
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
        match &mut self.carrier {
            Carrier::Http1(connection) => connection.get().http.start(head, added, body),
            Carrier::Http2(stream) => stream.exchange.start(head, added, body),
        }
    }

    /// Takes on a request that another connection left unwritten.
    pub fn start_unsent(&mut self, unsent: Unsent) {
        match &mut self.carrier {
            Carrier::Http1(connection) => connection.get().http.start_unsent(unsent),
            Carrier::Http2(_) => unreachable!("all connections of a cluster speak the same"),
        }
    }

    pub fn answered_at(&self) -> Instant {
        self.answered
    }

    /// Sends the request and waits for the head of its answer; `None` when `late` gives no more time.
    pub async fn answer(
        &mut self,
        until: Instant,
        mut late: impl FnMut() -> Option<Instant>,
    ) -> Option<Result<Response<()>, UpstreamError>> {
        let mut until = Some(until);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = self.poll_answer(cx) {
                return Poll::Ready(Some(answer));
            }
            loop {
                ready!(self.poll_timer(until.take(), cx));
                until = late();
                if until.is_none() {
                    return Poll::Ready(None);
                }
            }
        })
        .await
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, UpstreamError>> {
        match &mut self.carrier {
            Carrier::Http1(connection) => connection.get().http.poll_answer(cx),
            Carrier::Http2(stream) => stream.exchange.poll_answer(cx),
        }
    }

    /// Whether the upstream takes no more requests on this connection for now, and so has not seen this one.
    #[cold]
    pub fn waits_for_stream(&mut self) -> bool {
        match &mut self.carrier {
            Carrier::Http1(_) => false,
            Carrier::Http2(stream) => stream.exchange.is_unsent(),
        }
    }

    /// What became of the request that failed with `error`.
    #[cold]
    pub fn seen(&mut self, error: &UpstreamError) -> Seen {
        match &mut self.carrier {
            Carrier::Http1(connection) => match connection.get().http.take_unsent() {
                Some(unsent) => Seen::Nothing(Some(Box::new(unsent))),
                None => Seen::Perhaps,
            },
            Carrier::Http2(_) if error.is_beyond_goaway() => Seen::Nothing(None),
            Carrier::Http2(_) if error.is_refusal() => Seen::Refused,
            Carrier::Http2(stream) => match stream.exchange.is_unsent() {
                true => Seen::Nothing(None),
                false => Seen::Perhaps,
            },
        }
    }

    /// Notes what came of the request, once.
    pub fn note(&mut self, outcome: Outcome, now: Instant) {
        self.answered = now;
        if let (Carrier::Http2(stream), Outcome::TimedOut) = (&self.carrier, outcome) {
            stream.exchange.session().distrust(self.sent);
        }
        self.in_flight.note(outcome, Moment::from(self.sent), Moment::from(now));
    }

    /// Notes how many requests the endpoint says it has in hand.
    pub fn note_load_report(&self, depth: u32, now: Instant) {
        self.endpoint().note_hint(depth, Moment::from(now));
    }

    /// The next part of the answer's body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut self.carrier {
            Carrier::Http1(connection) => connection.get().http.poll_body(cx),
            Carrier::Http2(stream) => stream.exchange.poll_body(cx),
        }
    }

    pub fn body_has_ended(&self) -> bool {
        match &self.carrier {
            Carrier::Http1(connection) => connection.look().http.body_has_ended(),
            Carrier::Http2(stream) => stream.exchange.body_has_ended(),
        }
    }

    pub fn body_size(&self) -> SizeHint {
        match &self.carrier {
            Carrier::Http1(connection) => connection.look().http.body_size(),
            Carrier::Http2(stream) => stream.exchange.body_size(),
        }
    }

    /// Whether the time is over that was set last; `until` sets it anew.
    pub fn poll_timer(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.carrier {
            Carrier::Http1(connection) => connection.get().timer.poll(until, cx),
            Carrier::Http2(stream) => stream.timer.poll(until, cx),
        }
    }

    /// Returns the connection to its pool, if it can carry another request.
    pub fn give_back(self, now: Instant) {
        match self.carrier {
            Carrier::Http1(connection) => connection.give_back(now),
            // It stayed where it was.
            Carrier::Http2(_) => {}
        }
    }

    /// The connection as a socket, after the upstream switched protocols on it; `None` when the request was not sent
    /// whole before.
    pub fn upgraded(self) -> Option<Upgraded> {
        match self.carrier {
            Carrier::Http1(connection) if connection.look().http.has_sent_all() => Some(Upgraded {
                _in_flight: self.in_flight,
                connection,
            }),
            _ => None,
        }
    }
}

/// A connection that speaks another protocol now. Its request is in flight until the end, and it is of no use to the pool.
pub struct Upgraded {
    connection: Counted,
    _in_flight: InFlight,
}

impl Upgraded {
    pub fn socket(&mut self) -> &mut TcpStream {
        self.connection.get().http.socket()
    }

    /// What the upstream sent of the new protocol together with its answer's head.
    pub fn take_ahead(&mut self) -> Bytes {
        self.connection.get().http.take_ahead()
    }

    /// Whether the time is over that was set last; `until` sets it anew.
    pub fn poll_timer(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.get().timer.poll(until, cx)
    }
}
