//! Known requests, good and bad.

use shared::serve::http1::Refusal::{self, *};
use shared::serve::http1::Validator;

use crate::reading::{LIMITS, judge_byte_by_byte, judge_whole, read_again};

/// Whole requests, and how many each row holds.
pub(crate) const GOOD: &[(&str, u64)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
    ("GET / HTTP/1.0\r\n\r\n", 1),
    ("\r\nGET / HTTP/1.1\r\nhost:a\r\n\r\n", 1),
    ("GET /a?b=c&d=%20;x=[1]{2}|\\^ HTTP/1.1\r\nhost: a\r\n\r\n", 1),
    ("GET http://a:80/x HTTP/1.1\r\nhost: b\r\n\r\n", 1),
    ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 1),
    ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", 1),
    ("M-SEARCH / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", 1),
    ("GET / HTTP/1.1\r\nhost: a\r\nx:\r\ny: \t \r\nz: a\tb \u{fc}\r\n\r\n", 1),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n\0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        2,
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\nCONTENT-LENGTH:\t007 \r\n\r\n1234567\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        2,
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        2,
    ),
    (
        "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n",
        3,
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        1,
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\n\r\n0\r\n00A;x;y=\"a;b\"\r\n0123456789\r\n0;z\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        2,
    ),
    (
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n1\r\na\r\n0\r\nx: 1\r\ny:\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        2,
    ),
];

/// A request line that is refused.
pub(crate) const BAD_LINES: &[(&str, Refusal)] = &[
    ("", RequestLine),
    ("GET", RequestLine),
    ("GET /", RequestLine),
    ("GET  / HTTP/1.1", RequestLine),
    ("GET / ", Version),
    (" GET / HTTP/1.1", Method),
    ("G(T / HTTP/1.1", Method),
    ("GET\t/ HTTP/1.1", Method),
    ("\u{fc} / HTTP/1.1", Method),
    ("GET /\t HTTP/1.1", Target),
    ("GET /a b HTTP/1.1", Version),
    ("GET /#a HTTP/1.1", Target),
    ("GET /\u{fc} HTTP/1.1", Target),
    ("GET /<a> HTTP/1.1", Target),
    ("GET /?\"a\" HTTP/1.1", Target),
    ("GET /`a HTTP/1.1", Target),
    ("GET a HTTP/1.1", Target),
    ("GET * HTTP/1.1", Target),
    ("GET http://u:p@a/ HTTP/1.1", Target),
    ("GET ftp://a/ HTTP/1.1", Target),
    ("GET a:443 HTTP/1.1", Target),
    ("CONNECT /x HTTP/1.1", Target),
    ("GET / http/1.1", Version),
    ("GET / HTTP/1.1 ", Version),
    ("GET / HTTP/1", Version),
    ("GET / HTTP/11", Version),
    ("GET / HTTP/1.10", Version),
    ("GET / HTTP /1.1", Version),
    ("GET / FTP/1.1", Version),
    ("GET / HTTP/1.2", VersionNotSupported),
    ("GET / HTTP/0.9", VersionNotSupported),
    ("GET / HTTP/2.0", VersionNotSupported),
    ("GET / HTTP/3.0", VersionNotSupported),
    ("PRI / HTTP/2.0", VersionNotSupported),
    ("PRI * HTTP/2.1", VersionNotSupported),
    ("GET /\0 HTTP/1.1", ControlByte),
    ("GET /\u{7f} HTTP/1.1", ControlByte),
    ("GET /\r HTTP/1.1", LineBreak),
    ("GET /\n HTTP/1.1", LineBreak),
    ("\u{16}\u{3}\u{1}", ControlByte),
];

