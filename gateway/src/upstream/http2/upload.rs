//! A request's body on its way into a stream, as fast as the upstream makes room.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tracing::debug;

use crate::upstream::error::UpstreamError;
use crate::upstream::request_body::RequestBody;
use crate::upstream::trailers::allowed_trailers;

pub(super) struct Upload {
    stream: SendStream<Bytes>,
    body: RequestBody,
    /// A part of the body that there is no room for yet.
    part: Bytes,
}

impl Upload {
    pub(super) fn new(stream: SendStream<Bytes>, body: RequestBody) -> Self {
        Self {
            stream,
            body,
            part: Bytes::new(),
        }
    }

    /// Ready when the upstream has, or takes, no more of it: what it says to the rest stands in its answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        loop {
            while !self.part.is_empty() {
                let Some(room) = ready!(self.poll_room(cx)) else {
                    return Poll::Ready(Ok(()));
                };
                let part = self.part.split_to(room.min(self.part.len()));
                let is_last = self.part.is_empty() && self.body.is_end_stream();
                if self.stream.send_data(part, is_last).is_err() || is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(UpstreamError::Upload));
                }
                None => {
                    self.end(|stream| stream.send_data(Bytes::new(), true));
                    return Poll::Ready(Ok(()));
                }
            };
            match frame.into_data() {
                Ok(part) => self.part = part,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let trailers = allowed_trailers(trailers);
                        match trailers.is_empty() {
                            true => self.end(|stream| stream.send_data(Bytes::new(), true)),
                            false => self.end(|stream| stream.send_trailers(trailers)),
                        }
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    fn end(&mut self, last: impl FnOnce(&mut SendStream<Bytes>) -> Result<(), h2::Error>) {
        if let Err(error) = last(&mut self.stream) {
            debug!(%error, "the upstream takes no more of the request");
        }
    }

    /// Number of bytes that may be sent; `None` when the stream takes no more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.stream.reserve_capacity(self.part.len());
        // What is there already is not told a second time.
        let mut room = self.stream.capacity();
        while room == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(grown)) => room = grown,
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(room))
    }
}
