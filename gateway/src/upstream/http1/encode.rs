//! Requests as bytes.

use std::collections::VecDeque;
use std::io::Write;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method, request};
use http_body::{Body, Frame};

use crate::upstream::error::UpstreamError;
use crate::upstream::injected_headers::InjectedHeaders;
use crate::upstream::request_body::RequestBody;
use crate::upstream::trailers::is_allowed_trailer;

/// Parts of a message up to this size are copied together for one plain write.
pub(super) const SMALL: usize = 2048;

/// Framing of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoder {
    /// So many bytes are still announced.
    Length(u64),
    Chunked,
}

/// Writes the head of a request and says how its body is framed.
pub(super) fn head(
    out: &mut Vec<u8>,
    head: &request::Parts,
    added: &InjectedHeaders<'_>,
    body: &RequestBody,
) -> Encoder {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in head.headers.iter().chain(added.iter()) {
        field(out, name, value);
    }
    let encoder = framing(out, head, body);
    out.extend_from_slice(b"\r\n");
    encoder
}

fn field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Announces the body, where the head does not yet.
fn framing(out: &mut Vec<u8>, head: &request::Parts, body: &RequestBody) -> Encoder {
    let length = match body {
        RequestBody::Whole(bytes) if bytes.is_empty() && !expects_body(&head.method) => return Encoder::Length(0),
        RequestBody::Whole(bytes) => Some(bytes.len() as u64),
        RequestBody::Streaming(_) => body.size_hint().exact(),
    };
    let Some(length) = length else {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        return Encoder::Chunked;
    };
    if !head.headers.contains_key(CONTENT_LENGTH) {
        write!(out, "content-length: {length}\r\n").expect("memory takes every write");
    }
    Encoder::Length(length)
}

/// RFC 9110 section 8.6: a request of these methods says that its body is empty.
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

impl Encoder {
    /// Lines up a part of the body to be written, `out` before `parts`.
    pub(super) fn encode(
        &mut self,
        frame: Frame<Bytes>,
        out: &mut Vec<u8>,
        parts: &mut VecDeque<Bytes>,
    ) -> Result<(), UpstreamError> {
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(frame) => {
                if let (Self::Chunked, Ok(trailers)) = (&self, frame.into_trailers()) {
                    out.extend_from_slice(b"0\r\n");
                    write_trailers(out, &trailers);
                    out.extend_from_slice(b"\r\n");
                    // The end is told; nothing more may come.
                    *self = Self::Length(0);
                }
                return Ok(());
            }
        };
        match self {
            Self::Length(left) => {
                // More than was announced would be read as another request.
                *left = left.checked_sub(data.len() as u64).ok_or(UpstreamError::Upload)?;
                push(data, out, parts);
            }
            Self::Chunked => {
                write!(out, "{:x}\r\n", data.len()).expect("memory takes every write");
                push(data, out, parts);
                push(Bytes::from_static(b"\r\n"), out, parts);
            }
        }
        Ok(())
    }

    /// Tells the end of the body.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), UpstreamError> {
        match self {
            Self::Length(0) => Ok(()),
            // Less than was announced: the upstream would wait for the rest.
            Self::Length(_) => Err(UpstreamError::Upload),
            Self::Chunked => {
                out.extend_from_slice(b"0\r\n\r\n");
                Ok(())
            }
        }
    }
}

fn push(data: Bytes, out: &mut Vec<u8>, parts: &mut VecDeque<Bytes>) {
    if parts.is_empty() && data.len() <= SMALL {
        out.extend_from_slice(&data);
    } else {
        parts.push_back(data);
    }
}

fn write_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    for (name, value) in trailers.iter().filter(|(name, _)| is_allowed_trailer(name)) {
        field(out, name, value);
    }
}
