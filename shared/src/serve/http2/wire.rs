//! The wire of an HTTP/2 connection, followed beneath hyper, which tells nothing of its streams: which of them are open
//! for the client, and which was the last. Only the heads of frames are looked at.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::serve::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, FrameReader, GOAWAY, HEADERS, RST_STREAM,
};
use crate::serve::validating_io::HyperIo;

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Wire {
    incoming: FrameReader,
    outgoing: FrameReader,
    /// The highest stream whose head has come.
    last_stream: u32,
    /// Streams whose head has come, and whose answer has not been written to its end; usually few.
    open: Vec<u32>,
    /// Frames of answers that were written.
    sent_frames: u64,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self {
            incoming: FrameReader::after_preface(),
            outgoing: FrameReader::new(),
            last_stream: 0,
            open: Vec::new(),
            sent_frames: 0,
        }
    }

    pub(super) fn sent_frames(&self) -> u64 {
        self.sent_frames
    }

    /// True when every request has its whole answer, as far as the wire goes.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.outgoing.is_between_frames()
    }

    /// True when one request came while another had no whole answer.
    pub(super) fn has_many_open(&self) -> bool {
        self.open.len() > 1
    }

    pub(super) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// The frame that ends the connection: no stream above the last one has been looked at, and its client may send it
    /// again (RFC 9113 section 6.8).
    pub(super) fn goodbye(&self) -> Vec<u8> {
        let frame = Frame {
            kind: GOAWAY,
            flags: 0,
            stream: 0,
            length: 8,
        };
        const NO_ERROR: [u8; 4] = [0; 4];
        frame.encode(&[self.last_stream.to_be_bytes(), NO_ERROR].concat())
    }

    fn note_read(&mut self, bytes: &[u8]) {
        let Self {
            incoming,
            last_stream,
            open,
            ..
        } = self;
        incoming.advance(bytes, |frame| match frame.kind {
            // Of a stream that is known these are its trailers.
            HEADERS | CONTINUATION if frame.has(END_HEADERS) && frame.stream > *last_stream => {
                *last_stream = frame.stream;
                open.push(frame.stream);
            }
            RST_STREAM => close(open, frame.stream),
            _ => {}
        });
    }

    fn note_written(&mut self, bytes: &[u8]) {
        let Self {
            outgoing,
            open,
            sent_frames,
            ..
        } = self;
        outgoing.advance(bytes, |frame| match frame.kind {
            HEADERS | DATA => {
                *sent_frames += 1;
                if frame.has(END_STREAM) {
                    close(open, frame.stream);
                }
            }
            RST_STREAM => close(open, frame.stream),
            _ => {}
        });
    }
}

fn close(open: &mut Vec<u32>, stream: u32) {
    if let Some(place) = open.iter().position(|open| *open == stream) {
        open.swap_remove(place);
    }
}

/// The socket as hyper reads and writes it, with its frames noted.
#[derive(Debug)]
pub(super) struct FollowedIo {
    pub(super) inner: HyperIo,
    pub(super) wire: Rc<RefCell<Wire>>,
}

impl AsyncRead for FollowedIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.wire.borrow_mut().note_read(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FollowedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.wire.borrow_mut().note_written(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
        let mut left = written;
        let mut wire = self.wire.borrow_mut();
        for slice in slices {
            let length = left.min(slice.len());
            wire.note_written(&slice[..length]);
            left -= length;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
