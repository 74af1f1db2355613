//! What surrounds every request: its id, its line in the log, who answered it, and a net below panics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use shared::request_id::{RequestId, X_REQUEST_ID};
use shared::serve::{CatchPanicLayer, Observe, ObservedFuture};
use shared::telemetry::logging::{is_probe, millis, without_query_values};
use tower::{Service, ServiceBuilder, service_fn};
use tracing::Level;

use crate::http::{Path, ResponseBody};
use crate::metrics::Metrics;

const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// Logged for a request whose client left before there was an answer, as nginx does.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The service of one connection, whose requests `answer` answers in the name of `pod`.
pub fn service<A>(
    metrics: Arc<Metrics>,
    pod: HeaderValue,
    peer: SocketAddr,
    answer: impl Fn(Request<Incoming>) -> A + Clone + 'static,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<impl Body<Data = Bytes, Error = Infallible> + 'static>,
    Error = Infallible,
> + 'static
where
    A: Future<Output = Response<ResponseBody>> + 'static,
{
    let answer = ServiceBuilder::new()
        .layer(CatchPanicLayer)
        .service(service_fn(move |request| {
            let answered = answer(request);
            async move { Ok::<_, Infallible>(answered.await) }
        }));
    TowerToHyperService::new(service_fn(move |request: Request<Incoming>| {
        let sent = request.headers().get(X_REQUEST_ID).and_then(RequestId::from_client);
        let id = sent.unwrap_or_else(|| RequestId::generate(fastrand::u128(..)));
        let record = AccessRecord::start(&metrics, peer, id.clone(), &request);
        let (pod, mut answer) = (pod.clone(), answer.clone());
        let signed = async move {
            let mut response = answer.call(request).await?;
            let headers = response.headers_mut();
            headers.insert(X_REQUEST_ID, id.header_value().clone());
            headers.insert(X_SERVED_BY, pod);
            Ok::<_, Infallible>(response)
        };
        ObservedFuture::new(signed, record)
    }))
}

/// A request from its head to the end of its answer; dropping it is the end.
struct AccessRecord {
    metrics: Arc<Metrics>,
    peer: SocketAddr,
    started: Instant,
    path: Path,
    probe: bool,
    id: RequestId,
    method: Method,
    uri: Uri,
    status: StatusCode,
    bytes: usize,
    is_whole: bool,
}

impl AccessRecord {
    fn start(metrics: &Arc<Metrics>, peer: SocketAddr, id: RequestId, request: &Request<Incoming>) -> Self {
        metrics.in_flight.inc();
        let path = Path::of(request.uri().path());
        Self {
            metrics: Arc::clone(metrics),
            peer,
            started: Instant::now(),
            path,
            probe: path.is_probe() || request.headers().get(USER_AGENT).is_some_and(is_probe),
            id,
            method: request.method().clone(),
            uri: request.uri().clone(),
            status: StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::REQUEST_TIMEOUT),
            bytes: 0,
            is_whole: false,
        }
    }
}

impl Observe<ResponseBody> for AccessRecord {
    fn on_head(&mut self, answer: &mut Response<ResponseBody>, _: &mut std::task::Context<'_>) {
        self.status = answer.status();
        self.is_whole = answer.body().is_end_stream() || self.method == Method::HEAD;
    }

    fn on_frame(&mut self, frame: &Frame<Bytes>, is_last: bool) {
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
        self.is_whole = is_last;
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.answered(self.path.label(), self.status);
        // The level of an event is part of its code, so there have to be two.
        macro_rules! log_at {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    request_id = self.id.as_str(),
                    method = self.method.as_str(),
                    path = without_query_values(self.uri.path(), self.uri.query()),
                    status = self.status.as_u16(),
                    bytes = self.bytes,
                    aborted = !self.is_whole,
                    duration_ms = millis(self.started.elapsed()),
                    peer = %self.peer,
                    "request"
                )
            };
        }
        match self.probe {
            true => log_at!(Level::DEBUG),
            false => log_at!(Level::INFO),
        }
    }
}
