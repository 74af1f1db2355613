//! The answer to a request: the service's, or that of a request whose head was rejected before.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The future of the answer.
    #[project = CheckedFutureProjection]
    pub(super) enum CheckedFuture<F> {
        Called { #[pin] inner: F },
        Rejected { answer: Option<Response<Bytes>> },
    }
}

impl<F, B> Future for CheckedFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<CheckedBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            CheckedFutureProjection::Called { inner } => {
                let Ok(answer) = ready!(inner.poll(cx));
                Poll::Ready(Ok(answer.map(|inner| CheckedBody::Called { inner })))
            }
            CheckedFutureProjection::Rejected { answer } => {
                let answer = answer.take().expect("polled once after it is ready");
                Poll::Ready(Ok(answer.map(|bytes| CheckedBody::Rejected { bytes: Some(bytes) })))
            }
        }
    }
}

pin_project! {
    /// The body of the answer.
    #[project = CheckedBodyProjection]
    pub(super) enum CheckedBody<B> {
        Called { #[pin] inner: B },
        Rejected { bytes: Option<Bytes> },
    }
}

impl<B: Body<Data = Bytes>> Body for CheckedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project() {
            CheckedBodyProjection::Called { inner } => inner.poll_frame(cx),
            CheckedBodyProjection::Rejected { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Called { inner } => inner.is_end_stream(),
            Self::Rejected { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Called { inner } => inner.size_hint(),
            Self::Rejected { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}
