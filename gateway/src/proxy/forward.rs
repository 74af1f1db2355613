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
use crate::body::{ClientBody, RequestBody, ResponseBody, UpstreamBody};
use crate::error::ProxyError;
use crate::middleware::exchange::{Exchange, Record};
use crate::route::Forward;
use crate::upstream::{Attempts, ClusterWorker, Lease};

/// A body up to this size on an idempotent route is read first, so that it can be sent again. It is what
/// linkerd and agentgateway keep, and far above the size of a usual inference request.
const REPLAYABLE_BYTES: u64 = 64 * 1024;

pub(super) async fn forward(
    worker: &Worker,
    route: &Forward,
    exchange: Exchange,
) -> Result<Response<ResponseBody>, ProxyError> {
    let cluster = &worker.clusters[route.cluster];
    let record = Rc::clone(&exchange.record);
    let outgoing = Outgoing::prepare(worker, route, exchange).await?;
    let (upload, read_timeout) = (outgoing.upload.clone(), outgoing.read_timeout);

    record.ask_upstream();
    let answered = ask(cluster, outgoing, &record).await;
    record.upstream_answered();
    let (response, lease) = match answered {
        Ok((response, _)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            // Nothing was asked to switch: `Upgrade` is not passed on.
            return Err(abandon(upload, ProxyError::UnexpectedUpgrade));
        }
        Ok(answered) => answered,
        Err(error) => return Err(abandon(upload, error)),
    };

    let (mut head, incoming) = response.into_parts();
    headers::to_client(&mut head.headers);
    head.version = Version::HTTP_11;
    let body = UpstreamBody::new(incoming, lease, upload, read_timeout);
    Ok(Response::from_parts(head, ResponseBody::Upstream(body)))
}

/// Ends an exchange that has no answer to pass on, and sees to what its client still sends.
fn abandon(upload: Option<Rc<ClientBody>>, error: ProxyError) -> ProxyError {
    if let Some(upload) = upload {
        upload.discard_rest();
    }
    error
}

/// Sends the request, again where that is safe and the attempts last, and waits for the answer's head.
async fn ask(
    cluster: &ClusterWorker,
    outgoing: Outgoing,
    record: &Record,
) -> Result<(Response<Incoming>, Lease), ProxyError> {
    let metrics = &cluster.cluster.metrics;
    let mut attempts = Attempts::new(cluster.limits.connect_timeout);
    let mut request = outgoing.first;
    loop {
        record.attempts.set(record.attempts.get() + 1);
        let mut lease = cluster.connection(&mut attempts).await?;
        record.endpoint.set(Some(lease.endpoint.address));
        let last = record.attempts.get() >= cluster.limits.max_attempts;
        let sent = send(&mut lease, request, outgoing.upload.as_deref(), outgoing.read_timeout);
        request = match sent.await {
            Ok(response) => {
                lease.endpoint.note_success();
                return Ok((response, lease));
            }
            Err(SendError::NotWritten { unsent, .. }) if !last => {
                metrics.retries_unsent.inc();
                *unsent
            }
            Err(SendError::Broke(error)) => match &outgoing.replay {
                Some(replay) if !last => {
                    metrics.retries_broken.inc();
                    replay.request()
                }
                _ => return Err(ProxyError::Upstream(error)),
            },
            Err(error) => {
                if matches!(error, SendError::Other(ProxyError::UpstreamTimeout)) {
                    lease.endpoint.note_failure();
                }
                return Err(error.into());
            }
        };
        // A pooled connection that went stale says nothing about its endpoint; a new one that failed does.
        if !lease.reused {
            attempts.avoid.push(lease.endpoint.address);
        }
        attempts.fresh = true;
    }
}

/// A request as the upstream gets it.
struct Outgoing {
    first: Request<RequestBody>,
    /// The client's body, when it streams.
    upload: Option<Rc<ClientBody>>,
    /// What it takes to send the request again after it may have been seen, when that is safe.
    replay: Option<Replay>,
    read_timeout: Duration,
}

struct Replay {
    parts: request::Parts,
    body: Bytes,
}

impl Replay {
    fn request(&self) -> Request<RequestBody> {
        Request::from_parts(self.parts.clone(), RequestBody::Whole(self.body.clone()))
    }
}

impl Outgoing {
    async fn prepare(worker: &Worker, route: &Forward, exchange: Exchange) -> Result<Self, ProxyError> {
        let read_timeout = route.timeout.unwrap_or(worker.upstream.request_timeout);
        let (mut parts, incoming) = exchange.request.into_parts();
        let idempotent = route.idempotent || parts.method.is_idempotent();
        let body = if incoming.is_end_stream() {
            RequestBody::Whole(Bytes::new())
        } else if idempotent && is_replayable(&incoming) {
            let began = Instant::now();
            let whole = Box::pin(read_whole(incoming, read_timeout)).await?;
            exchange.record.body_wait.set(began.elapsed());
            RequestBody::Whole(whole)
        } else {
            RequestBody::Streaming(ClientBody::new(incoming, &parts.headers, worker.max_body_bytes))
        };
        headers::to_upstream(&mut parts, &exchange.peer, &exchange.id, &route.cluster_name);
        parts.uri = route.upstream_path(&parts.uri)?.into();
        parts.version = Version::HTTP_11;

        let (upload, replay) = match &body {
            RequestBody::Streaming(upload) => (Some(Rc::clone(upload)), None),
            RequestBody::Whole(body) => {
                let replay = || Replay {
                    parts: parts.clone(),
                    body: body.clone(),
                };
                (None, idempotent.then(replay))
            }
        };
        Ok(Self {
            first: Request::from_parts(parts, body),
            upload,
            replay,
            read_timeout,
        })
    }
}

/// Whether the body may be read before the request is sent, so that it can be sent again.
fn is_replayable(incoming: &Incoming) -> bool {
    incoming
        .size_hint()
        .exact()
        .is_some_and(|size| size <= REPLAYABLE_BYTES)
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
    upload: Option<&ClientBody>,
    read_timeout: Duration,
) -> Result<Response<Incoming>, SendError> {
    let sent_at = Instant::now();
    // Connecting may have taken longer than the timeout: what moved before does not count.
    let moved = || upload.map_or(sent_at, |upload| upload.last_frame().max(sent_at));
    let mut sent = pin!(lease.sender().try_send_request(request));
    let mut error = loop {
        let moved_at = moved();
        match timeout_at(moved_at + read_timeout, &mut sent).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => break error,
            Err(_elapsed) if moved() > moved_at => {}
            Err(_elapsed) => {
                let client = upload.is_some_and(ClientBody::waits_for_client);
                return Err(SendError::Other(match client {
                    true => ProxyError::RequestBodyTimeout,
                    false => ProxyError::UpstreamTimeout,
                }));
            }
        }
    };
    if let Some(fault) = upload.and_then(ClientBody::take_fault) {
        return Err(SendError::Other(fault));
    }
    Err(match error.take_message() {
        Some(request) => SendError::NotWritten {
            unsent: Box::new(request),
            error: error.into_error(),
        },
        None => SendError::Broke(error.into_error()),
    })
}
