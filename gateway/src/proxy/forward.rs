//! One request to a cluster and its answer back.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TE};
use http::{HeaderValue, Method, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::deadline::Deadline;
use super::retry::{self, Failure, Retry};
use super::{headers, max_forwards, upgrade};
use crate::config::Protocol;
use crate::error::ProxyError;
use crate::exchange::{Answer, Exchange, ReadLimits, RequestRecord, ResponseBody, UpstreamBody, refuse_body};
use crate::known_headers::KnownHeaders;
use crate::route::Forward;
use crate::upstream::{
    Attempts, ClientBody, ClusterWorker, Delivery, Lease, RequestBody, Unsent, UpstreamError, recycle_header_map,
};

/// A body up to this size on an idempotent route is read first, so that it can be sent again. It is what
/// linkerd and agentgateway keep, and far above the size of a usual inference request.
const REPLAYABLE_BYTES: u64 = 64 * 1024;

pub(super) async fn forward(
    cluster: &ClusterWorker,
    route: &Forward,
    mut exchange: Box<Exchange>,
) -> Result<Answer, ProxyError> {
    if matches!(exchange.head.method, Method::OPTIONS | Method::TRACE)
        && let Some(answer) = max_forwards::check(&mut exchange)?
    {
        return Ok(answer);
    }
    cluster.retry_budget.note_request();
    let version = exchange.head.version;
    let record = Rc::clone(&exchange.record);
    let outgoing = Outgoing::prepare(route, exchange, cluster.limits.max_header_bytes).await?;

    let asked = Instant::now();
    record.ask_upstream(asked);
    let answered = ask(cluster, route, &outgoing, &record, asked).await;
    let Outgoing {
        exchange,
        body,
        deadline,
        upgrade,
        ..
    } = outgoing;
    let upload = body.into_upload();
    recycle_header_map(exchange.head.headers);
    let (response, known, lease) = match answered {
        Ok((response, known, lease)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let switched = upgrade::switch(&record, upgrade, response, known, lease);
            return switched.map_err(|error| abandon(upload, error));
        }
        Ok(answered) => answered,
        Err(error) => {
            record.upstream_answered(Instant::now());
            return Err(abandon(upload, error));
        }
    };

    let (mut head, ()) = response.into_parts();
    match head.status {
        // Not stripped of it: the answer is to say to what the client has to switch.
        StatusCode::UPGRADE_REQUIRED => upgrade::required(&mut head.headers, known, version),
        _ => headers::to_client(&mut head.headers, known),
    }
    if head.status == StatusCode::NO_CONTENT {
        // Where there cannot be a body there is no length of one (RFC 9110 section 8.6); 304 and HEAD tell another's.
        head.headers.remove(CONTENT_LENGTH);
    }
    head.version = Version::HTTP_11;
    let limits = ReadLimits {
        read_timeout: deadline.read_timeout,
        deadline: deadline.client,
    };
    let body = UpstreamBody::new(lease, upload, limits, record.is_grpc);
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
    route: &Forward,
    outgoing: &Outgoing,
    record: &RequestRecord,
    asked: Instant,
) -> Result<(Response<()>, KnownHeaders, Lease), ProxyError> {
    let deadline = &outgoing.deadline;
    let connect_by = deadline.at_most(asked + cluster.limits.connect_timeout);
    let mut attempts = Attempts::new(asked, connect_by, deadline.after(asked));
    if outgoing.upgrade.is_some() {
        // A tunnel uses its connection up, so there is no sense in risking one that may have gone stale.
        attempts.require_new_connection();
    }
    let mut unsent: Option<Box<Unsent>> = None;
    loop {
        let retry = Retry {
            cluster,
            route,
            idempotent: outgoing.idempotent,
            upload: outgoing.body.upload(),
            attempt: attempts.begin(),
        };
        record.attempts.set(retry.attempt);
        let mut lease = cluster.connection(&mut attempts).await?;
        let address = lease.endpoint().address;
        record.endpoint.set(Some(address));
        match unsent.take() {
            Some(unsent) => lease.start_unsent(*unsent),
            None => outgoing.start(&mut lease, route, record),
        }
        let result = send(&mut lease, outgoing.body.upload(), deadline, &retry).await;
        let now = Instant::now();
        if let Some(outcome) = retry::outcome(&result, record.is_grpc, &lease) {
            lease.note(outcome, now);
        }
        let failure = match result {
            Ok(mut response) => {
                let known = KnownHeaders::in_headers(response.headers());
                if known.load_report
                    && let Some(depth) = headers::take_load_report(response.headers_mut())
                {
                    lease.note_load_report(depth, now);
                }
                if !retry.wants_another(&response, record.is_grpc, address, now) {
                    record.upstream_answered(now);
                    if let Some(upload) = outgoing.body.upload() {
                        upload.stop_keeping();
                    }
                    return Ok((response, known, lease));
                }
                Failure::Answered
            }
            Err(failure) => failure,
        };
        unsent = retry.again(failure, &lease, &mut attempts, now)?;
        if let Some(upload) = outgoing.body.upload() {
            upload.start_again();
        }
    }
}

/// Sends the request and waits for the answer's head, for as long as something moves and the deadline allows: the
/// route's timeout starts anew with each part of the client's body.
async fn send(
    lease: &mut Lease,
    upload: Option<&ClientBody>,
    deadline: &Deadline,
    retry: &Retry<'_>,
) -> Result<Response<()>, Failure> {
    let (sent_at, address) = (lease.sent_at(), lease.endpoint().address);
    // Connecting may have taken longer than the timeout: what moved before does not count.
    let until = || deadline.after(upload.map_or(sent_at, |upload| upload.last_frame().max(sent_at)));
    let mut per_try = retry.per_try_until(sent_at);
    let first = per_try.map_or_else(until, |per_try| per_try.min(until()));
    let granted = Cell::new(false);
    let late = || {
        let (now, until) = (Instant::now(), until());
        // Asked once: without another attempt, this one has the route's whole time.
        if per_try.take_if(|per_try| *per_try <= now && now < until).is_some() {
            granted.set(retry.grant(address, now));
        }
        (now < until && !granted.get()).then_some(until)
    };
    match lease.answer(first, late).await {
        Some(Ok(response)) => Ok(response),
        Some(Err(error)) => Err(broke(lease, upload, error)),
        // It waits for a stream, so its endpoint has not seen it, and is not the one that is silent.
        None if lease.waits_for_stream() => Err(not_sent(deadline, granted.get())),
        None if granted.get() => Err(Failure::Late),
        None => Err(timed_out(upload, deadline)),
    }
}

#[cold]
fn not_sent(deadline: &Deadline, may_go_elsewhere: bool) -> Failure {
    match may_go_elsewhere {
        true => Failure::NotWritten {
            unsent: None,
            error: UpstreamError::NoStream,
        },
        false if deadline.has_passed(Instant::now()) => Failure::Other(ProxyError::DeadlineExceeded),
        false => Failure::Other(ProxyError::UpstreamTimeout),
    }
}

#[cold]
fn broke(lease: &mut Lease, upload: Option<&ClientBody>, error: UpstreamError) -> Failure {
    if let Some(fault) = upload.and_then(ClientBody::take_fault) {
        return Failure::Other(fault.into());
    }
    match lease.delivery(&error) {
        Delivery::NotSent(unsent) => Failure::NotWritten { unsent, error },
        Delivery::Refused => Failure::Refused(error),
        Delivery::Unknown => Failure::Broke(error),
    }
}

#[cold]
fn timed_out(upload: Option<&ClientBody>, deadline: &Deadline) -> Failure {
    match upload {
        Some(upload) if upload.waits_for_client() => Failure::Other(ProxyError::RequestBodyTimeout),
        _ if deadline.has_passed(Instant::now()) => Failure::Other(ProxyError::DeadlineExceeded),
        _ => Failure::TimedOut,
    }
}

/// A request as the upstream gets it. It stays where it is until it is answered, so that it can go out again.
struct Outgoing {
    exchange: Box<Exchange>,
    body: RequestBody,
    forwarded: headers::Forwarded,
    /// Set when it may be sent again after the upstream may have seen it, as far as its body is still kept.
    idempotent: bool,
    deadline: Deadline,
    /// The protocols that it asks to switch to.
    upgrade: Option<HeaderValue>,
}

impl Outgoing {
    async fn prepare(
        route: &Forward,
        mut exchange: Box<Exchange>,
        max_header_bytes: usize,
    ) -> Result<Self, ProxyError> {
        let (known, started) = (exchange.known, exchange.record.started);
        let deadline = match Deadline::of(&exchange.head.headers, known, started, route.timeout) {
            Ok(deadline) => deadline,
            Err(error) => {
                refuse_body(&mut exchange);
                return Err(error);
            }
        };
        let is_h2c = route.cluster.config.protocol == Protocol::H2c;
        let upgrade = match is_h2c {
            true => None,
            false => upgrade::asked(&exchange.head, known),
        };
        let idempotent = route.config.idempotent || exchange.head.method.is_idempotent();
        let incoming = exchange.body.take().filter(|incoming| !incoming.is_end_stream());
        let body = match incoming {
            None => RequestBody::Whole(Bytes::new()),
            Some(incoming) if idempotent && !is_h2c && upgrade.is_none() && is_replayable(&incoming) => {
                let began = Instant::now();
                let whole = Box::pin(read_whole(incoming, deadline.after(began))).await?;
                exchange.record.body_wait.set(began.elapsed());
                RequestBody::Whole(whole)
            }
            Some(incoming) => {
                let limit = exchange.record.worker.snapshot.live.max_body_bytes;
                let body = ClientBody::new(incoming, &exchange.head.headers, limit, max_header_bytes);
                if is_h2c {
                    // An upstream may refuse a stream, or go away, when some of the body is on its way.
                    body.keep(REPLAYABLE_BYTES);
                }
                RequestBody::Streaming(body)
            }
        };
        let Exchange { head, record, .. } = &mut *exchange;
        let wants_trailers = is_h2c && headers::wants_trailers(&head.headers, known);
        let (peer, sender) = (&record.peer, record.sender.as_deref());
        let forwarded = headers::to_upstream(head, known, peer, sender, &route.cluster.config.name);
        if wants_trailers {
            head.headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(protocols) = &upgrade {
            upgrade::announce(&mut head.headers, protocols.clone());
        }
        head.uri = route.upstream_path(&head.uri)?.into();
        head.version = Version::HTTP_11;

        Ok(Self {
            idempotent,
            exchange,
            body,
            forwarded,
            deadline,
            upgrade,
        })
    }

    /// Gives the request to a connection.
    fn start(&self, lease: &mut Lease, route: &Forward, record: &RequestRecord) {
        let left = self.deadline.left(&route.timeout_header, lease.sent_at());
        let added = headers::added(record.real_ip(), &record.id, &self.forwarded, &left);
        lease.start(&self.exchange.head, &added, &self.body);
    }
}

/// Tells whether the body may be read before the request is sent, so that it can be sent again.
fn is_replayable(incoming: &Incoming) -> bool {
    incoming
        .size_hint()
        .exact()
        .is_some_and(|size| size <= REPLAYABLE_BYTES)
}

async fn read_whole(incoming: Incoming, until: Instant) -> Result<Bytes, ProxyError> {
    let limit = usize::try_from(REPLAYABLE_BYTES).unwrap_or(usize::MAX);
    let collected = timeout_at(until, Limited::new(incoming, limit).collect());
    match collected.await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(ProxyError::RequestBody(*error)),
            Err(_over_limit) => Err(ProxyError::BodyTooLarge(REPLAYABLE_BYTES)),
        },
        Err(_elapsed) => Err(ProxyError::RequestBodyTimeout),
    }
}
