//! Why a request's body is not read.

use std::time::Duration;

use shared::serve::Refusal;

/// For the answer to a body in another coding.
pub(crate) const ACCEPTED_CODINGS: &str = "gzip, deflate";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is larger than the limit of {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the body did not arrive within {} seconds", .limit.as_secs_f64())]
    TooSlow { limit: Duration },
    #[error("the body ended early")]
    Broken,
    #[error("the body is not the {coding} that its Content-Encoding says")]
    Coding { coding: &'static str },
    #[error("this Content-Encoding is not known; send the body as it is, or in one of {ACCEPTED_CODINGS}")]
    UnknownCoding,
    #[error(transparent)]
    Refused(Refusal),
}