/// Header lines that are refused after `Host: a`.
pub(crate) const BAD_FIELDS: &[(&str, Refusal)] = &[
    ("content-length: 5\r\ntransfer-encoding: chunked", LengthAndEncoding),
    ("transfer-encoding: chunked\r\ncontent-length: 5", LengthAndEncoding),
    ("content-length: 5\r\ncontent-length: 6", ContentLength),
    ("content-length: 5\r\nContent-Length: 5", ContentLength),
    ("content-length: 5, 6", ContentLength),
    ("content-length: 5,5", ContentLength),
    ("content-length: +5", ContentLength),
    ("content-length: -5", ContentLength),
    ("content-length: 5a", ContentLength),
    ("content-length: 0x5", ContentLength),
    ("content-length: 5 5", ContentLength),
    ("content-length: \u{b2}", ContentLength),
    ("content-length:", ContentLength),
    ("content-length: 18446744073709551616", ContentLength),
    ("content-length: 9999999999999999999", ContentLength),
    ("transfer-encoding:", TransferEncoding),
    ("transfer-encoding: identity", TransferEncoding),
    ("transfer-encoding: gzip, chunked", TransferEncoding),
    ("transfer-encoding: chunked, identity", TransferEncoding),
    ("transfer-encoding: chunked, chunked", TransferEncoding),
    (
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        TransferEncoding,
    ),
    (
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        TransferEncoding,
    ),
    ("transfer-encoding: \u{b}chunked", ControlByte),
    ("transfer-encoding: chunked;x", TransferEncoding),
    ("transfer-encoding: \"chunked\"", TransferEncoding),
    ("transfer-encoding: xchunked", TransferEncoding),
    ("transfer-encoding : chunked", SpaceBeforeColon),
    ("transfer-encoding\t: chunked", SpaceBeforeColon),
    ("content-length : 5", SpaceBeforeColon),
    ("transfer\u{0}-encoding: chunked", ControlByte),
    ("host: a", HostRepeated),
    ("Host: b", HostRepeated),
    (" x: y", Folding),
    ("x: a\r\n b", Folding),
    ("x: a\r\n\tb: c", Folding),
    ("x: a\r\n ", Folding),
    (": a", HeaderName),
    ("x", HeaderName),
    ("x(y): a", HeaderName),
    ("\u{fc}: a", HeaderName),
    ("x y: a", SpaceBeforeColon),
    ("x: a\rb", LineBreak),
    ("x: a\nb: c", LineBreak),
    ("x: a\n", LineBreak),
    ("x: a\r", LineBreak),
    ("x: a\0b", ControlByte),
    ("x: a\u{1b}", ControlByte),
    ("x: a\u{7f}", ControlByte),
    ("x\r: a", LineBreak),
    ("x\n: a", LineBreak),
];

/// Values of Host that are refused.
pub(crate) const BAD_HOSTS: &[&str] = &[
    "", "a b", "u@a", "a:b", "a:", "a:99999", "a/b", "a,b", "[::1", "a\u{fc}", "http://a",
];

/// Chunked bodies that are refused.
pub(crate) const BAD_CHUNKS: &[(&str, Refusal)] = &[
    ("\r\n", ChunkSize),
    ("g\r\n", ChunkSize),
    ("0x5\r\nhello\r\n0\r\n\r\n", ChunkSize),
    (" 5\r\nhello\r\n", ChunkSize),
    ("5 \r\nhello\r\n", ChunkSize),
    ("+5\r\nhello\r\n", ChunkSize),
    ("-1\r\n", ChunkSize),
    ("5\u{b}\r\n", ControlByte),
    ("10000000000000000\r\n", ChunkSize),
    ("ffffffffffffffffff\r\n", ChunkSize),
    ("5\nhello\r\n", LineBreak),
    ("5\rhello", LineBreak),
    ("5;\r\nhello\r\n", ChunkExtension),
    ("5;a=\r\nhello\r\n", ChunkExtension),
    ("5;a\nx\r\nhello\r\n", LineBreak),
    ("5;a=\"\0\"\r\nhello\r\n", ControlByte),
    ("5\r\nhello!\r\n", ChunkEnd),
    ("5\r\nhello\n0\r\n\r\n", ChunkEnd),
    ("5\r\nhello\r0\r\n\r\n", ChunkEnd),
    ("5\r\nhello0\r\n\r\n", ChunkEnd),
    ("0\r\nx\r\n\r\n", HeaderName),
    ("0\r\nx : y\r\n\r\n", SpaceBeforeColon),
    ("0\r\n x: y\r\n\r\n", Folding),
    ("0\r\nx: a\nb\r\n\r\n", LineBreak),
    ("0\r\nx: \0\r\n\r\n", ControlByte),
    ("0\r\nContent-Length: 5\r\n\r\n", Trailer),
    ("0\r\ntransfer-encoding: chunked\r\n\r\n", Trailer),
    ("0\r\nhost: b\r\n\r\n", Trailer),
    ("0\n\r\n", LineBreak),
    ("0\r\n\n", LineBreak),
    ("0\r\n\rx", LineBreak),
];

