//! Failures between the gateway and an upstream: getting a connection, using it, and the client's body on its way there.

use std::error::Error;
use std::time::Duration;
use std::{fmt, io};

use h2::Reason;

/// Errors of a streamed body end the connection; their kind only matters to the log.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// Reason why a request got no connection to an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no address is known for the cluster yet")]
    NoEndpointYet,
    #[error("the cluster has no endpoint any more")]
    NoEndpointLeft,
    #[error("no endpoint takes a connection")]
    Unreachable,
    #[error("{0} requests wait for the cluster already")]
    QueueFull(usize),
    #[error("the cluster has no free place for {0:?}, longer than the request may take")]
    Overloaded(Duration),
    #[error("cannot connect: {0}")]
    Io(io::Error),
    #[error("connecting took too long")]
    Timeout,
}

/// A fault of the client's body that ended its way to the upstream.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    #[error("the request body broke off: {0}")]
    Broke(hyper::Error),
    #[error("the request body is over the limit of {0} bytes")]
    TooLarge(u64),
    #[error("the request's trailers are over {0} bytes")]
    TrailersTooLarge(usize),
}

#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("it closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not valid HTTP: {0}")]
    Invalid(&'static str),
    #[error("the head is over {0} bytes")]
    HeadTooLarge(usize),
    #[error("its trailers are over {0} bytes")]
    TrailersTooLarge(usize),
    #[error("the client's body broke off")]
    Upload,
    #[error(transparent)]
    Http2(Http2Error),
    #[error("it takes no more requests on its connections")]
    NoStream,
    #[error("the host is not one that HTTP/2 can name")]
    Host,
}

/// On the heap: it is larger than all else that can go wrong, and results carry the room for the largest.
#[derive(Debug)]
pub struct Http2Error(Box<h2::Error>);

impl fmt::Display for Http2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP/2: {}", self.0)
    }
}

/// Without its source: hyper resets a client's stream with the reason of an error of h2 that it finds there, and the
/// upstream's is none for the client. NO_ERROR would call half an answer whole, REFUSED_STREAM and HTTP_1_1_REQUIRED would
/// ask for the request once more (RFC 9113 sections 8.1 and 8.7). Without one it says INTERNAL_ERROR.
impl Error for Http2Error {}

impl From<h2::Error> for UpstreamError {
    fn from(error: h2::Error) -> Self {
        Self::Http2(Http2Error(Box::new(error)))
    }
}

impl UpstreamError {
    /// Tells whether the upstream says that it has not processed the request, and will not: RFC 9113 section 8.7.
    pub fn is_refusal(&self) -> bool {
        self.is_beyond_goaway()
            || matches!(self, Self::Http2(Http2Error(error))
                if error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM))
    }

    /// Tells whether the connection ends and the request came too late for it. Requests before that point have no such error:
    /// theirs is how the connection ended.
    pub fn is_beyond_goaway(&self) -> bool {
        matches!(self, Self::Http2(Http2Error(error)) if error.is_go_away() && error.is_remote())
    }

    /// Tells whether it is the connection that failed, not this request alone.
    pub fn is_the_connections(&self) -> bool {
        match self {
            Self::Closed | Self::Io(_) => true,
            Self::Http2(Http2Error(error)) => error.is_go_away() || error.is_io(),
            _ => false,
        }
    }

    /// Tells whether the answer breaks the rules of its protocol.
    pub fn is_no_http(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::HeadTooLarge(_) | Self::TrailersTooLarge(_) => true,
            Self::Http2(Http2Error(error)) => error.is_library(),
            _ => false,
        }
    }
}
