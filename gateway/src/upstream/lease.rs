//! One request at an endpoint, and the connection that carries it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, request};
use http_body::{Frame, SizeHint};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::endpoint::{Endpoint, Outcome};
use super::error::UpstreamError;
use super::http1::Unsent;
use super::http2::{Session, Stream};
use super::injected_headers::InjectedHeaders;
use super::monotonic::MonotonicNanos;
use super::pool::{EndpointPool, PooledConnection};
use super::request_body::RequestBody;

/// A request in an endpoint's hand, from the choice to the end of its answer: dropping it frees the place.
pub struct InFlight {
    pool: Rc<EndpointPool>,
    began: Instant,
    /// No outcome was noted yet.
    awaiting: bool,
    /// It decides whether an ejected endpoint comes back.
    probe: bool,
}

impl InFlight {
    /// Takes a place at the pool's endpoint, if one is free.
    pub(super) fn begin(pool: &Rc<EndpointPool>, limit: u32, began: Instant) -> Option<Self> {
        let now = MonotonicNanos::from(began);
        pool.endpoint.load().begin(limit, now).then(|| Self {
            probe: pool.endpoint.claim_probe(now),
            pool: Rc::clone(pool),
            began,
            awaiting: true,
        })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.pool.endpoint
    }

    pub(super) fn pool(&self) -> &Rc<EndpointPool> {
        &self.pool
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    fn note(&mut self, outcome: Outcome, sent: MonotonicNanos, now: MonotonicNanos) {
        if std::mem::take(&mut self.awaiting) {
            let (cluster, endpoint) = (&self.pool.owner.cluster, &self.pool.endpoint);
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
        let endpoint = &self.pool.endpoint;
        if self.awaiting {
            endpoint.load().abandoned();
            if self.probe {
                endpoint.release_probe();
            }
        }
        endpoint.load().ended();
        self.pool.owner.cluster.queue.freed();
    }
}

/// Connection of a request: all of one, or a stream of one.
pub(super) enum UpstreamConnection {
    Http1(PooledConnection),
    Http2(Box<Stream>),
}

impl UpstreamConnection {
    /// One more stream of `session`.
    pub(super) fn over(session: &Rc<Session>, now: Instant) -> Self {
        Self::Http2(Stream::new(session, now))
    }
}

/// Delivery of a request that got no answer.
pub enum Delivery {
    /// Nothing was written. Where that took work, the request is returned whole.
    NotSent(Option<Box<Unsent>>),
    /// The upstream says that it has not processed it.
    Refused,
    /// The upstream may have processed it.
    Unknown,
}

/// A connection, or a part of one, in use. Dropped without [`Lease::give_back`] it is closed.
pub struct Lease {
    in_flight: InFlight,
    connection: UpstreamConnection,
    /// Set when it carried requests before: then its failure may be that of a connection gone stale.
    pub reused: bool,
    sent: Instant,
    /// Time of the head of its answer.
    answered: Instant,
}

impl Lease {
    /// A lease whose request goes out at `now`.
    pub(super) fn new(in_flight: InFlight, connection: UpstreamConnection, reused: bool, now: Instant) -> Self {
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

    /// Time when its request goes out: once there is a connection.
    pub fn sent_at(&self) -> Instant {
        self.sent
    }

    /// Takes on a request.
    pub fn start(&mut self, head: &request::Parts, added: &InjectedHeaders<'_>, body: &RequestBody) {
        match &mut self.connection {
            UpstreamConnection::Http1(connection) => connection.as_mut().http.start(head, added, body),
            UpstreamConnection::Http2(stream) => stream.request.start(head, added, body),
        }
    }

    /// Takes on a request that another connection left unwritten.
    pub fn start_unsent(&mut self, unsent: Unsent) {
        match &mut self.connection {
            UpstreamConnection::Http1(connection) => connection.as_mut().http.start_unsent(unsent),
            UpstreamConnection::Http2(_) => unreachable!("all connections of a cluster speak the same"),
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
        match &mut self.connection {
            UpstreamConnection::Http1(connection) => connection.as_mut().http.poll_answer(cx),
            UpstreamConnection::Http2(stream) => stream.request.poll_answer(cx),
        }
    }

    /// Tells whether the upstream takes no more requests on this connection for now, and so has not seen this one.
    #[cold]
    pub fn waits_for_stream(&mut self) -> bool {
        match &mut self.connection {
            UpstreamConnection::Http1(_) => false,
            UpstreamConnection::Http2(stream) => stream.request.is_unsent(),
        }
    }

    /// Tells whether no request was answered over the connection before: then its failure is the endpoint's.
    #[cold]
    pub fn is_unproven(&self) -> bool {
        match &self.connection {
            UpstreamConnection::Http1(_) => !self.reused,
            UpstreamConnection::Http2(stream) => !stream.request.session().has_worked(),
        }
    }

    /// Delivery of the request that failed with `error`.
    #[cold]
    pub fn delivery(&mut self, error: &UpstreamError) -> Delivery {
        match &mut self.connection {
            UpstreamConnection::Http1(connection) => match connection.as_mut().http.take_unsent() {
                Some(unsent) => Delivery::NotSent(Some(Box::new(unsent))),
                None => Delivery::Unknown,
            },
            UpstreamConnection::Http2(_) if error.is_beyond_goaway() => Delivery::NotSent(None),
            UpstreamConnection::Http2(_) if error.is_refusal() => Delivery::Refused,
            UpstreamConnection::Http2(stream) => match stream.request.is_unsent() {
                true => Delivery::NotSent(None),
                false => Delivery::Unknown,
            },
        }
    }

    /// Notes what came of the request, once.
    pub fn note(&mut self, outcome: Outcome, now: Instant) {
        self.answered = now;
        if let (UpstreamConnection::Http2(stream), Outcome::TimedOut) = (&self.connection, outcome) {
            stream.request.session().distrust(self.sent);
        }
        self.in_flight
            .note(outcome, MonotonicNanos::from(self.sent), MonotonicNanos::from(now));
    }

    /// Notes how many requests the endpoint says it has in hand.
    pub fn note_load_report(&self, depth: u32, now: Instant) {
        self.endpoint().note_hint(depth, MonotonicNanos::from(now));
    }

    /// The next part of the answer's body.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut self.connection {
            UpstreamConnection::Http1(connection) => connection.as_mut().http.poll_body(cx),
            UpstreamConnection::Http2(stream) => stream.request.poll_body(cx),
        }
    }

    pub fn body_has_ended(&self) -> bool {
        match &self.connection {
            UpstreamConnection::Http1(connection) => connection.as_ref().http.body_has_ended(),
            UpstreamConnection::Http2(stream) => stream.request.body_has_ended(),
        }
    }

    pub fn body_size(&self) -> SizeHint {
        match &self.connection {
            UpstreamConnection::Http1(connection) => connection.as_ref().http.body_size(),
            UpstreamConnection::Http2(stream) => stream.request.body_size(),
        }
    }

    /// Ready when the time is over that was set last; `until` sets it anew.
    pub fn poll_timer(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.connection {
            UpstreamConnection::Http1(connection) => connection.as_mut().timer.poll(until, cx),
            UpstreamConnection::Http2(stream) => stream.timer.poll(until, cx),
        }
    }

    /// Returns the connection to its pool, if it can carry another request.
    pub fn give_back(self, now: Instant) {
        match self.connection {
            UpstreamConnection::Http1(connection) => connection.give_back(now),
            // It stayed where it was.
            UpstreamConnection::Http2(_) => {}
        }
    }

    /// The connection as a socket, after the upstream switched protocols on it; `None` when the request was not sent
    /// whole before.
    pub fn upgraded(self) -> Option<Upgraded> {
        match self.connection {
            UpstreamConnection::Http1(connection) if connection.as_ref().http.has_sent_all() => Some(Upgraded {
                _in_flight: self.in_flight,
                connection,
            }),
            _ => None,
        }
    }
}

/// A connection that speaks another protocol now. Its request is in flight until the end, and it is of no use to the pool.
pub struct Upgraded {
    connection: PooledConnection,
    _in_flight: InFlight,
}

impl Upgraded {
    pub fn socket(&mut self) -> &mut TcpStream {
        self.connection.as_mut().http.socket()
    }

    /// Bytes of the new protocol that came together with the answer's head.
    pub fn take_ahead(&mut self) -> Bytes {
        self.connection.as_mut().http.take_ahead()
    }

    /// Ready when the time is over that was set last; `until` sets it anew.
    pub fn poll_timer(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.as_mut().timer.poll(until, cx)
    }
}
