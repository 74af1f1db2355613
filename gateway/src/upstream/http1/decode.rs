//! Answers out of bytes.

use std::cell::Cell;
use std::mem::MaybeUninit;

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode};
use httparse::Status;
use hyper::ext::ReasonPhrase;

use crate::upstream::error::UpstreamError;
use crate::upstream::trailers::is_allowed_trailer;

/// Headers of one answer, and trailers after it.
const MAX_HEADERS: usize = 100;
/// A chunk's size line with its extensions, and all trailers together.
const MAX_CHUNK_LINE: usize = 4096;
const MAX_TRAILERS: usize = 16 * 1024;

thread_local! {
    /// The header map of the last request that was answered, for the next answer: one is needed whenever the other
    /// has done its work.
    static SPARE: Cell<HeaderMap> = Cell::default();
}

/// Keeps a header map for the next answer of this worker.
pub fn recycle_header_map(mut headers: HeaderMap) {
    headers.clear();
    SPARE.set(headers);
}

pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) decoder: Decoder,
    pub(super) keep_alive: bool,
}

impl Head {
    /// Tells whether the answer is interim. 101 is final: the bytes after it are not HTTP.
    pub(super) fn is_interim(&self) -> bool {
        let status = self.response.status();
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// The head at the start of `bytes` and its length, if it is there as a whole.
pub(super) fn head(bytes: &Bytes, is_head_request: bool) -> Result<Option<(Head, usize)>, UpstreamError> {
    let mut parsed = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    // A proxy removes the whitespace between a name and its colon (RFC 9112 section 5.1).
    parser.allow_spaces_after_header_name_in_responses(true);
    let length = match parser.parse_response_with_uninit_headers(&mut answer, bytes, &mut parsed) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(UpstreamError::Invalid(explain(error))),
    };
    let code = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = code.ok_or(UpstreamError::Invalid("the status"))?;
    let is_http_11 = answer.version == Some(1);
    let mut response = Response::new(());
    *response.status_mut() = status;
    if status.canonical_reason().is_none() {
        note_reason(&mut response, answer.reason);
    }
    let headers = response.headers_mut();
    *headers = SPARE.take();
    headers.reserve(answer.headers.len() + 1);
    let mut seen = BodyFraming::default();
    for header in answer.headers.iter() {
        let name =
            HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| UpstreamError::Invalid("a header name"))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(header.value))
            .map_err(|_| UpstreamError::Invalid("a header value"))?;
        seen.note(&name, &value)?;
        headers.append(name, value);
    }
    let decoder = seen.framing(status, is_head_request)?;
    let head = Head {
        keep_alive: seen.keep_alive(is_http_11) && !matches!(decoder, Decoder::UntilClose),
        response,
        decoder,
    };
    Ok(Some((head, length)))
}

/// Keeps the upstream's own words for a status that the http crate has none for.
#[cold]
fn note_reason(response: &mut Response<()>, reason: Option<&str>) {
    let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
    if let Some(reason) = reason {
        response.extensions_mut().insert(reason);
    }
}

fn explain(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a header name",
        httparse::Error::HeaderValue => "a header value",
        httparse::Error::NewLine => "a line end",
        httparse::Error::Status => "the status",
        httparse::Error::Token => "the status line",
        httparse::Error::TooManyHeaders => "more than 100 headers",
        httparse::Error::Version => "the version",
    }
}

/// Framing of the body, and the fate of the connection, by the headers.
#[derive(Default)]
struct BodyFraming {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl BodyFraming {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), UpstreamError> {
        if *name == CONTENT_LENGTH {
            let length = content_length(value.as_bytes()).ok_or(UpstreamError::Invalid("content-length"))?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(UpstreamError::Invalid("two content-lengths that differ"));
            }
        } else if *name == TRANSFER_ENCODING {
            // Nothing but `chunked` was asked for: TE is not passed on.
            if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(UpstreamError::Invalid("transfer-encoding"));
            }
            self.chunked = true;
        } else if *name == CONNECTION {
            for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    /// RFC 9112 section 6.3.
    fn framing(&self, status: StatusCode, is_head_request: bool) -> Result<Decoder, UpstreamError> {
        if self.chunked && self.length.is_some() {
            return Err(UpstreamError::Invalid("both content-length and transfer-encoding"));
        }
        let bodiless = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(match self.length {
            _ if is_head_request || bodiless => Decoder::Ended,
            Some(0) => Decoder::Ended,
            Some(length) => Decoder::Length(length),
            None if self.chunked => Decoder::Chunked(Chunks::default()),
            None => Decoder::UntilClose,
        })
    }

    fn keep_alive(&self, is_http_11: bool) -> bool {
        !self.close && (is_http_11 || self.keep_alive)
    }
}

