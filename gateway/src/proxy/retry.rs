//! The decision whether a request is sent again.
//!
//! - Never written: not a byte of it left, so any method may go out again. So may what HTTP/2 says was not looked at: a
//!   stream that was refused (within the budget: too much to do is the usual reason), or too late for a GOAWAY.
//! - Possibly seen by an upstream (the connection broke, an attempt took too long, the answer was a 5xx): only an
//!   idempotent method (RFC 9110 section 9.2.2) or a route that is declared idempotent goes out again, with a body that
//!   was kept for it, within the retry budget, and never when the upstream said that it sheds load.

use std::net::SocketAddr;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};
use tokio::time::Instant;

use crate::error::ProxyError;
use crate::grpc::status_meant;
use crate::route::Forward;
use crate::upstream::monotonic::MonotonicNanos;
use crate::upstream::{Attempts, ClientBody, ClusterWorker, Lease, Outcome, Unsent, UpstreamError};

/// Reason why an attempt brought no final answer.
pub(super) enum Failure {
    /// The upstream cannot have seen it. Where writing it took work, here it is, whole.
    NotWritten {
        unsent: Option<Box<Unsent>>,
        error: UpstreamError,
    },
    /// The upstream says that it has not looked at it.
    Refused(UpstreamError),
    /// It may have been seen.
    Broke(UpstreamError),
    /// It took longer than one attempt may, and the next is granted already.
    Late,
    /// The answer was a status to retry on, and the next attempt is granted already.
    Answered,
    /// No answer in the time that the route allows.
    TimedOut,
    /// Not the endpoint's fault, so another would not help.
    Other(ProxyError),
}

impl Failure {
    /// Outcome at the endpoint; none where the failure is not the endpoint's, or was noted already. A pooled
    /// connection that went stale says nothing; a new one that failed does.
    fn outcome(&self, lease: &Lease) -> Option<Outcome> {
        match self {
            Self::Refused(_) => Some(Outcome::Shed),
            Self::Broke(_) if !lease.reused => Some(Outcome::Broke),
            // As one that goes away before it has answered anything.
            Self::NotWritten { error, .. } if error.is_the_connections() && lease.is_unproven() => Some(Outcome::Broke),
            Self::Late | Self::TimedOut => Some(Outcome::TimedOut),
            Self::NotWritten { .. } | Self::Broke(_) | Self::Answered | Self::Other(_) => None,
        }
    }
}

/// The decision about one attempt of a request: what it may take, and whether another follows.
pub(super) struct Retry<'a> {
    pub(super) cluster: &'a ClusterWorker,
    pub(super) route: &'a Forward,
    /// Tells whether the request may be sent again after the upstream may have seen it.
    pub(super) idempotent: bool,
    /// Its body, when that streams.
    pub(super) upload: Option<&'a ClientBody>,
    /// The attempt's number, from 1.
    pub(super) attempt: usize,
}

