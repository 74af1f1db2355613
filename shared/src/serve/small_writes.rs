//! Small messages in one plain write.
//!
//! hyper hands a head and a body over as two buffers, for a vectored write. For large bodies that saves a copy; for a
//! small message the kernel's work on the vector costs more than copying a few hundred bytes.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

/// Messages up to this size are copied together.
const SMALL: usize = 2048;

thread_local! {
    static MESSAGE: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(SMALL));
}

/// A connection whose small vectored writes become plain ones.
#[derive(Debug)]
pub struct SmallWrites<T>(pub T);

impl<T: Read + Unpin> Read for SmallWrites<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for SmallWrites<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = Pin::new(&mut self.get_mut().0);
        if let [only] = bufs {
            return inner.poll_write(cx, only);
        }
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total > SMALL {
            return inner.poll_write_vectored(cx, bufs);
        }
        MESSAGE.with_borrow_mut(|message| {
            message.clear();
            for buf in bufs {
                message.extend_from_slice(buf);
            }
            inner.poll_write(cx, message)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Notes what it was asked to write, and how.
    #[derive(Default)]
    struct Sink(Vec<(&'static str, Vec<u8>)>);

    impl Write for Sink {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.get_mut().0.push(("plain", buf.to_vec()));
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all = bufs.iter().flat_map(|buf| buf.to_vec()).collect::<Vec<u8>>();
            let length = all.len();
            self.get_mut().0.push(("vectored", all));
            Poll::Ready(Ok(length))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn written(bufs: &[&[u8]]) -> (&'static str, Vec<u8>) {
        let mut io = SmallWrites(Sink::default());
        let slices: Vec<IoSlice<'_>> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(length)) = Pin::new(&mut io).poll_write_vectored(&mut cx, &slices) else {
            panic!("the sink takes everything");
        };
        assert_eq!(length, bufs.iter().map(|buf| buf.len()).sum::<usize>());
        io.0.0.pop().expect("something was written")
    }

    #[test]
    fn small_parts_are_written_together_and_large_ones_are_not_copied() {
        assert_eq!(written(&[b"head", b"", b"body"]), ("plain", b"headbody".to_vec()));
        let large = vec![7; SMALL];
        assert_eq!(written(&[&large]).0, "plain");
        assert_eq!(written(&[b"head", &large]).0, "vectored");
    }
}
