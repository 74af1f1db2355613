//! Answers with an observer, which sees the head, each frame of the body and the end.
//!
//! The observer goes from the request's future into the answer's body. Dropping it is the end of the exchange: after the last frame,
//! or before it when the client leaves or the request is given up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// An observer of an answer, from its head to its end. The end is the observer's drop.
pub trait Observe<B: Body> {
    /// Called once with the answer, before its body is read; it may still change the headers.
    fn on_head(&mut self, _answer: &mut Response<B>, _cx: &mut Context<'_>) {}

    /// Called when the body is asked for a frame and has none yet.
    fn on_pending(&mut self) {}

    /// Called with each frame; `is_last` when the body knows that none follows.
    fn on_frame(&mut self, _frame: &Frame<B::Data>, _is_last: bool) {}

    /// Called when the body breaks off.
    fn on_error(&mut self, _error: &B::Error) {}

    /// Called when the body says that no frame follows. A body that knew it with its last frame may not be asked again.
    fn on_end(&mut self) {}
}

impl<B: Body, O: Observe<B>> Observe<B> for Box<O> {
    fn on_head(&mut self, answer: &mut Response<B>, cx: &mut Context<'_>) {
        (**self).on_head(answer, cx);
    }

    fn on_pending(&mut self) {
        (**self).on_pending();
    }

    fn on_frame(&mut self, frame: &Frame<B::Data>, is_last: bool) {
        (**self).on_frame(frame, is_last);
    }

    fn on_error(&mut self, error: &B::Error) {
        (**self).on_error(error);
    }

    fn on_end(&mut self) {
        (**self).on_end();
    }
}

pin_project! {
    /// The future of an answer that hands its observer to the answer's body.
    #[derive(Debug)]
    pub struct ObservedFuture<F, O> {
        #[pin]
        inner: F,
        observer: Option<O>,
    }
}

impl<F, O> ObservedFuture<F, O> {
    /// The future `inner` with `observer`.
    pub fn new(inner: F, observer: O) -> Self {
        Self {
            inner,
            observer: Some(observer),
        }
    }
}

impl<F, B, E, O> Future for ObservedFuture<F, O>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    O: Observe<B>,
{
    type Output = Result<Response<ObservedBody<B, O>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.inner.poll(cx))?;
        let mut observer = this.observer.take();
        if let Some(observer) = &mut observer {
            observer.on_head(&mut answer, cx);
        }
        Poll::Ready(Ok(answer.map(|inner| ObservedBody { inner, observer })))
    }
}

pin_project! {
    /// A body with an observer, which is dropped with it.
    #[derive(Debug)]
    pub struct ObservedBody<B, O> {
        #[pin]
        inner: B,
        observer: Option<O>,
    }
}

impl<B, O> ObservedBody<B, O> {
    /// The body `inner` with `observer`, or with none.
    pub fn new(inner: B, observer: Option<O>) -> Self {
        Self { inner, observer }
    }
}

impl<B: Body, O: Observe<B>> Body for ObservedBody<B, O> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let polled = this.inner.as_mut().poll_frame(cx);
        if let Some(observer) = this.observer {
            match &polled {
                Poll::Pending => observer.on_pending(),
                Poll::Ready(Some(Ok(frame))) => observer.on_frame(frame, this.inner.is_end_stream()),
                Poll::Ready(Some(Err(error))) => observer.on_error(error),
                Poll::Ready(None) => observer.on_end(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::rc::Rc;

    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// Writes down what happens.
    struct Notes(Rc<RefCell<Vec<String>>>);

    impl<B: Body<Data = Bytes, Error = &'static str>> Observe<B> for Notes {
        fn on_head(&mut self, answer: &mut Response<B>, _: &mut Context<'_>) {
            self.0.borrow_mut().push(format!("head {}", answer.status().as_u16()));
        }

        fn on_frame(&mut self, frame: &Frame<Bytes>, _is_last: bool) {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.0.borrow_mut().push(format!("{bytes} bytes"));
        }

        fn on_error(&mut self, error: &&'static str) {
            self.0.borrow_mut().push(format!("error {error}"));
        }

        fn on_end(&mut self) {
            self.0.borrow_mut().push("end".to_owned());
        }
    }

    impl Drop for Notes {
        fn drop(&mut self) {
            self.0.borrow_mut().push("dropped".to_owned());
        }
    }

    /// The notes of an observer on an answer with these frames, of which `read` are read.
    async fn seen(frames: Vec<Result<&'static str, &'static str>>, read: usize) -> Vec<String> {
        let notes = Rc::new(RefCell::new(Vec::new()));
        let frames = frames
            .into_iter()
            .map(|frame| frame.map(|text| Frame::data(Bytes::from(text))));
        let answer = Response::new(StreamBody::new(stream::iter(frames)));
        let answer = async { Ok::<_, Infallible>(answer) };
        let observed = ObservedFuture::new(answer, Box::new(Notes(Rc::clone(&notes))));
        let Ok(answer) = observed.await;
        let mut body = answer.into_body();
        for _ in 0..read {
            let _frame_or_end = body.frame().await;
        }
        drop(body);
        notes.take()
    }

    #[tokio::test]
    async fn an_observer_sees_head_frames_and_end_and_is_dropped_with_the_body() {
        let frames = vec![Ok("four"), Ok("seven77")];
        let all = ["head 200", "4 bytes", "7 bytes", "end", "dropped"];
        assert_eq!(seen(frames.clone(), 3).await, all);
        assert_eq!(
            seen(frames, 1).await,
            ["head 200", "4 bytes", "dropped"],
            "the client left"
        );
        let broken = vec![Ok("four"), Err("reset")];
        assert_eq!(seen(broken, 2).await, ["head 200", "4 bytes", "error reset", "dropped"]);
    }

    #[tokio::test]
    async fn an_observer_is_dropped_with_a_request_that_is_given_up() {
        let notes = Rc::new(RefCell::new(Vec::new()));
        let never = std::future::pending::<Result<Response<http_body_util::Empty<Bytes>>, Infallible>>();
        drop(ObservedFuture::new(never, Notes(Rc::clone(&notes))));
        assert_eq!(notes.take(), ["dropped"]);
    }
}
