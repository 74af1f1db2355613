//! The reasons to reject bytes that are no valid request, and the answer to each.

use std::error::Error;
use std::{fmt, io};

use http::StatusCode;

use crate::problem::Problem;

/// A reason to reject a request, or its body, as malformed. Those with a number name the limit that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A request line other than a method, a target and a version with one space between them.
    RequestLine,
    /// A method that is no token.
    Method,
    /// A target that is no path, no http or https URL without user information, and not the `*` of OPTIONS.
    Target,
    /// A request line that does not end in a version of HTTP.
    Version,
    /// A version other than 1.0 and 1.1.
    VersionNotSupported,
    /// A CR or LF other than in the CRLF at the end of a line.
    LineBreak,
    /// A control character.
    ControlByte,
    /// A header line that does not begin with a token and a colon.
    HeaderName,
    /// A space between a header's name and its colon.
    SpaceBeforeColon,
    /// A header of HTTP/2 whose value begins or ends with whitespace.
    HeaderValue,
    /// A header folded over two lines.
    Folding,
    /// A Content-Length other than one decimal number given once.
    ContentLength,
    /// A Transfer-Encoding other than one `chunked`, or one in HTTP/1.0.
    TransferEncoding,
    /// Content-Length and Transfer-Encoding together.
    LengthAndEncoding,
    /// No Host header in an HTTP/1.1 request.
    HostMissing,
    /// More than one Host header.
    HostRepeated,
    /// A Host header that is no host.
    Host,
    /// A chunk size that is no number.
    ChunkSize,
    /// A chunk extension that is malformed or too long.
    ChunkExtension,
    /// Bytes behind a chunk other than CR LF.
    ChunkEnd,
    /// A trailer that may not be one.
    Trailer,
    /// A request line over this many bytes.
    RequestLineTooLong(usize),
    /// A header line over this many bytes.
    HeaderLineTooLong(usize),
    /// A head over this many bytes.
    HeadTooLarge(usize),
    /// More header lines than this.
    TooManyHeaders(usize),
    /// A head that did not arrive in time.
    HeadTimeout,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::RequestLineTooLong(_) => StatusCode::URI_TOO_LONG,
            Self::HeaderLineTooLong(_) | Self::HeadTooLarge(_) | Self::TooManyHeaders(_) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer to the client.
    pub fn problem(self) -> Problem {
        let (_, field, detail) = self.describe();
        let problem = Problem::new(self.status(), detail).field(field);
        match self {
            Self::RequestLineTooLong(limit)
            | Self::HeaderLineTooLong(limit)
            | Self::HeadTooLarge(limit)
            | Self::TooManyHeaders(limit) => problem.limit(limit as u64),
            _ => problem,
        }
    }

    /// A name for metrics and logs.
    pub fn reason(self) -> &'static str {
        self.describe().0
    }

    /// The refusal behind an error that a request's body gave: a chunk or a trailer that is none.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(refusal) = inner.and_then(|inner| inner.downcast_ref::<Self>()) {
                return Some(*refusal);
            }
            cause = error.source();
        }
        None
    }

    /// The reason, the part of the request at fault, and the sentence about it.
    fn describe(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::RequestLine => (
                "request_line",
                "request-line",
                "the request line is not a method, a target and a version with one space between them",
            ),
            Self::Method => (
                "method",
                "method",
                "the method is empty or has a character that none may have",
            ),
            Self::Target => (
                "target",
                "target",
                "the target is no path, no http or https URL without user information, and not `*` of OPTIONS, or it has a character that none may have",
            ),
            Self::Version => (
                "version",
                "version",
                "the request line does not end in HTTP/1.1 or HTTP/1.0",
            ),
            Self::VersionNotSupported => (
                "version_not_supported",
                "version",
                "this version of HTTP is not spoken here: use HTTP/1.1",
            ),
            Self::LineBreak => (
                "line_break",
                "line-break",
                "a line ends in CRLF, and neither CR nor LF stands anywhere else",
            ),
            Self::ControlByte => ("control_byte", "head", "there is a control character in the request"),
            Self::HeaderName => (
                "header_name",
                "header",
                "a header line does not begin with a name and a colon, or the name has a character that none may have",
            ),
            Self::SpaceBeforeColon => (
                "space_before_colon",
                "header",
                "there is whitespace between a header's name and its colon",
            ),
            Self::HeaderValue => (
                "header_value",
                "header",
                "a header's value begins or ends with whitespace, which HTTP/2 does not allow",
            ),
            Self::Folding => (
                "folding",
                "header",
                "a header line begins with whitespace: headers are not continued over lines",
            ),
            Self::ContentLength => (
                "content_length",
                "content-length",
                "Content-Length is not one decimal number given once",
            ),
            Self::TransferEncoding => (
                "transfer_encoding",
                "transfer-encoding",
                "Transfer-Encoding is `chunked`, once, and in HTTP/1.1 only",
            ),
            Self::LengthAndEncoding => (
                "length_and_encoding",
                "content-length",
                "a request has Content-Length or Transfer-Encoding, not both",
            ),
            Self::HostMissing => (
                "host_missing",
                "host",
                "a request has exactly one Host header, and this one has none",
            ),
            Self::HostRepeated => (
                "host_repeated",
                "host",
                "a request has exactly one Host header, and this one has more",
            ),
            Self::Host => (
                "host",
                "host",
                "Host is not a name or an address with or without a port",
            ),
            Self::ChunkSize => ("chunk_size", "body", "a chunk's size is not a hexadecimal number"),
            Self::ChunkExtension => (
                "chunk_extension",
                "body",
                "a chunk's extension is malformed, or there is too much of them",
            ),
            Self::ChunkEnd => ("chunk_end", "body", "a chunk's data is longer than its size says"),
            Self::Trailer => (
                "trailer",
                "trailer",
                "the trailers are too large, or one of them may only stand in a head",
            ),
            Self::RequestLineTooLong(_) => ("request_line_too_long", "request-line", "the request line is too long"),
            Self::HeaderLineTooLong(_) => ("header_line_too_long", "header", "a header line is too long"),
            Self::HeadTooLarge(_) => (
                "head_too_large",
                "header",
                "the request line and the headers together are too large",
            ),
            Self::TooManyHeaders(_) => ("too_many_headers", "header", "there are too many headers"),
            Self::HeadTimeout => ("head_timeout", "head", "the request's head did not arrive in time"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe().2)
    }
}

impl Error for Refusal {}
