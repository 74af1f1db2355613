//! The upstream's body on its way to the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::grpc::{deadline_exceeded, trailers_too_large};
use crate::upstream::{BodyError, ClientBody, Lease, UpstreamError};

/// Body of an answer to the client.
pub(crate) enum ResponseBody {
    /// Made here; `None` once it was given out.
    Whole(Option<Bytes>),
    Upstream(UpstreamBody),
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

/// A streamed body with the lease of the connection it comes from. The connection goes back to its pool
/// when the body ends; it is closed when the body breaks off or the client leaves.
pub(crate) struct UpstreamBody {
    lease: Option<Lease>,
    /// The client's body, when it may still be on its way.
    upload: Option<Rc<ClientBody>>,
    limits: ReadLimits,
    /// The client speaks gRPC.
    is_grpc: bool,
    /// A frame passed since the timer was last set.
    moved: bool,
    /// Something of the body came later than the head.
    waited: bool,
}

/// Time limits of an answer's body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadLimits {
    /// The longest silence.
    pub read_timeout: Duration,
    /// The client's own deadline.
    pub deadline: Option<Instant>,
}

impl UpstreamBody {
    pub(crate) fn new(lease: Lease, upload: Option<Rc<ClientBody>>, limits: ReadLimits, is_grpc: bool) -> Self {
        let ended = lease.body_has_ended();
        let mut body = Self {
            lease: Some(lease),
            upload,
            limits,
            is_grpc,
            moved: true,
            waited: false,
        };
        if ended {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        match self.upload.take() {
            // Answered before the whole request was sent. Nobody would wait for the rest of it any more, so the
            // connection is of no further use.
            Some(upload) if !upload.has_ended() => {
                drop(lease);
                upload.discard_rest();
            }
            _ => {
                // A body that came along with its head ended when that did.
                let now = match self.waited {
                    true => Instant::now(),
                    false => lease.answered_at(),
                };
                lease.give_back(now);
            }
        }
    }

    /// The end of an answer that takes too long. A call of gRPC learns from its trailers that its deadline passed.
    #[cold]
    fn give_up(&mut self) -> Result<Frame<Bytes>, BodyError> {
        let is_over = self.limits.deadline.is_some_and(|deadline| deadline <= Instant::now());
        if !self.is_grpc || !is_over {
            return Err("the upstream stalled in the middle of its answer".into());
        }
        Ok(self.end_with(deadline_exceeded()))
    }

    /// The end of an answer that broke off. A call of gRPC learns which limit its trailers are over.
    #[cold]
    fn break_off(&mut self, error: UpstreamError) -> Result<Frame<Bytes>, BodyError> {
        match error {
            UpstreamError::TrailersTooLarge(_) if self.is_grpc => Ok(self.end_with(trailers_too_large())),
            error => Err(error.into()),
        }
    }

    /// Trailers of the gateway's own, after which the upstream is not asked for more.
    fn end_with(&mut self, trailers: HeaderMap) -> Frame<Bytes> {
        self.lease = None;
        if let Some(upload) = self.upload.take() {
            upload.discard_rest();
        }
        Frame::trailers(trailers)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(lease) = &mut self.lease else {
            return Poll::Ready(None);
        };
        match lease.poll_body(cx) {
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.moved = true;
                if lease.body_has_ended() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(self.break_off(error))),
            Poll::Pending => {
                self.waited = true;
                let mut until = std::mem::take(&mut self.moved).then(|| self.limits.until(Instant::now()));
                loop {
                    ready!(lease.poll_timer(until, cx));
                    until = self.limits.until_after(self.upload.as_deref());
                    if until.is_none() {
                        return Poll::Ready(Some(self.give_up()));
                    }
                }
            }
        }
    }
}

impl ReadLimits {
    fn until(&self, now: Instant) -> Instant {
        let silence = now + self.read_timeout;
        self.deadline.map_or(silence, |deadline| silence.min(deadline))
    }

    /// More time, when the client has sent a part of its body meanwhile.
    #[cold]
    fn until_after(&self, upload: Option<&ClientBody>) -> Option<Instant> {
        let until = self.until(upload?.last_frame());
        (until > Instant::now()).then_some(until)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upstream(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Upstream(body) => body.lease.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upstream(body) => body.lease.as_ref().map_or(SizeHint::with_exact(0), Lease::body_size),
        }
    }
}