impl Retry<'_> {
    /// Tells whether all of the body that was sent can be sent again.
    fn has_whole_body(&self) -> bool {
        self.upload.is_none_or(ClientBody::can_start_again)
    }

    /// Tells whether the request may be sent again after the upstream may have seen it.
    fn is_replayable(&self) -> bool {
        self.idempotent && self.has_whole_body()
    }

    fn is_last(&self) -> bool {
        self.attempt >= self.cluster.limits.max_attempts
    }

    /// End of this attempt's time, where there could be another.
    pub(super) fn per_try_until(&self, sent: Instant) -> Option<Instant> {
        let limit = self
            .route
            .config
            .per_try_timeout
            .filter(|_| self.is_replayable() && !self.is_last())?;
        Some(sent + limit)
    }

    /// Takes one more attempt elsewhere out of the budget, if the request may have one.
    pub(super) fn grant(&self, tried: SocketAddr, now: Instant) -> bool {
        let possible = self.is_replayable() && !self.is_last() && self.cluster.has_other_than(tried);
        possible && self.withdraw(now)
    }

    fn withdraw(&self, now: Instant) -> bool {
        let granted = self.cluster.retry_budget.withdraw(MonotonicNanos::from(now));
        if !granted {
            self.cluster.shared.metrics.retries_over_budget.inc();
        }
        granted
    }

    /// Tells whether the answer is one to try elsewhere for; if so, the next attempt is granted.
    pub(super) fn wants_another(
        &self,
        response: &Response<()>,
        is_grpc: bool,
        tried: SocketAddr,
        now: Instant,
    ) -> bool {
        let status = meant_status(response, is_grpc);
        status.is_server_error()
            && self.route.config.retry_on.contains(&status)
            && !sheds_load(status, response.headers())
            && self.grant(tried, now)
    }

    /// Prepares the next attempt, which may take over what this one did not write, or ends with the failure.
    #[cold]
    pub(super) fn again(
        &self,
        failure: Failure,
        lease: &Lease,
        attempts: &mut Attempts,
        now: Instant,
    ) -> Result<Option<Box<Unsent>>, ProxyError> {
        let metrics = &self.cluster.shared.metrics;
        let stale = lease.reused && matches!(failure, Failure::NotWritten { .. } | Failure::Broke(_));
        if !stale {
            attempts.exclude(lease.endpoint().address);
        }
        // After one stale connection the others are suspect; and behind a Service's address, another connection is what
        // may lead to another pod.
        if stale || self.cluster.is_behind_service() {
            attempts.require_new_connection();
        }
        match failure {
            Failure::NotWritten { unsent, error } => {
                if self.is_last() || !(unsent.is_some() || self.has_whole_body()) {
                    return Err(ProxyError::Upstream(error));
                }
                metrics.retries_unsent.inc();
                Ok(unsent)
            }
            Failure::Refused(error) => {
                if self.is_last() || !self.has_whole_body() || !self.withdraw(now) {
                    return Err(ProxyError::Upstream(error));
                }
                metrics.retries_refused.inc();
                Ok(None)
            }
            Failure::Broke(error) => {
                if self.is_last() || !self.is_replayable() || !(stale || self.withdraw(now)) {
                    return Err(ProxyError::Upstream(error));
                }
                metrics.retries_broken.inc();
                Ok(None)
            }
            Failure::Late => {
                metrics.retries_timeout.inc();
                Ok(None)
            }
            Failure::Answered => {
                metrics.retries_status.inc();
                Ok(None)
            }
            Failure::TimedOut => Err(ProxyError::UpstreamTimeout),
            Failure::Other(error) => Err(error),
        }
    }
}

/// Outcome of an attempt at its endpoint.
pub(super) fn outcome(result: &Result<Response<()>, Failure>, is_grpc: bool, lease: &Lease) -> Option<Outcome> {
    match result {
        Ok(response) => Some(classify_response(meant_status(response, is_grpc), response.headers())),
        Err(failure) => failure.outcome(lease),
    }
}

/// The answer's status; a call of gRPC may say in its headers what HTTP's does not.
fn meant_status(response: &Response<()>, is_grpc: bool) -> StatusCode {
    match is_grpc {
        true => status_meant(response),
        false => response.status(),
    }
}

/// Outcome of an answer at its endpoint.
fn classify_response(status: StatusCode, headers: &HeaderMap) -> Outcome {
    match status {
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Outcome::Success,
        _ if sheds_load(status, headers) => Outcome::Shed,
        status if status.is_server_error() => Outcome::Refusal,
        _ => Outcome::Success,
    }
}

/// 429, or 503 with a time to come back: sending it again, here or elsewhere, would add to what is too much.
fn sheds_load(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => headers.contains_key(RETRY_AFTER),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn an_answer_speaks_for_its_endpoint_unless_it_is_a_failure_of_its_own() {
        for (status, retry_after, expected) in [
            (200, false, Outcome::Success),
            (404, false, Outcome::Success),
            (501, false, Outcome::Success),
            (500, false, Outcome::Refusal),
            (503, false, Outcome::Refusal),
            (503, true, Outcome::Shed),
            (429, false, Outcome::Shed),
        ] {
            let mut headers = HeaderMap::new();
            if retry_after {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            let code = StatusCode::from_u16(status).expect("a status");
            assert_eq!(classify_response(code, &headers), expected, "{status}");
        }
    }
}
