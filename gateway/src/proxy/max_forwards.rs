//! Max-Forwards of OPTIONS, RFC 9110 section 7.6.2: how many proxies a request may still pass. And TRACE, which is for
//! looking at what they do, and would show a client the headers that the gateway adds: it is not forwarded.

use http::header::{ALLOW, MAX_FORWARDS};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::error::ProxyError;
use crate::exchange::{Answer, Exchange, ResponseBody, refuse_body};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Counts the gateway as one of the proxies. Where the request may go no further, gives the answer of who is asked last.
#[cold]
pub(super) fn check(exchange: &mut Exchange) -> Result<Option<Answer>, ProxyError> {
    if exchange.head.method == Method::TRACE {
        refuse_body(exchange);
        return Err(ProxyError::MethodNotAllowed(METHODS));
    }
    let Some(left) = exchange.head.headers.get(MAX_FORWARDS).and_then(number) else {
        return Ok(None);
    };
    let Some(left) = left.checked_sub(1) else {
        refuse_body(exchange);
        let mut answer = Response::new(ResponseBody::Whole(None));
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        return Ok(Some(answer));
    };
    exchange.head.headers.insert(MAX_FORWARDS, HeaderValue::from(left));
    Ok(None)
}

/// Digits only; a number that is too large counts as the largest. What is none limits nothing.
fn number(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| value.to_str().ok()?.parse().ok())
        .map(|number| number.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_digits_only() {
        for (text, expected) in [
            ("0", Some(0)),
            ("05", Some(5)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
            ("-1", None),
            ("1, 1", None),
            ("x", None),
        ] {
            assert_eq!(number(&HeaderValue::from_static(text)), expected, "{text:?}");
        }
    }
}
