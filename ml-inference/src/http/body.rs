//! Reads a request body, never more of it and never longer than allowed.

mod coding;
mod error;

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use shared::serve::{Refusal, expects_continue, linger};
use tokio::time::timeout;

use coding::{Coding, MOST_EXPANSION};

pub(crate) use error::{ACCEPTED_CODINGS, BodyError};

use super::offload::offload_if_large;
use crate::config::Limits;

/// How much is set aside before the first byte came. A Content-Length is only a claim.
const FIRST_ALLOCATION: u64 = 64 * 1024;

#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

impl From<Limits> for BodyLimits {
    fn from(limits: Limits) -> Self {
        Self {
            bytes: limits.max_body_bytes,
            time: limits.request_timeout,
        }
    }
}

/// The whole body. Runs on a local runtime, which lingers over what a refusal left unread.
pub(super) async fn read<B>(headers: &HeaderMap, mut body: B, limits: BodyLimits) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let too_large = BodyError::TooLarge { limit: limits.bytes };
    let declared = body.size_hint().lower();
    if declared > limits.bytes as u64 {
        if !expects_continue(headers) {
            linger(body);
        }
        return Err(too_large);
    }
    let collected = timeout(limits.time, collect(&mut body, declared, limits.bytes)).await;
    match collected {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Overrun::TooLarge)) => {
            linger(body);
            Err(too_large)
        }
        Ok(Err(Overrun::Broken(refusal))) => Err(refusal.map_or(BodyError::Broken, BodyError::Refused)),
        Err(_elapsed) => Err(BodyError::TooSlow { limit: limits.time }),
    }
}

/// The whole body, decompressed. Before and after that it is held to the same limit.
pub(super) async fn read_decoded<B>(headers: &HeaderMap, body: B, limits: BodyLimits) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error: Error> + Unpin + 'static,
{
    let Some(coding) = Coding::of(headers) else {
        if !expects_continue(headers) {
            linger(body);
        }
        return Err(BodyError::UnknownCoding);
    };
    let body = read(headers, body, limits).await?;
    if coding == Coding::Identity {
        return Ok(body);
    }
    let longest = body.len().saturating_mul(MOST_EXPANSION).min(limits.bytes);
    offload_if_large(longest, move || coding.decode(body, limits.bytes)).await
}

enum Overrun {
    TooLarge,
    /// It ended early, or is none for the reason that is given.
    Broken(Option<Refusal>),
}

async fn collect<B>(body: &mut B, declared: u64, limit: usize) -> Result<Bytes, Overrun>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    // Most bodies arrive in one piece, which is then passed on as it is.
    let Some(first) = next(body).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > limit {
        return Err(Overrun::TooLarge);
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let room = usize::try_from(declared.min(FIRST_ALLOCATION)).unwrap_or_default();
    let mut whole = BytesMut::with_capacity(room.max(first.len()));
    whole.extend_from_slice(&first);
    while let Some(piece) = next(body).await? {
        if whole.len() + piece.len() > limit {
            return Err(Overrun::TooLarge);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The next piece of data; trailers are passed over.
async fn next<B>(body: &mut B) -> Result<Option<Bytes>, Overrun>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Overrun::Broken(Refusal::of(&error)))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::{Frame, SizeHint};
    use tokio::task::LocalSet;

    use super::*;

    /// Gives its pieces one by one, then ends or stalls.
    struct Pieces {
        left: Vec<&'static [u8]>,
        stalls: bool,
        declared: u64,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.left.is_empty() {
                return if self.stalls { Poll::Pending } else { Poll::Ready(None) };
            }
            let piece = self.left.remove(0);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))))
        }

        fn size_hint(&self) -> SizeHint {
            let mut hint = SizeHint::new();
            hint.set_lower(self.declared);
            hint
        }
    }

    async fn read_pieces(left: Vec<&'static [u8]>, stalls: bool, declared: u64) -> Result<Bytes, BodyError> {
        let limits = BodyLimits {
            bytes: 8,
            time: Duration::from_secs(30),
        };
        let body = Pieces { left, stalls, declared };
        let headers = HeaderMap::new();
        LocalSet::new().run_until(read(&headers, body, limits)).await
    }

    #[tokio::test]
    async fn pieces_are_put_together() {
        assert_eq!(read_pieces(vec![], false, 0).await, Ok(Bytes::new()));
        assert_eq!(
            read_pieces(vec![b"abc", b"de", b"fgh"], false, 0).await,
            Ok(Bytes::from_static(b"abcdefgh"))
        );
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_wherever_it_shows() {
        let refused = Err(BodyError::TooLarge { limit: 8 });
        assert_eq!(read_pieces(vec![b"abcdefghi"], false, 0).await, refused);
        assert_eq!(read_pieces(vec![b"abcdefgh", b"i"], false, 0).await, refused);
        assert_eq!(read_pieces(vec![], true, 9).await, refused, "by its declared length");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_too_slow() {
        let limit = Duration::from_secs(30);
        assert_eq!(
            read_pieces(vec![b"abc"], true, 0).await,
            Err(BodyError::TooSlow { limit })
        );
    }
}
