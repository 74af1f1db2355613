//! One log line and one set of measurements for each request, when its answer has ended.

use std::convert::Infallible;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame};
use shared::serve::{Observe, ObservedBody, ObservedFuture};
use shared::telemetry::logging::{is_probe, millis, without_query_values};
use tower::{Layer, Service};
use tracing::{debug, info};

use crate::exchange::{Answer, Exchange, RequestRecord, ResponseBody, TunnelTotals};
use crate::grpc;
use crate::route::{Route, Target};
use crate::upstream::BodyError;

const X_MODEL_VERSION: &str = "x-model-version";

#[derive(Clone)]
pub(crate) struct AccessLogLayer;

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AccessLog { inner }
    }
}

#[derive(Clone)]
pub(crate) struct AccessLog<S> {
    inner: S,
}

impl<S> Service<Box<Exchange>> for AccessLog<S>
where
    S: Service<Box<Exchange>, Response = Answer, Error = Infallible>,
{
    type Response = Response<RecordedBody>;
    type Error = Infallible;
    type Future = ObservedFuture<S::Future, Recorder>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, exchange: Box<Exchange>) -> Self::Future {
        let recorder = Recorder(Some(Box::new(Recording::new(&exchange))));
        ObservedFuture::new(self.inner.call(exchange), recorder)
    }
}

/// The answer's body; the request is recorded when it is dropped, at its end or before.
pub(crate) type RecordedBody = ObservedBody<ResponseBody, Recorder>;

/// The observer of a request's answer. Where a tunnel follows, only that one's end tells how the request ended: then the
/// recording goes there. On the heap, because it moves with the answer through every layer.
pub(crate) struct Recorder(Option<Box<Recording>>);

impl Observe<ResponseBody> for Recorder {
    fn on_head(&mut self, answer: &mut Answer, _: &mut Context<'_>) {
        let Some(recording) = &mut self.0 else { return };
        recording.head(answer);
        if let Some(tunnel) = recording.record.tunnel.take()
            && let Some(mut recording) = self.0.take()
        {
            recording.ended = false;
            tunnel.observe(move |totals| recording.tunnel_ended(totals));
        }
    }

    fn on_frame(&mut self, frame: &Frame<Bytes>, is_last: bool) {
        let Some(recording) = &mut self.0 else { return };
        recording.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        recording.ended = is_last;
        if let Some(trailers) = frame.trailers_ref() {
            recording.note_grpc_status(trailers);
        }
    }

    fn on_error(&mut self, error: &BodyError) {
        if let Some(recording) = &mut self.0 {
            recording.broke = Some(error.to_string());
        }
    }

    fn on_end(&mut self) {
        if let Some(recording) = &mut self.0 {
            recording.ended = true;
        }
    }
}

/// Everything a log line says, and the count of the request as in flight.
pub(crate) struct Recording {
    line: Option<Line>,
    record: Rc<RequestRecord>,
    status: Option<StatusCode>,
    grpc_status: Option<u16>,
    /// From the request's head to the answer's.
    head_after: Duration,
    model_version: Option<HeaderValue>,
    /// The answer's body reached its end, or has none.
    ended: bool,
    is_head: bool,
    bytes: u64,
    /// Bytes from the client through a tunnel.
    received: Option<u64>,
    broke: Option<String>,
}

/// Fields that only the log line needs.
struct Line {
    version: Version,
    method: Method,
    uri: Uri,
    probe: bool,
}

impl Recording {
    fn new(exchange: &Exchange) -> Self {
        let worker = &exchange.record.worker;
        worker.metrics.in_flight.inc();
        Self {
            line: worker.snapshot.live.access_log.then(|| Line::new(exchange)),
            record: Rc::clone(&exchange.record),
            status: None,
            grpc_status: None,
            head_after: Duration::ZERO,
            model_version: None,
            ended: false,
            is_head: exchange.head.method == Method::HEAD,
            bytes: 0,
            received: None,
            broke: None,
        }
    }

