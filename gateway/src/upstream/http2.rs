//! HTTP/2 without TLS towards an upstream that is known to speak it: many requests over few connections.
//!
//! The h2 crate's client is used as it is, without hyper's around it. That one hands each request to a task of its own
//! through channels, and keeps to itself whether a request's stream was opened, which decides whether it may be sent
//! again. Here the task of a request writes and reads its own stream, as it does with a whole connection of HTTP/1.1, and
//! one more task moves the frames of each connection.
//!
//! ```text
//! Sessions (an endpoint's, of one worker) ─► Session (a connection) ─► Stream (a request and its answer)
//! ```

mod connection;
pub(super) mod probe;
mod session;
mod stream;
mod upload;

pub(super) use session::{NoSession, Session, Sessions};
pub(super) use stream::Stream;
