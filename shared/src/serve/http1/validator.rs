//! Follows the requests of one connection through its bytes.
//!
//! ```text
//!          ┌──────────────────────────────────────────────┐
//!          ▼                                              │
//! head ──► no body ──────────────────────────────────────►│
//!      ├─► length ───────────────────────────────────────►│
//!      └─► chunk size ──► chunk ──► chunk end ─┐          │
//!             ▲  └─(0)──► trailers ────────────│─────────►┘
//!             └────────────────────────────────┘
//! ```
//!
//! After a request with `Upgrade` nothing passes until it is known whether what follows is still HTTP.

use super::bytes;
use super::chunk::{ChunkLine, MOST_EXTENSION_BYTES, MOST_LINE_BYTES};
use super::head::{Framing, Head, check_trailer};
use super::limits::HeadLimits;
use super::refusal::Refusal;

/// The first line of HTTP/2's connection preface, RFC 9113 section 3.4: made to be no request line of HTTP/1.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// CRLF.
const LINE_BREAK: usize = 2;

/// The strict reader of a connection's bytes: it says how many may pass, whatever pieces they arrive in.
#[derive(Debug)]
pub struct Validator {
    limits: HeadLimits,
    state: State,
    /// The head whose lines are being read, once its request line was.
    head: Option<Head>,
    /// The start of the first incomplete line, from the start of what was not passed yet.
    line: usize,
    /// The length of that line's part that has no control character.
    scanned: usize,
    has_begun: bool,
    is_http2: bool,
    /// The current request, or the last one, asks to switch protocols.
    asks_upgrade: bool,
    requests: u64,
    refusal: Option<Refusal>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    /// Bytes of a body that are left.
    Length(u64),
    ChunkSize {
        extension_bytes: usize,
    },
    /// Bytes of a chunk that are left.
    Chunk {
        left: u64,
        extension_bytes: usize,
    },
    ChunkEnd {
        extension_bytes: usize,
    },
    Trailers {
        bytes: usize,
        fields: usize,
    },
}

