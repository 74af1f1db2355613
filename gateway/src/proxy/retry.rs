//! Whether a request goes out once more.
//!
//! - Never written: not a byte of it left, so any method may go out again.
//! - Possibly seen by an upstream (the connection broke, an attempt took too long, the answer was a 5xx): only an
//!   idempotent method (RFC 9110 section 9.2.2) or a route that is declared idempotent goes out again, with a body that
//!   was kept for it, within the retry budget, and never when the upstream said that it sheds load.

use std::cell::Cell;
use std::net::SocketAddr;

use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use tokio::time::Instant;

use crate::error::ProxyError;
use crate::route::Forward;
use crate::upstream::moment::Moment;
use crate::upstream::{Attempts, ClusterWorker, Http1Error, Lease, Outcome, Unsent};

/// Why an attempt was not the last word.
pub(super) enum Failure {
    /// Nothing was written; here is the request, whole.
    NotWritten { unsent: Box<Unsent>, error: Http1Error },
    /// It may have been seen.
    Broke(Http1Error),
    /// It took longer than one attempt may, and the next is granted already.
    Late,
    /// The answer was a status to retry on, and the next attempt is granted already.
    Answered,
    /// No answer in the time that the route allows.
    TimedOut,
    /// Not the endpoint's fault, so another would not help.
    Other(ProxyError),
}

/// The attempts of one request.
pub(super) struct Retry<'a> {
    cluster: &'a ClusterWorker,
    route: &'a Forward,
    /// Whether the request may go out again after it may have been seen.
    replayable: bool,
    sent: Cell<usize>,
}

impl<'a> Retry<'a> {
    pub(super) fn new(cluster: &'a ClusterWorker, route: &'a Forward, replayable: bool) -> Self {
        Self {
            cluster,
            route,
            replayable,
            sent: Cell::new(0),
        }
    }

    pub(super) fn note_attempt(&self) -> usize {
        self.sent.set(self.sent.get() + 1);
        self.sent.get()
    }

    fn is_last(&self) -> bool {
        self.sent.get() >= self.cluster.limits.max_attempts
    }

    /// How long one attempt may take, where there could be another.
    pub(super) fn per_try_until(&self, sent: Instant) -> Option<Instant> {
        let limit = self
            .route
            .per_try_timeout
            .filter(|_| self.replayable && !self.is_last())?;
        Some(sent + limit)
    }

    /// Takes one more attempt elsewhere out of the budget, if the request may have one.
    pub(super) fn grant(&self, tried: SocketAddr, now: Instant) -> bool {
        let possible = self.replayable && !self.is_last() && self.cluster.has_other_than(tried);
        possible && self.withdraw(now)
    }

    fn withdraw(&self, now: Instant) -> bool {
        let granted = self.cluster.retry_budget.withdraw(Moment::from(now));
        if !granted {
            self.cluster.cluster.metrics.retries_over_budget.inc();
        }
        granted
    }

    /// Whether the answer is one to try elsewhere for.
    pub(super) fn wants_another<B>(&self, response: &Response<B>, tried: SocketAddr, now: Instant) -> bool {
        let status = response.status();
        status.is_server_error()
            && self.route.retry_on.contains(&status)
            && !sheds_load(response)
            && self.grant(tried, now)
    }

    /// Prepares the next attempt, which may take over what this one did not write, or ends with the failure.
    pub(super) fn again(
        &self,
        failure: Failure,
        lease: &mut Lease,
        attempts: &mut Attempts,
    ) -> Result<Option<Box<Unsent>>, ProxyError> {
        let metrics = &self.cluster.cluster.metrics;
        let now = Instant::now();
        // A pooled connection that went stale says nothing about its endpoint; a new one that failed does.
        let stale = lease.reused && matches!(failure, Failure::NotWritten { .. } | Failure::Broke(_));
        if !stale {
            attempts.tried.push(lease.endpoint().address);
        }
        // After one stale connection the others are suspect; and behind a Service's only address, another
        // connection is what may lead to another pod.
        attempts.fresh |= stale || self.cluster.is_behind_one_address();
        match failure {
            Failure::NotWritten { unsent, error } => {
                if self.is_last() {
                    return Err(ProxyError::Upstream(error));
                }
                metrics.retries_unsent.inc();
                Ok(Some(unsent))
            }
            Failure::Broke(error) => {
                if !lease.reused {
                    lease.note(Outcome::Broke, now);
                }
                if self.is_last() || !self.replayable || !(stale || self.withdraw(now)) {
                    return Err(ProxyError::Upstream(error));
                }
                metrics.retries_broken.inc();
                Ok(None)
            }
            Failure::Late => {
                lease.note(Outcome::TimedOut, now);
                metrics.retries_timeout.inc();
                Ok(None)
            }
            Failure::Answered => {
                metrics.retries_status.inc();
                Ok(None)
            }
            Failure::TimedOut => {
                lease.note(Outcome::TimedOut, now);
                Err(ProxyError::UpstreamTimeout)
            }
            Failure::Other(error) => Err(error),
        }
    }
}

/// What an answer says about its endpoint.
pub(super) fn judge<B>(response: &Response<B>) -> Outcome {
    match response.status() {
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Outcome::Success,
        _ if sheds_load(response) => Outcome::Shed,
        status if status.is_server_error() => Outcome::Refusal,
        _ => Outcome::Success,
    }
}

/// 429, or 503 with a time to come back: sending it again, here or elsewhere, would add to what is too much.
fn sheds_load<B>(response: &Response<B>) -> bool {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => response.headers().contains_key(RETRY_AFTER),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: bool) -> Response<()> {
        let mut response = Response::builder().status(status);
        if retry_after {
            response = response.header(RETRY_AFTER, "1");
        }
        response.body(()).expect("a response")
    }

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
            assert_eq!(judge(&answer(status, retry_after)), expected, "{status}");
        }
    }
}
