//! One log line and one count for each request, taken when the answer's last byte is handed over or the
//! client has gone, whichever comes first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderValue, Method, Response, StatusCode, Uri};
use http_body::Frame;
use shared::grpc::UNIMPLEMENTED;
use shared::request_id::RequestId;
use shared::serve::{Observe, ObservedBody, ObservedFuture};
use shared::telemetry::logging::{is_probe, millis, without_query_values};
use tower::{Layer, Service};
use tracing::Level;

use crate::http::{ParsedRequest, ResponseBody, ServiceState};
use crate::route::Route;

/// Logged for a request whose client left before there was an answer, as nginx does.
const CLIENT_CLOSED_REQUEST: u16 = 499;

#[derive(Debug, Clone)]
pub struct AccessLogLayer {
    pub state: Arc<ServiceState>,
    pub peer: SocketAddr,
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AccessLog {
            inner,
            state: Arc::clone(&self.state),
            peer: self.peer,
        }
    }
}

#[derive(Debug, Clone)]
pub struct AccessLog<S> {
    inner: S,
    state: Arc<ServiceState>,
    peer: SocketAddr,
}

impl<S, B> Service<ParsedRequest<B>> for AccessLog<S>
where
    S: Service<ParsedRequest<B>, Response = Response<ResponseBody>>,
{
    type Response = Response<ObservedBody<ResponseBody, AccessRecord>>;
    type Error = S::Error;
    type Future = ObservedFuture<S::Future, AccessRecord>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, parsed: ParsedRequest<B>) -> Self::Future {
        let record = AccessRecord::start(&self.state, self.peer, &parsed);
        ObservedFuture::new(self.inner.call(parsed), record)
    }
}

/// A request from its head to the end of its answer; dropping it is the end.
pub struct AccessRecord {
    state: Arc<ServiceState>,
    peer: SocketAddr,
    started: Instant,
    route: Route,
    method: Method,
    /// Fields of the log line, when there will be one.
    line: Option<LogLine>,
    status: StatusCode,
    /// Version of the model that answered, where the path selected it.
    model_version: Option<HeaderValue>,
    bytes: usize,
}

impl Observe<ResponseBody> for AccessRecord {
    fn on_head(&mut self, answer: &mut Response<ResponseBody>, _: &mut Context<'_>) {
        self.status = answer.status();
        self.model_version = answer.body_mut().model_version.take();
    }

    fn on_frame(&mut self, frame: &Frame<Bytes>, _is_last: bool) {
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}

struct LogLine {
    probe: bool,
    uri: Uri,
    request_id: RequestId,
}

impl AccessRecord {
    fn start<B>(state: &Arc<ServiceState>, peer: SocketAddr, parsed: &ParsedRequest<B>) -> Self {
        state.metrics.in_flight.inc();
        let ParsedRequest { id, path, request } = parsed;
        let route = path.route();
        let probe = route.is_probe() || request.headers().get(USER_AGENT).is_some_and(is_probe);
        Self {
            state: Arc::clone(state),
            peer,
            started: Instant::now(),
            route,
            method: request.method().clone(),
            line: is_logged(probe).then(|| LogLine {
                probe,
                uri: request.uri().clone(),
                request_id: id.clone(),
            }),
            status: StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::REQUEST_TIMEOUT),
            model_version: None,
            bytes: 0,
        }
    }

    fn log(&self, line: &LogLine, duration: Duration) {
        let request_id = line.request_id.header_value().to_str().ok();
        let model_version = self.model_version.as_ref().and_then(|version| version.to_str().ok());
        let model_version = model_version.unwrap_or(&self.state.model_version);
        let path = without_query_values(line.uri.path(), line.uri.query());
        // The level of an event is part of its code, so there have to be two.
        macro_rules! log_at {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    request_id,
                    method = self.method.as_str(),
                    path,
                    status = self.status.as_u16(),
                    grpc_status = (self.route == Route::Grpc).then_some(UNIMPLEMENTED),
                    bytes = self.bytes,
                    duration_ms = millis(duration),
                    model_version,
                    peer = %self.peer,
                    "request"
                )
            };
        }
        match line.probe {
            true => log_at!(Level::DEBUG),
            false => log_at!(Level::INFO),
        }
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        self.state.metrics.in_flight.dec();
        self.state
            .metrics
            .answered(self.route, &self.method, self.status, duration.as_secs_f64());
        if let Some(line) = &self.line {
            self.log(line, duration);
        }
    }
}

fn is_logged(probe: bool) -> bool {
    match probe {
        true => tracing::enabled!(Level::DEBUG),
        false => tracing::enabled!(Level::INFO),
    }
}
