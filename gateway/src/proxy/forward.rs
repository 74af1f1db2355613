//! One request to a cluster and its answer back; sent again only where that is safe.
//!
//! - Never written: hyper hands the request back, and any method may go out again.
//! - Written, but the connection broke before an answer: the upstream may have acted on it, so only an
//!   idempotent method (RFC 9110 section 9.2.2) or a route that is declared idempotent goes out again.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version, request};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Worker, headers};
use crate::body::{BodyProgress, RequestBody, ResponseBody, UpstreamBody};
use crate::error::ProxyError;
use crate::middleware::exchange::Exchange;
use crate::route::Forward;
use crate::upstream::{Attempts, Lease};

/// A body up to this size on an idempotent route is read first, so that it can be sent again. It is what
/// linkerd and agentgateway keep, and far above the size of a usual inference request.
const REPLAYABLE_BYTES: u64 = 64 * 1024;

pub(super) async fn forward(
    worker: &Worker,
    route: &Forward,
    exchange: Exchange,
) -> Result<Response<ResponseBody>, ProxyError> {
    let cluster = &worker.clusters[route.cluster];
    let record = exchange.record;
    let read_timeout = route.timeout.unwrap_or(worker.upstream.request_timeout);
    let (mut parts, incoming) = exchange.request.into_parts();
    let mut outgoing = Outgoing::body(route, &parts, incoming, worker.max_body_bytes, read_timeout).await?;
    headers::to_upstream(&mut parts, &exchange.peer, &exchange.id, &route.cluster_name);
    parts.uri = route.upstream_path(&parts.uri).into();
    parts.version = Version::HTTP_11;
    let mut request = outgoing.first(parts);

    let started = Instant::now();
    let mut attempts = Attempts::new(worker.upstream.connect_timeout);
    let answered = loop {
        record.attempts.set(record.attempts.get() + 1);
        let mut lease = match cluster.connection(&mut attempts).await {
            Ok(lease) => lease,
            Err(error) => break Err(error),
        };
        record.endpoint.set(Some(lease.address));
        let again = record.attempts.get() < worker.upstream.max_attempts;
        match send(&mut lease, request, outgoing.progress.as_deref(), read_timeout).await {
            Ok(response) => break Ok((response, lease)),
            Err(SendError::NotWritten { unsent, .. }) if again => {
                cluster.cluster.metrics.retries_unsent.inc();
                request = *unsent;
            }
            Err(SendError::Broke(_)) if again && outgoing.copy.is_some() => {
                cluster.cluster.metrics.retries_broken.inc();
                request = outgoing.again();
            }
            Err(error) => break Err(error.into()),
        }
        // A pooled connection that went stale says nothing about its endpoint; a new one that failed does.
        if !lease.reused {
            attempts.avoid.push(lease.address);
        }
        attempts.fresh = true;
    };
    record.upstream.set(Some(started.elapsed()));
    let (response, lease) = answered?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Nothing was asked to switch: `Upgrade` is not passed on.
        return Err(ProxyError::UnexpectedUpgrade);
    }

    let (mut head, incoming) = response.into_parts();
    headers::to_client(&mut head.headers);
    head.version = Version::HTTP_11;
    let body = UpstreamBody::new(incoming, lease, read_timeout);
    Ok(Response::from_parts(head, ResponseBody::Upstream(body)))
}

/// A request on its way out, and the copy to send again if there can be one.
struct Outgoing {
    body: Option<RequestBody>,
    progress: Option<Rc<BodyProgress>>,
    replay: Replay,
    copy: Option<request::Parts>,
}

/// Whether the body can be sent a second time.
enum Replay {
    No,
    Empty,
    Whole(Bytes),
}

