//! The lines of a head: their validity, and the end of the request that they announce.

use super::bytes::{split_token, trim};
use super::refusal::Refusal;
use super::target;

/// The meaning of the lines of a head so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) is_head: bool,
    is_http_10: bool,
    has_host: bool,
    is_chunked: bool,
    length: Option<u64>,
    has_upgrade: bool,
    pub(super) fields: usize,
}

/// The end of a request's body, RFC 9112 section 6.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// A body of this many bytes; none when it is 0.
    Length(u64),
    Chunked,
}

impl Head {
    /// `METHOD TARGET HTTP/1.1`, with exactly one space between them.
    pub(super) fn from_request_line(line: &[u8]) -> Result<Self, Refusal> {
        let (method, rest) = split_token(line);
        let rest = match rest {
            [b' ', rest @ ..] if !method.is_empty() => rest,
            [] => return Err(Refusal::RequestLine),
            _ => return Err(Refusal::Method),
        };
        let (target, rest) = rest.split_at(target::length(rest));
        let version = match rest {
            [b' ', version @ ..] if !target.is_empty() => version,
            [] | [b' ', ..] => return Err(Refusal::RequestLine),
            _ => return Err(Refusal::Target),
        };
        let is_http_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(Refusal::VersionNotSupported);
            }
            _ => return Err(Refusal::Version),
        };
        target::check(method, target)?;
        Ok(Self {
            is_head: method == b"HEAD",
            is_http_10,
            has_host: false,
            is_chunked: false,
            length: None,
            has_upgrade: false,
            fields: 0,
        })
    }

    /// One header line.
    pub(super) fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let (name, value) = split_field(line)?;
        self.fields += 1;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.has_upgrade = true;
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    /// The empty line after the last header.
    pub(super) fn end(&self) -> Result<Framing, Refusal> {
        if !self.has_host && !self.is_http_10 {
            return Err(Refusal::HostMissing);
        }
        Ok(match self.is_chunked {
            true => Framing::Chunked,
            false => Framing::Length(self.length.unwrap_or(0)),
        })
    }

    /// True when the request may switch protocols. In HTTP/1.0 it may not: RFC 9110 section 7.8.
    pub(super) fn asks_upgrade(&self) -> bool {
        self.has_upgrade && !self.is_http_10
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.has_host {
            return Err(Refusal::HostRepeated);
        }
        self.has_host = true;
        if target::is_host(value) {
            Ok(())
        } else {
            Err(Refusal::Host)
        }
    }

    /// A second one is refused even where it repeats the first, as RFC 9110 section 8.6 allows.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.is_chunked {
            return Err(Refusal::LengthAndEncoding);
        }
        // 18 digits always fit, and no one sends a body that long.
        let valid = self.length.is_none() && (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if !valid {
            return Err(Refusal::ContentLength);
        }
        self.length = Some(
            value
                .iter()
                .fold(0, |length, digit| length * 10 + u64::from(digit - b'0')),
        );
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::LengthAndEncoding);
        }
        // RFC 9112 section 6.1: HTTP/1.0 has no such header, and who sends it there may not know its own framing.
        if self.is_http_10 || self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::TransferEncoding);
        }
        self.is_chunked = true;
        Ok(())
    }
}

/// One trailer line. What frames or addresses a request has no meaning after it: RFC 9110 section 6.5.1.
pub(super) fn check_trailer(line: &[u8]) -> Result<(), Refusal> {
    let (name, _) = split_field(line)?;
    let only_in_heads = [&b"host"[..], b"content-length", b"transfer-encoding"];
    match only_in_heads.iter().any(|banned| name.eq_ignore_ascii_case(banned)) {
        true => Err(Refusal::Trailer),
        false => Ok(()),
    }
}

/// A header's name and its value without the whitespace around it.
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let (name, rest) = split_token(line);
    match rest {
        [b':', value @ ..] if !name.is_empty() => Ok((name, trim(value))),
        [b' ' | b'\t', ..] if name.is_empty() => Err(Refusal::Folding),
        [b' ' | b'\t', ..] => Err(Refusal::SpaceBeforeColon),
        _ => Err(Refusal::HeaderName),
    }
}
