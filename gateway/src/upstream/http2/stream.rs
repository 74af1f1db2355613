//! One request and its answer: a stream of a connection that carries others too. Dropping it before the end resets it,
//! which cancels the upstream's work.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, StreamId};
use http::header::{CONTENT_LENGTH, HOST, TRAILER};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, Uri, Version, request};
use http_body::{Body, Frame, SizeHint};
use shared::serve::trailer_bytes;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::session::Session;
use super::upload::Upload;
use crate::upstream::connection::Timer;
use crate::upstream::error::UpstreamError;
use crate::upstream::injected_headers::InjectedHeaders;
use crate::upstream::request_body::RequestBody;
use crate::upstream::trailers::allowed_trailers;

/// Its methods are not inlined into the path of a request, which is HTTP/1.1's for most.
pub(in crate::upstream) struct Stream {
    pub(in crate::upstream) request: H2Request,
    pub(in crate::upstream) timer: Timer,
}

impl Stream {
    #[inline(never)]
    pub(in crate::upstream) fn new(session: &Rc<Session>, now: Instant) -> Box<Self> {
        Box::new(Self {
            request: H2Request::new(session),
            timer: Timer::new(now),
        })
    }
}

pub(in crate::upstream) struct H2Request {
    session: Rc<Session>,
    /// This request's own, which knows whether its stream was opened.
    sender: SendRequest<Bytes>,
    /// The stream was opened: what was written of it is not known any more.
    is_open: bool,
    failed: Option<UpstreamError>,
    upload: Option<Upload>,
    /// The rest of the upload, once the answer is passed on.
    uploading: Option<Uploading>,
    reading: Reading,
    stream: Option<StreamId>,
    /// Remaining bytes of the answer's body, where its head announced them.
    left: Option<u64>,
}

enum Reading {
    Nothing,
    Head(ResponseFuture),
    Body(RecvStream),
    Trailers(RecvStream),
    Ended,
}

impl H2Request {
    fn new(session: &Rc<Session>) -> Self {
        session.state.streams.set(session.state.streams.get() + 1);
        session.requests.set(session.requests.get() + 1);
        Self {
            sender: session.sender.clone(),
            session: Rc::clone(session),
            is_open: false,
            failed: None,
            upload: None,
            uploading: None,
            reading: Reading::Nothing,
            stream: None,
            left: None,
        }
    }

    pub(in crate::upstream) fn session(&self) -> &Session {
        &self.session
    }

    /// Takes on a request.
    #[inline(never)]
    pub(in crate::upstream) fn start(
        &mut self,
        head: &request::Parts,
        added: &InjectedHeaders<'_>,
        body: &RequestBody,
    ) {
        if let Err(error) = self.try_start(head, added, body) {
            self.failed = Some(error);
        }
    }

    fn try_start(
        &mut self,
        head: &request::Parts,
        added: &InjectedHeaders<'_>,
        body: &RequestBody,
    ) -> Result<(), UpstreamError> {
        let has_ended = body.is_end_stream();
        let (response, stream) = self.sender.send_request(translate(head, added)?, has_ended)?;
        self.stream = Some(response.stream_id());
        self.reading = Reading::Head(response);
        self.upload = (!has_ended).then(|| Upload::new(stream, body.clone()));
        Ok(())
    }

    /// Tells whether the upstream cannot have seen anything of the request that failed.
    #[inline(never)]
    pub(in crate::upstream) fn is_unsent(&mut self) -> bool {
        self.note_open(&mut Context::from_waker(Waker::noop()));
        !self.is_open
    }

    /// A stream waits to be opened while the upstream takes no more of them. Of a connection that has failed it is not
    /// known any more whether it still did.
    fn note_open(&mut self, cx: &mut Context<'_>) {
        if !self.is_open && matches!(self.reading, Reading::Head(_)) {
            self.is_open = self.sender.poll_ready(cx).is_ready();
        }
    }

