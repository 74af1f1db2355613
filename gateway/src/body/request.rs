//! The client's body on its way to the upstream.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::BodyError;
use crate::error::ProxyError;

/// What the sender of a request knows of its streaming body.
#[derive(Debug)]
pub struct BodyProgress {
    last_frame: Cell<Instant>,
    ended: Cell<bool>,
    /// Why the body broke off, when that was the client's doing.
    fault: RefCell<Option<ProxyError>>,
}

impl BodyProgress {
    fn new(ended: bool) -> Self {
        Self {
            last_frame: Cell::new(Instant::now()),
            ended: Cell::new(ended),
            fault: RefCell::new(None),
        }
    }

    /// When something last moved: the request began or a frame passed.
    pub fn last_frame(&self) -> Instant {
        self.last_frame.get()
    }

    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    pub fn take_fault(&self) -> Option<ProxyError> {
        self.fault.borrow_mut().take()
    }
}

/// A request body towards the upstream.
#[derive(Debug)]
pub enum RequestBody {
    Empty,
    /// Small and read in whole, so that the request can be sent again.
    Replayable(Option<Bytes>),
    Streaming {
        incoming: Incoming,
        left: u64,
        limit: u64,
        progress: Rc<BodyProgress>,
    },
}

impl RequestBody {
    /// A body that passes through as it comes, cut off above `limit` bytes.
    pub fn streaming(incoming: Incoming, limit: u64) -> (Self, Rc<BodyProgress>) {
        let progress = Rc::new(BodyProgress::new(incoming.is_end_stream()));
        let body = Self::Streaming {
            incoming,
            left: limit,
            limit,
            progress: Rc::clone(&progress),
        };
        (body, progress)
    }

    /// The same body once more, where that is possible.
    pub fn replay(whole: Option<&Bytes>) -> Self {
        match whole {
            None => Self::Empty,
            Some(bytes) => Self::Replayable(Some(bytes.clone())),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (incoming, left, limit, progress) = match self.get_mut() {
            Self::Empty => return Poll::Ready(None),
            Self::Replayable(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streaming {
                incoming,
                left,
                limit,
                progress,
            } => (incoming, left, *limit, progress),
        };
        let frame = match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                progress.fault.replace(Some(ProxyError::RequestBody(error)));
                return Poll::Ready(Some(Err("the client's body broke off".into())));
            }
            None => {
                progress.ended.set(true);
                return Poll::Ready(None);
            }
        };
        progress.last_frame.set(Instant::now());
        if let Some(data) = frame.data_ref() {
            let Some(rest) = left.checked_sub(data.len() as u64) else {
                progress.fault.replace(Some(ProxyError::BodyTooLarge(limit)));
                return Poll::Ready(Some(Err("the client's body is over the limit".into())));
            };
            *left = rest;
        }
        if incoming.is_end_stream() {
            progress.ended.set(true);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Replayable(bytes) => bytes.is_none(),
            Self::Streaming { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Replayable(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Streaming { incoming, .. } => incoming.size_hint(),
        }
    }
}