/// Digits only: `+5`, `5,5` and an empty value are not lengths.
fn content_length(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Position in an answer's body.
#[derive(Debug)]
pub(super) enum Decoder {
    Ended,
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

pub(super) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
    Ended,
    NeedsMore,
}

impl Decoder {
    /// The next part out of what was read.
    pub(super) fn next(&mut self, ahead: &mut Bytes) -> Result<Part, UpstreamError> {
        match self {
            Self::Ended => Ok(Part::Ended),
            _ if ahead.is_empty() => Ok(Part::NeedsMore),
            Self::Length(left) => {
                let count = ahead.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(Part::Data(ahead.split_to(count)))
            }
            Self::UntilClose => Ok(Part::Data(std::mem::take(ahead))),
            Self::Chunked(chunks) => {
                let part = chunks.next(ahead)?;
                if matches!(part, Part::Ended | Part::Trailers(_)) {
                    *self = Self::Ended;
                }
                Ok(part)
            }
        }
    }

    /// Bytes of the body that are known to come.
    pub(super) fn expected(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(chunks) => chunks.left,
            Self::Ended | Self::UntilClose => 0,
        }
    }
}

/// RFC 9112 section 7.1.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: ChunkState,
    /// Remaining bytes of the chunk that is being read.
    left: u64,
    /// Bytes of the size line so far, then of the trailers.
    line: usize,
    trailers: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    /// Before the first digit of a size.
    #[default]
    Start,
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

impl Chunks {
    fn next(&mut self, ahead: &mut Bytes) -> Result<Part, UpstreamError> {
        loop {
            if self.state == ChunkState::Data {
                if ahead.is_empty() {
                    return Ok(Part::NeedsMore);
                }
                let count = ahead.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= count as u64;
                if self.left == 0 {
                    self.state = ChunkState::DataCr;
                }
                return Ok(Part::Data(ahead.split_to(count)));
            }
            let Some(&byte) = ahead.first() else {
                return Ok(Part::NeedsMore);
            };
            ahead.advance(1);
            if self.state == ChunkState::Trailers {
                if let Some(trailers) = self.take_trailer_byte(byte)? {
                    return Ok(trailers);
                }
                continue;
            }
            self.state = self.step(byte)?;
        }
    }

    fn step(&mut self, byte: u8) -> Result<ChunkState, UpstreamError> {
        const INVALID: UpstreamError = UpstreamError::Invalid("a chunk");
        self.line += 1;
        if self.line > MAX_CHUNK_LINE {
            return Err(UpstreamError::Invalid("a chunk's size line is too long"));
        }
        if matches!(self.state, ChunkState::Start | ChunkState::Size)
            && let Some(digit) = (byte as char).to_digit(16)
        {
            self.left = self.left.checked_mul(16).ok_or(INVALID)? + u64::from(digit);
            return Ok(ChunkState::Size);
        }
        match (self.state, byte) {
            (ChunkState::Size | ChunkState::Extension, b'\r') => Ok(ChunkState::SizeEnd),
            (ChunkState::Size, b';' | b' ' | b'\t') => Ok(ChunkState::Extension),
            (ChunkState::Extension, b'\n') => Err(INVALID),
            (ChunkState::Extension, _) => Ok(ChunkState::Extension),
            (ChunkState::SizeEnd, b'\n') => {
                self.line = 0;
                Ok(match self.left {
                    0 => ChunkState::Trailers,
                    _ => ChunkState::Data,
                })
            }
            (ChunkState::DataCr, b'\r') => Ok(ChunkState::DataLf),
            (ChunkState::DataLf, b'\n') => {
                self.line = 0;
                Ok(ChunkState::Start)
            }
            _ => Err(INVALID),
        }
    }

    /// Collects the trailers up to their blank line; nearly always that line is all there is.
    fn take_trailer_byte(&mut self, byte: u8) -> Result<Option<Part>, UpstreamError> {
        self.trailers.push(byte);
        if self.trailers.len() > MAX_TRAILERS {
            return Err(UpstreamError::TrailersTooLarge(MAX_TRAILERS));
        }
        if self.trailers == b"\r\n" {
            return Ok(Some(Part::Ended));
        }
        if !self.trailers.ends_with(b"\r\n\r\n") {
            return Ok(None);
        }
        parse_trailers(&self.trailers).map(|trailers| Some(Part::Trailers(trailers)))
    }
}

fn parse_trailers(bytes: &[u8]) -> Result<HeaderMap, UpstreamError> {
    const INVALID: UpstreamError = UpstreamError::Invalid("the trailers");
    let mut parsed = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let Ok(Status::Complete((_, fields))) = httparse::parse_headers(bytes, &mut parsed) else {
        return Err(INVALID);
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| INVALID)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| INVALID)?;
        if is_allowed_trailer(&name) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}