    /// Sends the request and waits for the head of its answer.
    #[inline(never)]
    pub(in crate::upstream) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, UpstreamError>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        self.note_open(cx);
        self.write_on(cx)?;
        let Reading::Head(response) = &mut self.reading else {
            return Poll::Ready(Err(UpstreamError::Closed));
        };
        let (head, body) = ready!(Pin::new(response).poll(cx))?.into_parts();
        self.session.state.has_answered.set(true);
        self.session.state.has_worked.set(true);
        check_values(&head.headers)?;
        // Behind a body that announces trailers there is more than its length says.
        let length = head
            .headers
            .get(CONTENT_LENGTH)
            .filter(|_| !head.headers.contains_key(TRAILER));
        self.left = length.and_then(|length| length.to_str().ok()?.parse().ok());
        self.reading = match body.is_end_stream() {
            true => Reading::Ended,
            false => Reading::Body(body),
        };
        Poll::Ready(Ok(Response::from_parts(head, ())))
    }

    /// The next part of the answer's body.
    #[inline(never)]
    pub(in crate::upstream) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if let Some(upload) = self.upload.take() {
            self.uploading = Some(Uploading::start(upload));
        }
        loop {
            match std::mem::replace(&mut self.reading, Reading::Ended) {
                Reading::Body(mut body) => {
                    let Poll::Ready(part) = body.poll_data(cx) else {
                        self.reading = Reading::Body(body);
                        return Poll::Pending;
                    };
                    let Some(part) = part.transpose()? else {
                        self.reading = Reading::Trailers(body);
                        continue;
                    };
                    self.session.state.has_answered.set(true);
                    // Its client has room for it, so the upstream may send as much again.
                    body.flow_control().release_capacity(part.len())?;
                    self.left = self.left.map(|left| left.saturating_sub(part.len() as u64));
                    if self.left == Some(0) && !body.is_end_stream() {
                        // Its client has all that was announced and may be gone before the end is told.
                        spawn_local(timeout(END_TOLD, see_out(body)));
                    } else if !body.is_end_stream() {
                        self.reading = Reading::Body(body);
                        if part.is_empty() {
                            continue;
                        }
                    }
                    return Poll::Ready(Some(Ok(Frame::data(part))));
                }
                Reading::Trailers(mut body) => {
                    let Poll::Ready(trailers) = body.poll_trailers(cx) else {
                        self.reading = Reading::Trailers(body);
                        return Poll::Pending;
                    };
                    let Some(trailers) = trailers? else {
                        return Poll::Ready(None);
                    };
                    if !self.are_whole(&trailers) {
                        let limit = self.session.max_trailer_bytes;
                        return Poll::Ready(Some(Err(UpstreamError::TrailersTooLarge(limit))));
                    }
                    check_values(&trailers)?;
                    return Poll::Ready(Some(Ok(Frame::trailers(allowed_trailers(trailers)))));
                }
                Reading::Ended | Reading::Nothing | Reading::Head(_) => return Poll::Ready(None),
            }
        }
    }

    /// Tells whether these are all trailers that were sent, and not too many.
    fn are_whole(&self, trailers: &HeaderMap) -> bool {
        let large = self
            .stream
            .is_some_and(|stream| self.session.state.had_large_block(stream));
        !large && trailer_bytes(trailers) <= self.session.max_trailer_bytes
    }

    pub(in crate::upstream) fn body_has_ended(&self) -> bool {
        matches!(self.reading, Reading::Ended)
    }

    pub(in crate::upstream) fn body_size(&self) -> SizeHint {
        match (&self.reading, self.left) {
            (Reading::Ended, _) => SizeHint::with_exact(0),
            (_, Some(left)) => SizeHint::with_exact(left),
            (_, None) => SizeHint::new(),
        }
    }

    fn write_on(&mut self, cx: &mut Context<'_>) -> Result<(), UpstreamError> {
        if let Some(upload) = &mut self.upload
            && let Poll::Ready(uploaded) = upload.poll(cx)
        {
            // Letting go of the stream's sending half while the other one lives resets nothing.
            self.upload = None;
            uploaded?;
        }
        Ok(())
    }
}

/// A value that begins or ends with a space or a tab makes the message malformed (RFC 9113 section 8.2.1).
fn check_values(fields: &HeaderMap) -> Result<(), UpstreamError> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_padded = |value: &[u8]| is_blank(value.first()) || is_blank(value.last());
    match fields.values().any(|value| is_padded(value.as_bytes())) {
        true => Err(UpstreamError::Invalid("whitespace around a header value")),
        false => Ok(()),
    }
}

/// Longest wait for the end of an answer after all of its bytes.
const END_TOLD: Duration = Duration::from_secs(5);

/// Reads the end of an answer that is there already: letting go of it now would reset its stream.
async fn see_out(mut body: RecvStream) {
    while let Some(Ok(_nothing)) = body.data().await {}
}

/// A task that sends on while the answer is passed on: a client that does not read it yet must not be kept from sending.
struct Uploading(AbortHandle);

impl Uploading {
    fn start(mut upload: Upload) -> Self {
        let rest = async move {
            if let Err(error) = poll_fn(|cx| upload.poll(cx)).await {
                debug!(%error, "a request broke off after its answer had begun");
            }
        };
        Self(spawn_local(rest).abort_handle())
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for H2Request {
    fn drop(&mut self) {
        let state = &self.session.state;
        state.streams.set(state.streams.get() - 1);
        if let Some(stream) = self.stream {
            state.forget(stream);
        }
        if state.streams.get() == 0 {
            self.session.idle_since.set(Instant::now());
        }
    }
}

/// The head as HTTP/2 has it: `Host` is the target's authority there.
fn translate(head: &request::Parts, added: &InjectedHeaders<'_>) -> Result<Request<()>, UpstreamError> {
    let mut headers = head.headers.clone();
    let host = headers.remove(HOST).ok_or(UpstreamError::Host)?;
    for (name, value) in added.iter() {
        headers.insert(name, value.clone());
    }
    let path = head.uri.path_and_query().cloned();
    let uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(host.as_bytes())
        .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri.build().map_err(|_| UpstreamError::Host)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}