pub(crate) const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/// Everything above as whole requests.
pub(crate) fn bad_heads() -> Vec<(String, Refusal)> {
    let lines = BAD_LINES.iter().map(|(line, refusal)| {
        // An empty line alone is forgiven once.
        let line = if line.is_empty() { "\r\n" } else { line };
        (format!("{line}\r\nhost: a\r\n\r\n"), *refusal)
    });
    let fields = BAD_FIELDS.iter().map(|(fields, refusal)| {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\nhello");
        (head, *refusal)
    });
    let hosts = BAD_HOSTS
        .iter()
        .map(|host| (format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), Host));
    let others = [
        ("GET / HTTP/1.1\r\n\r\n", HostMissing),
        ("GET http://a/ HTTP/1.1\r\n\r\n", HostMissing),
        ("GET / HTTP/1.1\r\n host: a\r\n\r\n", Folding),
        ("GET / HTTP/1.1\r\n\thost: a\r\n\r\n", Folding),
        ("GET / HTTP/1.0\r\nhost: u@a\r\n\r\n", Host),
        (
            "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            TransferEncoding,
        ),
        ("GET / HTTP/1.1\nhost: a\n\n", LineBreak),
        ("\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", LineBreak),
        ("\r\n\r\n\r\n", RequestLine),
    ];
    let others = others.iter().map(|(head, refusal)| ((*head).to_owned(), *refusal));
    lines.chain(fields).chain(hosts).chain(others).collect()
}

#[test]
fn good_requests_pass_whole_however_they_come() {
    for (text, requests) in GOOD {
        let verdict = judge_whole(text.as_bytes());
        assert_eq!((verdict.refusal, verdict.requests), (None, *requests), "{text:?}");
        assert_eq!(verdict.passed, text.as_bytes(), "{text:?}");
        assert!(!verdict.in_head && !verdict.in_body, "{text:?}");
        assert_eq!(judge_byte_by_byte(text.as_bytes()), verdict, "{text:?}");
        read_again(&verdict);
    }
}

#[test]
fn nothing_of_a_bad_head_passes() {
    let before = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
    for (head, refusal) in bad_heads() {
        let verdict = judge_whole(head.as_bytes());
        assert_eq!((verdict.refusal, verdict.requests), (Some(refusal), 0), "{head:?}");
        assert!(verdict.passed.is_empty(), "{head:?}");
        assert_eq!(judge_byte_by_byte(head.as_bytes()), verdict, "{head:?}");

        let second = judge_whole(format!("{before}{head}").as_bytes());
        assert_eq!((second.refusal, second.requests), (Some(refusal), 1), "{head:?}");
        assert_eq!(second.passed, before.as_bytes(), "{head:?}");
    }
}

