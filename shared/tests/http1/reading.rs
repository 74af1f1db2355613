//! Shows bytes to the validator as a socket would, and reads what passed with another parser.

use shared::serve::http1::{HeadLimits, Refusal, Validator};

pub(crate) const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 2048,
    max_request_line_bytes: 256,
    max_header_line_bytes: 512,
    max_headers: 20,
};

/// What the validator makes of a connection's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Verdict {
    pub(crate) passed: Vec<u8>,
    pub(crate) requests: u64,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) in_head: bool,
    pub(crate) in_body: bool,
    pub(crate) is_http2: bool,
}

/// The verdict on `input` when it comes in pieces of the given lengths, and what is left of it then as one.
pub(crate) fn judge(input: &[u8], pieces: impl IntoIterator<Item = usize>) -> Verdict {
    let mut validator = Validator::new(LIMITS);
    let (mut held, mut passed, mut rest) = (Vec::new(), Vec::new(), input);
    let mut show = |piece: &[u8]| {
        held.extend_from_slice(piece);
        let clear = validator.advance(&held);
        passed.extend(held.drain(..clear));
    };
    for length in pieces {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        show(piece);
        rest = after;
    }
    show(rest);
    Verdict {
        passed,
        requests: validator.requests(),
        refusal: validator.refusal(),
        in_head: validator.is_in_head(),
        in_body: validator.is_in_body(),
        is_http2: validator.is_http2(),
    }
}

pub(crate) fn judge_whole(input: &[u8]) -> Verdict {
    judge(input, [])
}

pub(crate) fn judge_byte_by_byte(input: &[u8]) -> Verdict {
    judge(input, std::iter::repeat_n(1, input.len()))
}

/// Reads what passed as hyper does, with httparse, and compares it with the plainest reading there is: lines split
/// at CRLF, a request line at its spaces.
///
/// # Panics
/// When the two differ, or hyper would refuse what passed.
pub(crate) fn read_again(verdict: &Verdict) {
    let mut rest = &verdict.passed[..];
    let mut requests = 0;
    while !rest.is_empty() {
        let (head_length, chunked, length) = read_head(rest);
        requests += 1;
        rest = &rest[head_length..];
        rest = match chunked {
            false => &rest[length.min(rest.len())..],
            true => match after_chunks(rest) {
                Some(rest) => rest,
                None => break,
            },
        };
    }
    assert_eq!(requests, verdict.requests, "requests in {verdict:?}");
}

/// The length of the head, whether its body is chunked, and otherwise how long.
fn read_head(bytes: &[u8]) -> (usize, bool, usize) {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(bytes);
    let Ok(httparse::Status::Complete(head_length)) = parsed else {
        panic!("httparse says {parsed:?} to {:?}", shown());
    };

    let lines = bytes[..head_length].split(|byte| *byte == b'\n');
    let mut lines = lines
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty());
    let mut line = lines.next().expect("a request line").split(|byte| *byte == b' ');
    assert_eq!(line.next(), request.method.map(str::as_bytes), "{:?}", shown());
    assert_eq!(line.next(), request.path.map(str::as_bytes), "{:?}", shown());
    assert_eq!(lines.count(), request.headers.len(), "{:?}", shown());

    let target = request.path.expect("complete");
    let uri = http::Uri::try_from(target).unwrap_or_else(|error| panic!("{error}: {target:?}"));
    if target.starts_with('/') {
        assert_eq!(
            uri.path_and_query().map(|whole| whole.as_str()),
            Some(target),
            "nothing is cut off"
        );
    }
    http::Method::from_bytes(request.method.expect("complete").as_bytes()).expect("a method");

    let value = |name: &str| {
        let mut found = request
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        let value = found
            .next()
            .map(|header| String::from_utf8_lossy(header.value).into_owned());
        assert!(found.next().is_none(), "{name} twice in {:?}", shown());
        value
    };
    let (encoding, length) = (value("transfer-encoding"), value("content-length"));
    assert!(encoding.is_none() || length.is_none(), "{:?}", shown());
    if request.version == Some(1) {
        assert!(value("host").is_some(), "{:?}", shown());
    }
    let length = length.map_or(0, |text| text.parse().expect("a number"));
    (head_length, encoding.is_some(), length)
}

/// What follows a chunked body; `None` when it is not complete.
fn after_chunks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let parsed = httparse::parse_chunk_size(rest).expect("a chunk size");
        let httparse::Status::Complete((line, size)) = parsed else {
            return None;
        };
        rest = &rest[line..];
        if size == 0 {
            let mut headers = [httparse::EMPTY_HEADER; 100];
            return match httparse::parse_headers(rest, &mut headers).expect("trailers") {
                httparse::Status::Complete((length, _)) => Some(&rest[length..]),
                httparse::Status::Partial => None,
            };
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let after = rest.get(size..)?;
        if after.len() < 2 {
            return None;
        }
        rest = after.strip_prefix(b"\r\n").expect("CRLF after a chunk");
    }
}