    fn head(&mut self, answer: &Answer) {
        self.head_after = self.record.started.elapsed();
        self.status = Some(self.record.failed.get().unwrap_or(answer.status()));
        self.note_grpc_status(answer.headers());
        self.ended = self.is_head || answer.body().is_end_stream();
        if self.line.is_some() {
            self.model_version = answer.headers().get(X_MODEL_VERSION).cloned();
        }
    }

    /// gRPC's own status, which stands in the trailers, or in the headers when there is nothing else.
    fn note_grpc_status(&mut self, fields: &HeaderMap) {
        if self.record.is_grpc {
            self.grpc_status = grpc::status_in(fields).or(self.grpc_status);
        }
    }

    fn tunnel_ended(&mut self, tunnel: TunnelTotals) {
        self.bytes = tunnel.to_client;
        self.received = Some(tunnel.to_upstream);
        self.ended = tunnel.broke.is_none();
        self.broke = tunnel.broke.map(|broke| broke.to_string());
    }

    /// Tells whether the answer was cut short: the client left or the upstream broke off.
    fn aborted(&self) -> bool {
        self.broke.is_some() || (self.status.is_some() && !self.ended)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.record.worker.metrics.in_flight.dec();
        let duration = self.record.started.elapsed();
        let upstream = self.record.upstream_time();
        let others = upstream.unwrap_or_default() + self.record.body_wait.get();
        let overhead = self.head_after.saturating_sub(others);
        let metrics = self.record.route_metrics();
        match self.status {
            Some(status) => metrics.count(status),
            // The client left before there was an answer: nginx's 499.
            None => metrics.aborted.inc(),
        }
        if self.status.is_some() {
            metrics.overhead.observe(overhead.as_secs_f64());
            if self.aborted() {
                metrics.aborted.inc();
            }
            if let Some(status) = self.grpc_status {
                metrics.grpc.count(status);
            }
        }
        // A tunnel's hours would say nothing about how long requests take.
        if self.received.is_none() {
            metrics.duration.observe(duration.as_secs_f64());
        }
        if let Some(upstream) = upstream {
            metrics.upstream.observe(upstream.as_secs_f64());
        }
        if let Some(line) = &self.line {
            line.write(self, self.record.route(), duration, overhead);
        }
    }
}

impl Line {
    fn new(exchange: &Exchange) -> Self {
        Self {
            version: exchange.head.version,
            method: exchange.head.method.clone(),
            uri: exchange.head.uri.clone(),
            probe: is_kubelet(&exchange.head.headers),
        }
    }

    fn write(&self, record: &Recording, route: Option<&Route>, duration: Duration, overhead: Duration) {
        /// The same fields at one of two levels: tracing fixes a level where the macro stands.
        macro_rules! write {
            ($level:ident) => {
                $level!(
                    request_id = %record.record.id,
                    peer = %record.record.peer.address,
                    client = record.record.named_client().map(tracing::field::display),
                    protocol = ?self.version,
                    method = %self.method,
                    path = without_query_values(self.uri.path(), self.uri.query()),
                    route = route.map(|route| route.name.as_str()),
                    status = record.status.map_or(499, |status| status.as_u16()),
                    grpc_status = record.grpc_status,
                    bytes = record.bytes,
                    bytes_received = record.received,
                    duration_ms = millis(duration),
                    gateway_ms = millis(overhead),
                    upstream_ms = record.record.upstream_time().map(millis),
                    endpoint = record.record.endpoint.get().map(tracing::field::display),
                    attempts = Some(record.record.attempts.get()).filter(|attempts| *attempts > 1),
                    model_version = record.model_version.as_ref().and_then(|version| version.to_str().ok()),
                    aborted = record.aborted().then_some(true),
                    broke = record.broke.as_deref(),
                    "request"
                )
            };
        }
        // A probe asks the gateway itself; what is forwarded is a request, whoever says to be a kubelet.
        let own = route.is_some_and(|route| matches!(route.target, Target::Respond(_)));
        if self.probe && own { write!(debug) } else { write!(info) }
    }
}

fn is_kubelet(headers: &HeaderMap) -> bool {
    headers.get(USER_AGENT).is_some_and(is_probe)
}
