//! Bodies: a request's, never more of it and never longer than allowed; an answer's, whole or in parts.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use shared::serve::{expects_continue, linger};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep, timeout};

/// The largest body: a question of 10 000 characters, each of them escaped, and room for the rest.
const LARGEST: usize = 128 << 10;

/// A body that was not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body has more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the body did not arrive within {} s", _0.as_secs_f64())]
    TooSlow(Duration),
    #[error("the body broke off")]
    Broken,
}

/// The whole body. Runs on a local runtime, which lingers over what a refusal left unread.
pub(super) async fn read<B>(headers: &HeaderMap, mut body: B, time: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    if body.size_hint().lower() > LARGEST as u64 {
        if !expects_continue(headers) {
            linger(body);
        }
        return Err(BodyError::TooLarge { limit: LARGEST });
    }
    let collected = timeout(time, collect(&mut body)).await;
    let collected = collected.unwrap_or(Err(BodyError::TooSlow(time)));
    if matches!(collected, Err(BodyError::TooLarge { .. })) {
        linger(body);
    }
    collected
}

async fn collect<B>(body: &mut B) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        let frame = frame.map_err(|_client_left| BodyError::Broken)?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > LARGEST {
            return Err(BodyError::TooLarge { limit: LARGEST });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// An answer. It holds the query's place until its last byte has left or its client has gone.
#[derive(Debug, Default)]
pub struct ResponseBody {
    parts: VecDeque<Bytes>,
    /// Its length is not told.
    is_stream: bool,
    pause: Duration,
    /// Before the next part.
    pausing: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl ResponseBody {
    pub(super) fn whole(body: Bytes, place: OwnedSemaphorePermit) -> Self {
        Self {
            _place: Some(place),
            ..Self::from(body)
        }
    }

    /// Sends each part by itself, with `pause` between any two.
    pub(super) fn streamed(parts: Vec<Bytes>, pause: Duration, place: OwnedSemaphorePermit) -> Self {
        Self {
            parts: parts.into(),
            is_stream: true,
            pause,
            pausing: None,
            _place: Some(place),
        }
    }
}

impl From<Bytes> for ResponseBody {
    fn from(body: Bytes) -> Self {
        Self {
            parts: VecDeque::from([body]),
            ..Self::default()
        }
    }
}

impl From<String> for ResponseBody {
    fn from(body: String) -> Self {
        Self::from(Bytes::from(body))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pausing) = &mut self.pausing {
            ready!(pausing.as_mut().poll(cx));
            self.pausing = None;
        }
        let part = self.parts.pop_front();
        if !self.parts.is_empty() && !self.pause.is_zero() {
            self.pausing = Some(Box::pin(sleep(self.pause)));
        }
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_stream {
            true => SizeHint::default(),
            false => SizeHint::with_exact(self.parts.iter().map(|part| part.len() as u64).sum()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::{BodyExt, Full};
    use tokio::sync::Semaphore;
    use tokio::task::LocalSet;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let read = async |length: usize| {
            let body = Full::new(Bytes::from(vec![b'x'; length]));
            let headers = HeaderMap::new();
            let reading = read(&headers, body, Duration::from_secs(30));
            LocalSet::new().run_until(reading).await.map(|body| body.len())
        };
        assert_eq!(read(LARGEST).await, Ok(LARGEST));
        assert_eq!(read(LARGEST + 1).await, Err(BodyError::TooLarge { limit: LARGEST }));
    }

    #[tokio::test(start_paused = true)]
    async fn parts_come_one_by_one_with_pauses_and_keep_their_place() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().expect("a place");
        let pause = Duration::from_secs(2);
        let parts = ["a", "b", "c"].map(Bytes::from);
        let mut body = ResponseBody::streamed(parts.to_vec(), pause, place);
        assert_eq!(body.size_hint().exact(), None);
        let began = Instant::now();
        for (number, part) in parts.iter().enumerate() {
            let frame = body.frame().await.expect("a part").expect("whole");
            assert_eq!(frame.data_ref(), Some(part));
            assert_eq!(began.elapsed().as_secs(), 2 * number as u64);
        }
        assert!(body.is_end_stream() && body.frame().await.is_none());
        assert_eq!(places.available_permits(), 0);
        drop(body);
        assert_eq!(places.available_permits(), 1);
    }
}
