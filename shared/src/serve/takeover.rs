//! The handover of a client's connection to a service, after its answer `101 Switching Protocols`.
//!
//! hyper has a way of its own, for connections that may move between threads; these may not.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use tokio::net::TcpStream;

/// The next owner of the connection, which counts as open until this has ended.
pub(super) type Successor = Box<dyn FnOnce(TcpStream, Bytes) -> Pin<Box<dyn Future<Output = ()>>>>;

/// The handover of one connection, given to the function that makes its service.
#[derive(Clone, Default)]
pub struct Takeover(Rc<Cell<Option<Successor>>>);

impl Takeover {
    /// Sets the next owner of the socket and of the bytes that the client sent behind its request, once the 101 that the service is about to
    /// answer was written. Dropped without a call when the connection ends before.
    pub fn set<F>(&self, successor: impl FnOnce(TcpStream, Bytes) -> F + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.0
            .set(Some(Box::new(|stream, ahead| Box::pin(successor(stream, ahead)))));
    }

    pub(super) fn take(&self) -> Option<Successor> {
        self.0.take()
    }
}

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Takeover").finish_non_exhaustive()
    }
}