#[test]
fn a_bad_chunk_ends_its_body_before_it_is_complete() {
    for (body, refusal) in BAD_CHUNKS {
        let text = format!("{CHUNKED}{body}");
        let verdict = judge_whole(text.as_bytes());
        assert_eq!((verdict.refusal, verdict.in_body), (Some(*refusal), true), "{body:?}");
        assert_eq!(judge_byte_by_byte(text.as_bytes()), verdict, "{body:?}");
        let after_body = judge_whole(&verdict.passed);
        assert!(after_body.in_body, "what passed is no whole body: {body:?}");
    }
}

#[test]
fn each_limit_is_exact() {
    let line = |length: usize| format!("GET /{} HTTP/1.1", "x".repeat(length - "GET / HTTP/1.1".len()));
    let header = |length: usize| format!("x: {}", "x".repeat(length - "x: ".len()));
    let headers = |count: usize| "x: y\r\n".repeat(count - 1);
    let sized = |length: usize| {
        let base = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".len();
        let mut head = "GET / HTTP/1.1\r\nhost: a\r\n".to_owned();
        let mut left = length - base;
        while left > 0 {
            let line = if left > 500 { 300 } else { left };
            head += &format!("{}\r\n", header(line - 2));
            left -= line;
        }
        head + "\r\n"
    };
    let limits = LIMITS;
    for (good, bad, refusal) in [
        (
            format!("{}\r\nhost: a\r\n\r\n", line(limits.max_request_line_bytes)),
            format!("{}\r\nhost: a\r\n\r\n", line(limits.max_request_line_bytes + 1)),
            RequestLineTooLong(limits.max_request_line_bytes),
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n\r\n",
                header(limits.max_header_line_bytes)
            ),
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n\r\n",
                header(limits.max_header_line_bytes + 1)
            ),
            HeaderLineTooLong(limits.max_header_line_bytes),
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", headers(limits.max_headers)),
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", headers(limits.max_headers + 1)),
            TooManyHeaders(limits.max_headers),
        ),
        (
            sized(limits.max_bytes),
            sized(limits.max_bytes + 1),
            HeadTooLarge(limits.max_bytes),
        ),
    ] {
        let passed = judge_whole(good.as_bytes());
        assert_eq!((passed.refusal, passed.requests), (None, 1), "{refusal:?}");
        assert_eq!(judge_byte_by_byte(good.as_bytes()), passed);
        let refused = judge_whole(bad.as_bytes());
        assert_eq!((refused.refusal, refused.requests), (Some(refusal), 0));
        assert_eq!(judge_byte_by_byte(bad.as_bytes()), refused);
    }
}

#[test]
fn a_line_without_end_is_refused_at_its_limit() {
    for (start, refusal) in [
        ("GET /", RequestLineTooLong(LIMITS.max_request_line_bytes)),
        ("GET / HTTP/1.1\r\nx: ", HeaderLineTooLong(LIMITS.max_header_line_bytes)),
    ] {
        let endless = format!("{start}{}", "x".repeat(1000));
        assert_eq!(judge_byte_by_byte(endless.as_bytes()).refusal, Some(refusal));
    }
}

#[test]
fn chunk_extensions_and_trailers_are_bounded() {
    let long = format!("{CHUNKED}5;a={}\r\nhello\r\n0\r\n\r\n", "x".repeat(5000));
    assert_eq!(judge_whole(long.as_bytes()).refusal, Some(ChunkExtension));
    let many = format!("{CHUNKED}{}", "1;abcdefg\r\nx\r\n".repeat(513));
    let verdict = judge_whole(many.as_bytes());
    assert_eq!(verdict.refusal, Some(ChunkExtension), "over the body's sum");
    let trailers = format!("{CHUNKED}0\r\n{}\r\n", "x: y\r\n".repeat(LIMITS.max_headers + 1));
    assert_eq!(judge_whole(trailers.as_bytes()).refusal, Some(Trailer));
    let large = format!("{CHUNKED}0\r\n{}\r\n", format!("x: {}\r\n", "y".repeat(400)).repeat(6));
    assert_eq!(judge_whole(large.as_bytes()).refusal, Some(Trailer));
}

