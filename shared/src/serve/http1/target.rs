//! Request targets and hosts, RFC 9112 section 3.2 and RFC 9110 section 7.2.

use std::net::Ipv6Addr;
use std::str;

use super::bytes::{HOST, TARGET, span};
use super::refusal::Refusal;

/// True when `method` may have `target`, whose characters were checked already.
pub(super) fn check(method: &[u8], target: &[u8]) -> Result<(), Refusal> {
    let valid = match (method, target) {
        (b"CONNECT", authority) => is_authority(authority, Port::Required),
        (b"OPTIONS", b"*") | (_, [b'/', ..]) => true,
        (_, absolute) => is_absolute(absolute),
    };
    if valid { Ok(()) } else { Err(Refusal::Target) }
}

/// True when `target` is one that HTTP/2 knows: a path, or the `*` of OPTIONS (RFC 9113 section 8.3.1).
pub(crate) fn is_path_target(method: &[u8], target: &[u8]) -> bool {
    let has_form = matches!((method, target), (b"OPTIONS", b"*") | (_, [b'/', ..]));
    has_form && length(target) == target.len()
}

/// The number of bytes at the start that a target may have.
pub(super) fn length(bytes: &[u8]) -> usize {
    span(bytes, &TARGET)
}

/// True when a Host header may have this value. RFC 9110 lets it be empty where the target has no authority, which
/// over HTTP no client's target is; here it never may.
pub fn is_host(value: &[u8]) -> bool {
    is_authority(value, Port::Optional)
}

fn is_absolute(target: &[u8]) -> bool {
    let Some(rest) = strip_scheme(target) else { return false };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    is_authority(&rest[..end.unwrap_or(rest.len())], Port::Optional)
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    for scheme in [&b"http://"[..], b"https://"] {
        let found = target.split_at_checked(scheme.len());
        if let Some((start, rest)) = found
            && start.eq_ignore_ascii_case(scheme)
        {
            return Some(rest);
        }
    }
    None
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Optional,
    Required,
}

/// A name or address and a port. User information is none of these: RFC 9110 section 4.2.4 wants it treated as
/// the error it is.
fn is_authority(bytes: &[u8], port: Port) -> bool {
    let (host_is_valid, rest) = match bytes {
        [b'[', literal @ ..] => {
            let end = literal.iter().position(|byte| *byte == b']').unwrap_or(0);
            let (address, rest) = literal.split_at(end);
            (is_ipv6(address), rest.strip_prefix(b"]").unwrap_or(rest))
        }
        name => {
            let end = span(name, &HOST);
            (end > 0, &name[end..])
        }
    };
    let port_is_valid = match rest {
        [] => port == Port::Optional,
        [b':', digits @ ..] => is_port(digits),
        _ => false,
    };
    host_is_valid && port_is_valid
}

fn is_ipv6(address: &[u8]) -> bool {
    str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_port(digits: &[u8]) -> bool {
    (1..=5).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().fold(0, |port, digit| port * 10 + u32::from(digit - b'0')) <= u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in [
            "a",
            "A.b-c_d.example",
            "example.",
            "10.0.0.1",
            "a:0",
            "a:80",
            "a:65535",
            "[::1]",
            "[2001:db8::1]:8080",
            "[::ffff:10.0.0.1]",
        ] {
            assert!(is_host(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "",
            ":80",
            "a:",
            "a:65536",
            "a:000080",
            "a:+80",
            "a:8 0",
            "a b",
            "a,b",
            "a/b",
            "a@b",
            "user:pw@a",
            "a:80:81",
            "[::1",
            "::1",
            "[]",
            "[::1]x",
            "[::1%25eth0]",
            "[v1.x]",
            "[::1]:",
            "%61",
            "a\tb",
            "\u{e4}",
            "a;b",
            "a'b",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn each_form_of_a_target_has_its_methods() {
        for (method, target) in [
            ("GET", "/"),
            ("GET", "//x"),
            ("GET", "http://a"),
            ("GET", "HTTPS://a:1/x?y"),
            ("GET", "http://a?x=/"),
            ("OPTIONS", "*"),
            ("OPTIONS", "/x"),
            ("CONNECT", "a:443"),
            ("CONNECT", "[::1]:443"),
        ] {
            assert_eq!(check(method.as_bytes(), target.as_bytes()), Ok(()), "{method} {target}");
        }
        for (method, target) in [
            ("GET", ""),
            ("GET", "*"),
            ("GET", "x"),
            ("GET", "?x"),
            ("GET", "a:443"),
            ("GET", "ftp://a/"),
            ("GET", "http:/a"),
            ("GET", "http://"),
            ("GET", "http:///x"),
            ("GET", "http://u@a/"),
            ("GET", "http://a:b/"),
            ("OPTIONS", "**"),
            ("options", "*"),
            ("CONNECT", "/"),
            ("CONNECT", "a"),
            ("CONNECT", "http://a:443"),
        ] {
            let refused = check(method.as_bytes(), target.as_bytes());
            assert_eq!(refused, Err(Refusal::Target), "{method} {target}");
        }
    }
}
