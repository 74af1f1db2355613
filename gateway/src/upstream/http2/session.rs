//! The connections to one endpoint: which of them takes the next request, and when another is opened.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use prometheus::IntGauge;
use shared::serve::max_trailer_bytes;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::connection::{ActivityIo, ConnectionState, drive};
use crate::config::Http2Limits;
use crate::metrics::OpenGauge;
use crate::upstream::error::ConnectError;

/// Most bytes of one answer that wait in memory for its client: the protocol's own initial window.
const STREAM_WINDOW: u32 = 64 * 1024;
/// All answers of a connection together: as much as the protocol can say. Each has its own bound, and a client that does
/// not read must not hold up the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Most memory that small frames may cost besides their bytes, before the connection is closed with all that is on it. A
/// stream whose client does not read has 16 MB of them at worst: its window in frames of one byte.
const FRAMES_MEMORY: usize = 64 << 20;

/// One connection.
pub(in crate::upstream) struct Session {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) state: Rc<ConnectionState>,
    pub(super) idle_since: Cell<Instant>,
    pub(super) requests: Cell<usize>,
    pub(super) opened: Instant,
    pub(super) max_trailer_bytes: usize,
    /// It is no longer trusted, or no longer wanted.
    is_retired: Cell<bool>,
}

impl Session {
    /// Connects and waits until the upstream has shown that it speaks HTTP/2, and how much of it.
    pub(in crate::upstream) async fn connect(
        address: SocketAddr,
        max_header_bytes: usize,
        gauge: &IntGauge,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let now = Instant::now();
        let state = ConnectionState::new(now);
        let wire = ActivityIo::new(stream, Rc::clone(&state), max_header_bytes);
        let (sender, mut connection) = builder(max_header_bytes)
            .handshake(wire)
            .await
            .map_err(io::Error::other)?;
        let open = OpenGauge::new(gauge);
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
            Poll::Ready(Ok(())) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            // None are allowed before its settings came.
            Poll::Pending if sender.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        tokio::task::spawn_local(drive(connection, Rc::clone(&state), open));
        Ok(Self {
            sender,
            state,
            idle_since: Cell::new(now),
            requests: Cell::new(0),
            opened: now,
            max_trailer_bytes: max_trailer_bytes(max_header_bytes),
            is_retired: Cell::new(false),
        })
    }

    /// Tells whether another request may go out over it: it has not broken, and the upstream has not sent GOAWAY.
    fn is_usable(&self) -> bool {
        // A handle without a request of its own tells at once; nobody is to be woken.
        let mut sender = self.sender.clone();
        let ready = sender.poll_ready(&mut Context::from_waker(Waker::noop()));
        !self.is_retired.get() && !self.state.has_ended.get() && matches!(ready, Poll::Ready(Ok(())))
    }

    fn has_room(&self, limits: Http2Limits) -> bool {
        let limit = self.sender.current_max_send_streams().min(limits.max_streams as usize);
        self.state.streams.get() < limit
    }

    /// Tells whether a request was answered over it.
    pub(in crate::upstream) fn has_worked(&self) -> bool {
        self.state.has_worked.get()
    }

    /// A request got no answer in time. When nothing else was heard since it was sent either, later ones do not follow it.
    pub(in crate::upstream) fn distrust(&self, sent: Instant) {
        if self.state.heard.get() <= sent {
            self.is_retired.set(true);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.state.is_let_go.set(true);
    }
}

fn builder(max_header_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(0)
        .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(FRAMES_MEMORY)
        .max_send_buffer_size(STREAM_WINDOW as usize);
    builder
}

/// The connections of one worker to one endpoint.
#[derive(Default)]
pub(in crate::upstream) struct Sessions {
    open: RefCell<Vec<Rc<Session>>>,
    /// Someone is opening one; others wait for it instead of opening as many as they are.
    is_opening: Cell<bool>,
    /// That has ended, one way or the other.
    opened: Notify,
    /// Attempts to open one that failed, and why the last did.
    failures: Cell<(u64, Option<io::ErrorKind>)>,
    /// The endpoint left: what is opened now is for one request only.
    has_left: Cell<bool>,
}

/// Reason why there is no connection: this request's own attempt failed, or another request's, which noted it already.
pub(in crate::upstream) enum NoSession {
    Own(ConnectError),
    Others(ConnectError),
}

impl Sessions {
    /// A connection for one more request, if none has to be opened for it: the one with the fewest. Where each may lead
    /// somewhere else, `at_least` so many are opened first, and those with equally few are used in turn.
    pub(in crate::upstream) fn pick(
        &self,
        limits: Http2Limits,
        at_least: usize,
        is_worn: impl Fn(&Session) -> bool,
    ) -> Option<Rc<Session>> {
        let mut open = self.open.borrow_mut();
        // One that is worn out lives on for the requests that it has.
        open.retain(|session| session.is_usable() && !is_worn(session));
        let (place, best) = open
            .iter()
            .enumerate()
            .min_by_key(|(_, session)| session.state.streams.get())?;
        let may_open = open.len() < limits.max_connections;
        let wants_more = open.len() < at_least || !best.has_room(limits);
        // Where no more may be opened, the request waits in line for a stream.
        if may_open && wants_more {
            return None;
        }
        let best = Rc::clone(best);
        if at_least > 1 {
            open[place..].rotate_left(1);
        }
        Some(best)
    }

