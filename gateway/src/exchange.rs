//! A request on its way through the stack, with its client and the record of what happens to it, and its answer.
//!
//! A plain struct, because http's extension map would cost allocations for each thing it carries.

mod peer;
mod response_body;
mod sender;
mod tunnel;

use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, request};
use hyper::body::Incoming;
use shared::cors::{Cors, CrossOrigin};
use shared::request_id::RequestId;
use shared::serve::{expects_continue, linger};
use tokio::time::Instant;

use crate::known_headers::KnownHeaders;
use crate::metrics::RouteMetrics;
use crate::route::{Route, RouteId};
use crate::worker::Worker;

pub(crate) use peer::Peer;
pub(crate) use response_body::{ReadLimits, ResponseBody, UpstreamBody};
pub(crate) use sender::Sender;
pub(crate) use tunnel::{Tunnel, TunnelEnd, TunnelTotals};

/// Passed from layer to layer as a box: moving the request itself through each of them would cost more.
pub(crate) struct Exchange {
    pub(crate) head: request::Parts,
    /// Until it is read, sent on or refused.
    pub(crate) body: Option<Incoming>,
    pub(crate) known: KnownHeaders,
    pub(crate) record: Rc<RequestRecord>,
}

/// Facts about a request, known from the start or learned on its way, for its log line and its metrics. It
/// is shared with the access log, which has to know it also when the client leaves before there is an answer.
pub(crate) struct RequestRecord {
    /// The settings as they were when it came: they hold for all of it.
    pub(crate) worker: Rc<Worker>,
    pub(crate) id: RequestId,
    pub(crate) peer: Rc<Peer>,
    /// Set where there are trusted proxies; boxed, because mostly there are none.
    pub(crate) sender: Option<Box<Sender>>,
    pub(crate) is_grpc: bool,
    /// Time when the request's head was complete.
    pub(crate) started: Instant,
    route: Cell<Option<RouteId>>,
    /// Set on routes with a rule for pages of other origins alone; boxed, because most have none.
    cross_origin: OnceCell<Box<CrossOrigin>>,
    pub(crate) endpoint: Cell<Option<SocketAddr>>,
    /// The status of an answer of the gateway's own that HTTP is told is a success, as gRPC wants it.
    pub(crate) failed: Cell<Option<StatusCode>>,
    /// Time spent on reading a body before the upstream was asked: the client's, not the gateway's.
    pub(crate) body_wait: Cell<Duration>,
    pub(crate) upstream_asked: Cell<Option<Instant>>,
    /// From the first attempt to reach the upstream to the head of its answer, or to giving up.
    pub(crate) upstream: Cell<Option<Duration>>,
    pub(crate) attempts: Cell<usize>,
    /// The tunnel that follows the answer, until the access log takes it to see its end.
    pub(crate) tunnel: Cell<Option<TunnelEnd>>,
}

impl RequestRecord {
    pub(crate) fn new(
        worker: Rc<Worker>,
        id: RequestId,
        peer: Rc<Peer>,
        sender: Option<Box<Sender>>,
        is_grpc: bool,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            id,
            peer,
            sender,
            is_grpc,
            failed: Cell::default(),
            started: Instant::now(),
            route: Cell::default(),
            cross_origin: OnceCell::new(),
            endpoint: Cell::default(),
            body_wait: Cell::default(),
            upstream_asked: Cell::default(),
            upstream: Cell::default(),
            attempts: Cell::default(),
            tunnel: Cell::default(),
        })
    }

    pub(crate) fn set_route(&self, route: RouteId) {
        self.route.set(Some(route));
    }

    pub(crate) fn route_id(&self) -> Option<RouteId> {
        self.route.get()
    }

    /// The route, once one was found. Looked up by its number: counting one more holder of a route that all workers share
    /// would cost each request a cache line that others write.
    pub(crate) fn route(&self) -> Option<&Route> {
        self.route.get().map(|route| self.worker.snapshot.routes.get(route))
    }

    /// The client that trusted proxies name, where it is not the peer.
    pub(crate) fn named_client(&self) -> Option<IpAddr> {
        let address = self.sender.as_ref()?.address;
        (address != self.peer.address).then_some(address)
    }

    /// The client's address as X-Real-IP carries it.
    pub(crate) fn real_ip(&self) -> &HeaderValue {
        let named = self.sender.as_ref().map(|sender| &sender.header);
        named.unwrap_or(&self.peer.header)
    }

    /// Notes from which page the request comes. Its route has a rule for those.
    #[cold]
    pub(crate) fn note_origin(&self, request: CrossOrigin) {
        self.cross_origin.get_or_init(|| Box::new(request));
    }

    /// The route's rule for pages of other origins, and what the request says of its own.
    pub(crate) fn cors(&self) -> Option<(&Cors, &CrossOrigin)> {
        let request = self.cross_origin.get()?;
        Some((self.route()?.cors.as_ref()?, request))
    }

    /// True when a browser asks whether it may send a request, and the gateway is the one to say.
    pub(crate) fn is_preflight(&self) -> bool {
        self.cors().is_some_and(|(_, request)| request.is_preflight())
    }

    pub(crate) fn route_metrics(&self) -> &RouteMetrics {
        self.route().map_or(&self.worker.unrouted, |route| &route.metrics)
    }

    pub(crate) fn ask_upstream(&self, now: Instant) {
        self.upstream_asked.set(Some(now));
    }

    pub(crate) fn upstream_answered(&self, now: Instant) {
        self.upstream.set(self.upstream_asked.get().map(|asked| now - asked));
    }

    /// The upstream's time; while it has not answered, the time so far.
    pub(crate) fn upstream_time(&self) -> Option<Duration> {
        self.upstream
            .get()
            .or_else(|| self.upstream_asked.get().map(|asked| asked.elapsed()))
    }
}

pub(crate) type Answer = Response<ResponseBody>;

/// Reads and drops the rest of a refused request's body for a while, so that its client comes to read the answer.
pub(crate) fn refuse_body(exchange: &mut Exchange) {
    if let Some(body) = exchange.body.take()
        && !expects_continue(&exchange.head.headers)
    {
        linger(body);
    }
}