impl Validator {
    /// A validator for one connection.
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            state: State::Head,
            head: None,
            line: 0,
            scanned: 0,
            has_begun: false,
            is_http2: false,
            asks_upgrade: false,
            requests: 0,
            refusal: None,
        }
    }

    /// The number of bytes at the start of `input` that may pass: whole heads, whole chunk and trailer lines, and bodies as
    /// they come. The rest is to be shown again, with more after it; once there is a refusal, nothing passes.
    pub fn advance(&mut self, input: &[u8]) -> usize {
        let mut passed = 0;
        while passed < input.len() && self.refusal.is_none() && !self.is_http2 && !self.is_paused() {
            match self.part(&input[passed..]) {
                Ok(Some(length)) => passed += length,
                Ok(None) => break,
                Err(refusal) => self.refuse(refusal),
            }
        }
        passed
    }

    /// True when the last request whose head passed asks to switch protocols and has no answer yet.
    pub fn asks_upgrade(&self) -> bool {
        self.asks_upgrade
    }

    /// Reads on as HTTP after a request that asked to switch protocols.
    pub fn decline_upgrade(&mut self) {
        self.asks_upgrade = false;
    }

    /// True when such a request has ended, so that its answer decides how to read what follows.
    fn is_paused(&self) -> bool {
        self.asks_upgrade && !self.is_in_body()
    }

    /// The reason for which no further byte may pass.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// True when the connection begins as one of HTTP/2. Then nothing passes: its bytes are for another reader.
    pub fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// Refuses what has begun for a reason that is not in its bytes.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
        self.has_begun = false;
    }

    /// Heads that went on.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// True when a head has begun and not ended. The empty line that some clients send after a body is no beginning.
    pub fn is_in_head(&self) -> bool {
        self.has_begun
    }

    /// True when the head of the current request passed and its body is not complete.
    pub fn is_in_body(&self) -> bool {
        !matches!(self.state, State::Head)
    }

    /// True when the request whose head is being read is a HEAD, whose answer has no body.
    pub fn is_head_request(&self) -> bool {
        self.head.is_some_and(|head| head.is_head)
    }

    /// The length of the part that `rest` begins with; `None` when it is not complete.
    fn part(&mut self, rest: &[u8]) -> Result<Option<usize>, Refusal> {
        match self.state {
            State::Head => self.head(rest),
            State::Length(left) => {
                let (length, left) = take(rest, left);
                self.state = if left == 0 { State::Head } else { State::Length(left) };
                Ok(Some(length))
            }
            State::ChunkSize { extension_bytes } => self.chunk_size(rest, extension_bytes),
            State::Chunk { left, extension_bytes } => {
                let (length, left) = take(rest, left);
                self.state = match left {
                    0 => State::ChunkEnd { extension_bytes },
                    left => State::Chunk { left, extension_bytes },
                };
                Ok(Some(length))
            }
            State::ChunkEnd { extension_bytes } => match rest {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkSize { extension_bytes };
                    Ok(Some(LINE_BREAK))
                }
                [b'\r'] => Ok(None),
                _ => Err(Refusal::ChunkEnd),
            },
            State::Trailers { bytes, fields } => self.trailer(rest, bytes, fields),
        }
    }

    fn head(&mut self, rest: &[u8]) -> Result<Option<usize>, Refusal> {
        loop {
            let line = &rest[self.line..];
            let Some(length) = self
                .line_length(line, self.longest_line())
                .map_err(|fault| self.head_refusal(fault))?
            else {
                self.has_begun = self.head.is_some() || matches!(line, [first, ..] if *first != b'\r');
                return Ok(None);
            };
            if self.line + length + LINE_BREAK > self.limits.max_bytes {
                return Err(self.head_refusal(LineFault::TooLong));
            }
            let was_first = self.line == 0;
            let line = &line[..length];
            self.line += length + LINE_BREAK;
            match &mut self.head {
                // RFC 9112 section 2.2: one empty line before a request is forgiven.
                None if line.is_empty() && was_first => {}
                None if line.is_empty() => return Err(Refusal::RequestLine),
                None => match Head::from_request_line(line) {
                    Err(Refusal::VersionNotSupported) if line == HTTP2_PREFACE && was_first && self.requests == 0 => {
                        self.is_http2 = true;
                        return Ok(None);
                    }
                    read => self.head = Some(read?),
                },
                Some(head) if line.is_empty() => {
                    self.state = match head.end()? {
                        Framing::Length(0) => State::Head,
                        Framing::Length(length) => State::Length(length),
                        Framing::Chunked => State::ChunkSize { extension_bytes: 0 },
                    };
                    self.asks_upgrade = head.asks_upgrade();
                    self.head = None;
                    self.has_begun = false;
                    self.requests += 1;
                    return Ok(Some(std::mem::take(&mut self.line)));
                }
                Some(head) => {
                    head.field(line)?;
                    if head.fields > self.limits.max_headers {
                        return Err(Refusal::TooManyHeaders(self.limits.max_headers));
                    }
                }
            }
        }
    }

    /// The longest that the next line of a head may be: its own limit, or the rest of the head's.
    fn longest_line(&self) -> usize {
        let limit = match self.head {
            None => self.limits.max_request_line_bytes,
            Some(_) => self.limits.max_header_line_bytes,
        };
        limit.min(self.room())
    }

    /// The rest of the head's limit for the next line without its line break.
    fn room(&self) -> usize {
        self.limits.max_bytes.saturating_sub(self.line + LINE_BREAK)
    }

    fn head_refusal(&self, fault: LineFault) -> Refusal {
        let limits = &self.limits;
        match fault {
            LineFault::Bad(refusal) => refusal,
            LineFault::TooLong if self.head.is_none() => Refusal::RequestLineTooLong(self.longest_line()),
            LineFault::TooLong if limits.max_header_line_bytes <= self.room() => {
                Refusal::HeaderLineTooLong(limits.max_header_line_bytes)
            }
            LineFault::TooLong => Refusal::HeadTooLarge(limits.max_bytes),
        }
    }

    fn chunk_size(&mut self, rest: &[u8], extension_bytes: usize) -> Result<Option<usize>, Refusal> {
        let Some(length) = self
            .line_length(rest, MOST_LINE_BYTES)
            .map_err(|fault| fault.or(Refusal::ChunkExtension))?
        else {
            return Ok(None);
        };
        let line = ChunkLine::parse(&rest[..length])?;
        let extension_bytes = extension_bytes + line.extension_bytes;
        if extension_bytes > MOST_EXTENSION_BYTES {
            return Err(Refusal::ChunkExtension);
        }
        self.state = match line.size {
            0 => State::Trailers { bytes: 0, fields: 0 },
            left => State::Chunk { left, extension_bytes },
        };
        Ok(Some(length + LINE_BREAK))
    }

    fn trailer(&mut self, rest: &[u8], bytes: usize, fields: usize) -> Result<Option<usize>, Refusal> {
        // hyper's own limit counts the last line break and is one byte lower.
        let room = self.limits.max_bytes.saturating_sub(bytes + 2 * LINE_BREAK + 1);
        let longest = self.limits.max_header_line_bytes.min(room);
        let Some(length) = self
            .line_length(rest, longest)
            .map_err(|fault| fault.or(Refusal::Trailer))?
        else {
            return Ok(None);
        };
        let line = &rest[..length];
        if line.is_empty() {
            self.state = State::Head;
            return Ok(Some(LINE_BREAK));
        }
        check_trailer(line)?;
        if fields == self.limits.max_headers {
            return Err(Refusal::Trailer);
        }
        self.state = State::Trailers {
            bytes: bytes + length + LINE_BREAK,
            fields: fields + 1,
        };
        Ok(Some(length + LINE_BREAK))
    }

    /// The length without its CRLF of the line that `rest` begins with; `None` when it is not complete. Judges byte
    /// by byte, so that the verdict on a line is the same before and after the rest of it has come.
    fn line_length(&mut self, rest: &[u8], longest: usize) -> Result<Option<usize>, LineFault> {
        let end = bytes::find_control(&rest[self.scanned..]).map(|at| self.scanned + at);
        self.scanned = end.unwrap_or(rest.len());
        if self.scanned > longest {
            return Err(LineFault::TooLong);
        }
        match &rest[self.scanned..] {
            [] | [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => Ok(Some(std::mem::take(&mut self.scanned))),
            [b'\r' | b'\n', ..] => Err(LineFault::Bad(Refusal::LineBreak)),
            _ => Err(LineFault::Bad(Refusal::ControlByte)),
        }
    }
}

/// The reasons to reject a line, whatever its meaning is.
enum LineFault {
    TooLong,
    Bad(Refusal),
}

impl LineFault {
    fn or(self, too_long: Refusal) -> Refusal {
        match self {
            Self::TooLong => too_long,
            Self::Bad(refusal) => refusal,
        }
    }
}

/// The number of bytes of `rest` that belong to the next `left` bytes, and the number left after them.
fn take(rest: &[u8], left: u64) -> (usize, u64) {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    (length, left - length as u64)
}