#[test]
fn an_empty_line_is_no_beginning_and_one_byte_more_is() {
    for (text, begun) in [
        ("", false),
        ("\r", false),
        ("\r\n", false),
        ("G", true),
        ("\r\nG", true),
        ("GET / HTTP/1.1\r\n", true),
    ] {
        assert_eq!(judge_whole(text.as_bytes()).in_head, begun, "{text:?}");
        assert_eq!(judge_byte_by_byte(text.as_bytes()).in_head, begun, "{text:?}");
    }
}

/// Every byte in every place: what passes is read by hyper's own parser, and as the same.
#[test]
fn no_byte_is_read_differently() {
    let places: [(&str, &str); 8] = [
        ("G", "T / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("GET /a", "b HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("GET /a?b", "c HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("GET http://a", "/ HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("GET http://a/", " HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("GET / HTTP/1.1\r\nhost: a\r\nx", "y: z\r\n\r\n"),
        ("GET / HTTP/1.1\r\nhost: a\r\nx: y", "z\r\n\r\n"),
        ("GET / HTTP/1.1\r\nhost: a", "b\r\n\r\n"),
    ];
    for (before, after) in places {
        for byte in 0..=u8::MAX {
            let input = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            read_again(&judge_whole(&input));
        }
    }
}

#[test]
fn the_preface_of_http2_is_known_at_the_start_of_a_connection_and_nowhere_else() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for verdict in [judge_whole(preface.as_bytes()), judge_byte_by_byte(preface.as_bytes())] {
        assert!(verdict.is_http2 && verdict.passed.is_empty() && verdict.refusal.is_none());
    }
    for before in ["\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let verdict = judge_whole(format!("{before}{preface}").as_bytes());
        assert_eq!(
            (verdict.is_http2, verdict.refusal),
            (false, Some(VersionNotSupported)),
            "{before:?}"
        );
    }
}

#[test]
fn after_a_request_that_asks_for_another_protocol_nothing_passes_until_it_is_declined() {
    let next = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for asks in [
        "GET / HTTP/1.1\r\nhost: a\r\nUpgrade: x\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nupgrade:\r\ncontent-length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        for follows in [next, "\0\n no HTTP"] {
            let text = format!("{next}{asks}{follows}");
            let verdict = judge_whole(text.as_bytes());
            assert_eq!((verdict.refusal, verdict.requests), (None, 2), "{text:?}");
            assert_eq!(verdict.passed, format!("{next}{asks}").as_bytes(), "{text:?}");
            assert!(!verdict.in_head && !verdict.in_body, "{text:?}");
            assert_eq!(judge_byte_by_byte(text.as_bytes()), verdict, "{text:?}");
        }
        let mut validator = Validator::new(LIMITS);
        assert_eq!(validator.advance(asks.as_bytes()), asks.len());
        assert!(validator.asks_upgrade());
        assert_eq!(validator.advance(next.as_bytes()), 0);
        validator.decline_upgrade();
        assert_eq!(validator.advance(next.as_bytes()), next.len());
        assert!(!validator.asks_upgrade());
        assert_eq!(validator.advance(b"\0"), 0);
        assert_eq!(validator.refusal(), Some(ControlByte));
    }
}

#[test]
fn an_answer_that_came_before_the_body_has_ended_declines_too() {
    let mut validator = Validator::new(LIMITS);
    validator.advance(b"POST / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\ncontent-length: 2\r\n\r\nh");
    validator.decline_upgrade();
    let rest = b"iGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(validator.advance(rest), rest.len());
    assert_eq!(validator.requests(), 2);
}

#[test]
fn http_1_0_has_no_other_protocols() {
    let text = "GET / HTTP/1.0\r\nupgrade: x\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    assert_eq!(judge_whole(text.as_bytes()).passed, text.as_bytes());
}
