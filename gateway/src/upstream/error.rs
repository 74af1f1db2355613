//! What can go wrong between the gateway and an upstream once they are connected.

use std::io;

use h2::Reason;

#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("it closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not valid HTTP/1.1: {0}")]
    Invalid(&'static str),
    #[error("the head is over {0} bytes")]
    HeadTooLarge(usize),
    #[error("the client's body broke off")]
    Upload,
    /// As a source, so that a client that speaks HTTP/2 too is told the same reason.
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    #[error("the host is not one that HTTP/2 can name")]
    Host,
}

impl UpstreamError {
    /// Whether the upstream says that it has not looked at the request, and will not: RFC 9113 section 8.7.
    pub fn is_refusal(&self) -> bool {
        self.is_beyond_goaway()
            || matches!(self, Self::Http2(error)
                if error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM))
    }

    /// Whether the connection ends and the request came too late for it. Requests before that point have no such error:
    /// theirs is how the connection ended.
    pub fn is_beyond_goaway(&self) -> bool {
        matches!(self, Self::Http2(error) if error.is_go_away() && error.is_remote())
    }

    /// Whether what came is no answer by the rules of its protocol.
    pub fn is_no_http(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::HeadTooLarge(_) => true,
            Self::Http2(error) => error.is_library(),
            _ => false,
        }
    }
}