impl Outgoing {
    async fn body(
        route: &Forward,
        parts: &request::Parts,
        incoming: Incoming,
        limit: u64,
        read_timeout: Duration,
    ) -> Result<Self, ProxyError> {
        let idempotent = route.idempotent || parts.method.is_idempotent();
        let outgoing = |body, progress, replay| Self {
            body: Some(body),
            progress,
            replay,
            copy: None,
        };
        if incoming.is_end_stream() {
            let replay = if idempotent { Replay::Empty } else { Replay::No };
            return Ok(outgoing(RequestBody::Empty, None, replay));
        }
        let announced = incoming.size_hint().exact();
        if idempotent && announced.is_some_and(|size| size <= REPLAYABLE_BYTES.min(limit)) {
            let whole = read_whole(incoming, read_timeout).await?;
            let body = RequestBody::replay(Some(&whole));
            return Ok(outgoing(body, None, Replay::Whole(whole)));
        }
        let (body, progress) = RequestBody::streaming(incoming, limit);
        Ok(outgoing(body, Some(progress), Replay::No))
    }

    fn first(&mut self, parts: request::Parts) -> Request<RequestBody> {
        if !matches!(self.replay, Replay::No) {
            self.copy = Some(parts.clone());
        }
        Request::from_parts(parts, self.body.take().unwrap_or(RequestBody::Empty))
    }

    /// The request once more. Call only when there is a copy.
    fn again(&self) -> Request<RequestBody> {
        let parts = self.copy.clone().unwrap_or_else(|| Request::new(()).into_parts().0);
        let body = match &self.replay {
            Replay::Whole(whole) => RequestBody::replay(Some(whole)),
            Replay::Empty | Replay::No => RequestBody::Empty,
        };
        Request::from_parts(parts, body)
    }
}

async fn read_whole(incoming: Incoming, read_timeout: Duration) -> Result<Bytes, ProxyError> {
    let limit = usize::try_from(REPLAYABLE_BYTES).unwrap_or(usize::MAX);
    let collected = timeout(read_timeout, Limited::new(incoming, limit).collect());
    match collected.await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(ProxyError::RequestBody(*error)),
            Err(_over_limit) => Err(ProxyError::BodyTooLarge(REPLAYABLE_BYTES)),
        },
        Err(_elapsed) => Err(ProxyError::RequestBodyTimeout),
    }
}

enum SendError {
    /// Nothing was written; here is the request, whole.
    NotWritten {
        unsent: Box<Request<RequestBody>>,
        error: hyper::Error,
    },
    /// It may have been seen.
    Broke(hyper::Error),
    /// Not the connection's fault, so another would not help.
    Other(ProxyError),
}

impl From<SendError> for ProxyError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotWritten { error, .. } | SendError::Broke(error) => Self::Upstream(error),
            SendError::Other(error) => error,
        }
    }
}

/// Sends the request and waits for the answer's head, for as long as something moves: the timeout starts
/// anew with each part of the client's body.
async fn send(
    lease: &mut Lease,
    request: Request<RequestBody>,
    progress: Option<&BodyProgress>,
    read_timeout: Duration,
) -> Result<Response<Incoming>, SendError> {
    let sent_at = Instant::now();
    let mut sent = pin!(lease.sender().try_send_request(request));
    loop {
        let moved_at = progress.map_or(sent_at, BodyProgress::last_frame);
        let error = match timeout_at(moved_at + read_timeout, &mut sent).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => error,
            Err(_elapsed) => match progress {
                Some(progress) if progress.last_frame() > moved_at => continue,
                Some(progress) if !progress.ended() => return Err(SendError::Other(ProxyError::RequestBodyTimeout)),
                _ => return Err(SendError::Other(ProxyError::UpstreamTimeout)),
            },
        };
        if let Some(fault) = progress.and_then(BodyProgress::take_fault) {
            return Err(SendError::Other(fault));
        }
        let mut error = error;
        return Err(match error.take_message() {
            Some(request) => SendError::NotWritten {
                unsent: Box::new(request),
                error: error.into_error(),
            },
            None => SendError::Broke(error.into_error()),
        });
    }
}
