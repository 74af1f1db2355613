//! The head of an HTTP/2 request, judged as that of an HTTP/1.1 request with the same lines would be.

use http::header::{COOKIE, HOST};
use http::{Method, Request};

use crate::serve::http1::{HeadLimits, Refusal, is_host, is_path_target};

/// What a field's line has besides its name and its value: `: ` and a line break.
const LINE_EXTRA: usize = 4;
const LINE_BREAK: usize = 2;
/// Besides a method and a target: two spaces and `HTTP/1.1`.
const REQUEST_LINE_EXTRA: usize = 10;

/// One pass over the head, which allocates nothing.
pub(super) fn check<B>(request: &Request<B>, limits: &HeadLimits) -> Result<(), Refusal> {
    let (method, uri) = (request.method(), request.uri());
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let request_line = method.as_str().len() + target.len() + REQUEST_LINE_EXTRA;
    if request_line > limits.max_request_line_bytes {
        return Err(Refusal::RequestLineTooLong(limits.max_request_line_bytes));
    }
    // The target of a CONNECT is its authority.
    let has_target = *method == Method::CONNECT || is_path_target(method.as_str().as_bytes(), target.as_bytes());
    if !has_target {
        return Err(Refusal::Target);
    }

    let mut lines = Lines {
        limits,
        count: 0,
        bytes: request_line + 2 * LINE_BREAK,
    };
    let headers = request.headers();
    if let Some(authority) = uri.authority() {
        if !is_host(authority.as_str().as_bytes()) {
            return Err(Refusal::Host);
        }
        if !headers.contains_key(HOST) {
            lines.add("host".len() + authority.as_str().len())?;
        }
    }
    // Its pieces are one header (RFC 9113 section 8.2.3).
    let mut cookie = 0;
    for (name, value) in headers {
        let value = value.as_bytes();
        if matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) {
            return Err(Refusal::HeaderValue);
        }
        if *name == COOKIE {
            cookie += value.len() + "; ".len();
            continue;
        }
        lines.add(name.as_str().len() + value.len())?;
    }
    if cookie > 0 {
        lines.add("cookie".len() + cookie - "; ".len())?;
    }
    Ok(())
}

struct Lines<'a> {
    limits: &'a HeadLimits,
    count: usize,
    bytes: usize,
}

impl Lines<'_> {
    /// Adds a line whose name and value have so many bytes.
    fn add(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limits = self.limits;
        self.count += 1;
        self.bytes += bytes + LINE_EXTRA;
        if bytes + LINE_EXTRA - LINE_BREAK > limits.max_header_line_bytes {
            return Err(Refusal::HeaderLineTooLong(limits.max_header_line_bytes));
        }
        if self.bytes > limits.max_bytes {
            return Err(Refusal::HeadTooLarge(limits.max_bytes));
        }
        match self.count > limits.max_headers {
            true => Err(Refusal::TooManyHeaders(limits.max_headers)),
            false => Ok(()),
        }
    }
}
