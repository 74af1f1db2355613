//! Time limits of a request: the client's deadline, the route's timeout, and the remainder that is passed on.
//!
//! A route's timeout bounds silence: it starts anew with every part of a body that moves. A client's deadline is a
//! point in time, after which nobody waits for the answer any more: `x-request-timeout-ms`, milliseconds from now,
//! or gRPC's `grpc-timeout` (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::error::ProxyError;
use crate::known_headers::KnownHeaders;

pub(super) static X_REQUEST_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");
pub(super) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Most digits that both headers allow.
const MOST_DIGITS: usize = 8;
/// The largest number of so many digits.
const MOST: u128 = 99_999_999;

#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// The client's own deadline, if it sent one.
    pub(super) client: Option<Instant>,
    /// The longest silence.
    pub(super) read_timeout: Duration,
    by_grpc: bool,
}

impl Deadline {
    pub(super) fn of(
        headers: &HeaderMap,
        known: KnownHeaders,
        started: Instant,
        read_timeout: Duration,
    ) -> Result<Self, ProxyError> {
        if !known.timeout {
            return Ok(Self {
                client: None,
                read_timeout,
                by_grpc: false,
            });
        }
        let own = timeout_in(headers, &X_REQUEST_TIMEOUT_MS, "x-request-timeout-ms", millis)?;
        let grpc = timeout_in(headers, &GRPC_TIMEOUT, "grpc-timeout", grpc_timeout)?;
        let shortest = own.into_iter().chain(grpc).min();
        Ok(Self {
            client: shortest.map(|timeout| started + timeout),
            read_timeout,
            by_grpc: grpc.is_some(),
        })
    }

    /// Time to give up, if nothing moves after `moved`.
    pub(super) fn after(&self, moved: Instant) -> Instant {
        self.at_most(moved + self.read_timeout)
    }

    /// `instant`, or the client's deadline when that is earlier.
    pub(super) fn at_most(&self, instant: Instant) -> Instant {
        self.client.map_or(instant, |client| client.min(instant))
    }

    pub(super) fn has_passed(&self, now: Instant) -> bool {
        self.client.is_some_and(|client| client <= now)
    }

    /// Remaining time that the upstream is sent; `default` without a client's deadline. The longest silence is no part
    /// of it: an answer that moves may take until the deadline.
    pub(super) fn left(&self, default: &HeaderValue, now: Instant) -> TimeLeft {
        let Some(client) = self.client else {
            return TimeLeft {
                millis: default.clone(),
                grpc: None,
            };
        };
        let left = client.saturating_duration_since(now);
        // Rounded up: 0 would be no timeout in either form.
        let millis = left.as_micros().div_ceil(1000).max(1);
        TimeLeft {
            millis: HeaderValue::from(millis.min(MOST) as u64),
            grpc: self.by_grpc.then(|| in_grpcs_form(millis)),
        }
    }
}

/// The time that an upstream has, as `x-request-timeout-ms` and, where the client spoke so, as `grpc-timeout`.
#[derive(Debug)]
pub(super) struct TimeLeft {
    pub(super) millis: HeaderValue,
    pub(super) grpc: Option<HeaderValue>,
}

/// In the smallest unit whose number has few enough digits, rounded up.
fn in_grpcs_form(millis: u128) -> HeaderValue {
    let units = [(1, 'm'), (1000, 'S'), (60_000, 'M')];
    let fitting = units
        .into_iter()
        .map(|(size, unit)| (millis.div_ceil(size), unit))
        .find(|(number, _)| *number <= MOST);
    let (number, unit) = fitting.unwrap_or((millis.div_ceil(3_600_000).min(MOST), 'H'));
    HeaderValue::try_from(format!("{number}{unit}")).expect("digits and a letter")
}

fn timeout_in(
    headers: &HeaderMap,
    name: &HeaderName,
    shown: &'static str,
    parse: fn(&str) -> Option<Duration>,
) -> Result<Option<Duration>, ProxyError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let timeout = value.to_str().ok().and_then(parse);
    timeout.map(Some).ok_or(ProxyError::TimeoutHeader(shown))
}

fn millis(text: &str) -> Option<Duration> {
    digits(text).filter(|millis| *millis > 0).map(Duration::from_millis)
}

fn grpc_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = digits(number)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn digits(text: &str) -> Option<u64> {
    let plain = (1..=MOST_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_its_form_or_is_refused() {
        assert_eq!(millis("250"), Some(Duration::from_millis(250)));
        for bad in ["0", "", "-1", "+1", "1.5", "1s", "999999999"] {
            assert_eq!(millis(bad), None, "{bad:?}");
        }
        assert_eq!(grpc_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(grpc_timeout("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(grpc_timeout("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for bad in ["", "m", "1", "1x", "123456789m", "1 m", "ä"] {
            assert_eq!(grpc_timeout(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_shorter_of_both_counts_and_what_remains_is_passed_on() {
        let mut headers = HeaderMap::new();
        headers.insert(&X_REQUEST_TIMEOUT_MS, HeaderValue::from_static("500"));
        headers.insert(&GRPC_TIMEOUT, HeaderValue::from_static("2S"));
        let started = Instant::now();
        let deadline = Deadline::of(
            &headers,
            KnownHeaders::in_headers(&headers),
            started,
            Duration::from_secs(30),
        )
        .expect("both are right");
        assert_eq!(deadline.client, Some(started + Duration::from_millis(500)));
        let later = started + Duration::from_millis(200);
        let left = deadline.left(&HeaderValue::from_static("30000"), later);
        assert_eq!(left.millis, "300");
        assert_eq!(left.grpc.expect("the client spoke so"), "300m");
        assert!(!deadline.has_passed(later));
        assert!(deadline.has_passed(started + Duration::from_millis(500)));
    }

    #[test]
    fn a_deadline_beyond_the_longest_silence_is_passed_on_whole() {
        for (asked, millis, grpc) in [
            ("10S", "10000", "10000m"),
            ("99999999S", "99999999", "99999999S"),
            ("1666667M", "99999999", "1666667M"),
            ("99999999H", "99999999", "99999999H"),
        ] {
            let headers = HeaderMap::from_iter([(GRPC_TIMEOUT.clone(), HeaderValue::from_static(asked))]);
            let (known, started) = (KnownHeaders::in_headers(&headers), Instant::now());
            let silence = Duration::from_millis(1500);
            let deadline = Deadline::of(&headers, known, started, silence).expect("it has its form");
            let left = deadline.left(&HeaderValue::from_static("1500"), started);
            assert_eq!(left.millis, millis, "{asked}");
            assert_eq!(left.grpc.expect("the client spoke so"), grpc, "{asked}");
            assert_eq!(deadline.after(started), started + silence, "{asked}");
        }
    }

    #[test]
    fn without_a_client_deadline_silence_is_what_is_bounded() {
        let started = Instant::now();
        let none = KnownHeaders::default();
        let deadline = Deadline::of(&HeaderMap::new(), none, started, Duration::from_secs(30)).expect("there is none");
        let moved = started + Duration::from_secs(100);
        assert_eq!(deadline.after(moved), moved + Duration::from_secs(30));
        let left = deadline.left(&HeaderValue::from_static("30000"), moved);
        assert_eq!(left.millis, "30000");
        assert_eq!(left.grpc, None);
    }
}