    /// Opens a connection, or waits for the one that is being opened; `pick` is asked then.
    pub(in crate::upstream) async fn open(
        &self,
        pick: impl Fn() -> Option<Rc<Session>>,
        patience: Duration,
        connect: impl Future<Output = io::Result<Session>>,
    ) -> Result<Rc<Session>, NoSession> {
        let until = Instant::now() + patience;
        let (failures, _) = self.failures.get();
        let has_waited = self.is_opening.get();
        let until_turn = async {
            while self.is_opening.get() {
                self.opened.notified().await;
                if let Some(session) = pick() {
                    return Some(Ok(session));
                }
                if let (later, Some(kind)) = self.failures.get()
                    && later != failures
                {
                    return Some(Err(NoSession::Others(failure(kind.into()))));
                }
            }
            None
        };
        match timeout_at(until, until_turn).await {
            Ok(None) => {}
            Ok(Some(opened)) => return opened,
            Err(_elapsed) => return Err(NoSession::Others(ConnectError::Timeout)),
        }
        let _opening = Opening::new(self);
        let connected = timeout_at(until, connect).await;
        if connected.is_err() && has_waited {
            // The wait took part of the time: that the rest did not suffice is not held against the endpoint.
            return Err(NoSession::Others(ConnectError::Timeout));
        }
        match connected.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())) {
            Ok(session) => {
                let session = Rc::new(session);
                if !self.has_left.get() {
                    self.open.borrow_mut().push(Rc::clone(&session));
                }
                Ok(session)
            }
            Err(error) => {
                self.failures.set((failures + 1, Some(error.kind())));
                Err(NoSession::Own(failure(error)))
            }
        }
    }

    /// Drops connections that are of no further use, or had no request for too long.
    pub(in crate::upstream) fn retain(&self, is_wanted: impl Fn(&Session) -> bool) {
        self.open
            .borrow_mut()
            .retain(|session| session.is_usable() && is_wanted(session));
    }

    /// Keeps none any more.
    pub(in crate::upstream) fn clear(&self) {
        self.has_left.set(true);
        self.open.borrow_mut().clear();
    }
}

impl Session {
    pub(in crate::upstream) fn is_idle_since(&self) -> Option<Instant> {
        (self.state.streams.get() == 0).then(|| self.idle_since.get())
    }

    pub(in crate::upstream) fn opened(&self) -> Instant {
        self.opened
    }

    pub(in crate::upstream) fn requests(&self) -> usize {
        self.requests.get()
    }
}

fn failure(error: io::Error) -> ConnectError {
    match error.kind() {
        io::ErrorKind::TimedOut => ConnectError::Timeout,
        _ => ConnectError::Io(error),
    }
}

/// Someone is opening a connection; when they leave, the next one takes over.
struct Opening<'a>(&'a Sessions);

impl<'a> Opening<'a> {
    fn new(sessions: &'a Sessions) -> Self {
        sessions.is_opening.set(true);
        Self(sessions)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.is_opening.set(false);
        self.0.opened.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn waiting_for_another_and_opening_one_oneself_have_one_patience_together() {
        let patience = Duration::from_secs(1);
        let sessions = Sessions::default();
        let first = tokio::time::timeout(patience * 9 / 10, sessions.open(|| None, patience, pending()));
        let second = async {
            // The first has begun by now.
            tokio::task::yield_now().await;
            let began = Instant::now();
            let failed = sessions.open(|| None, patience, pending()).await;
            (failed.err(), began.elapsed())
        };
        let (left, (failed, took)) = tokio::join!(first, second);
        assert!(left.is_err(), "its client leaves before it has a connection");
        assert!(
            matches!(failed, Some(NoSession::Others(ConnectError::Timeout))),
            "an attempt of a tenth of the time is not the endpoint's failure"
        );
        assert!(took < patience + Duration::from_millis(50), "{took:?}");

        let began = Instant::now();
        let failed = sessions.open(|| None, patience, pending()).await.err();
        assert!(matches!(failed, Some(NoSession::Own(ConnectError::Timeout))));
        assert!(began.elapsed() >= patience);
    }
}
