//! The key of the lab's Step 7: `X-API-Key`, or `Authorization: Bearer` as RFC 6750 writes it.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use shared::config::Secret;
use subtle::{Choice, ConstantTimeEq};

use super::guard::Check;
use crate::error::ProxyError;
use crate::exchange::Exchange;

const X_API_KEY: &str = "x-api-key";

#[derive(Clone)]
pub(crate) struct ApiKey;

impl Check for ApiKey {
    fn check(&self, exchange: &Exchange) -> Result<(), ProxyError> {
        let settings = &exchange.record.worker.snapshot;
        let required = exchange.record.route().is_some_and(|route| route.require_api_key)
            || settings.routes.needs_key_when_decoded(exchange.head.uri.path());
        match required {
            // A browser sends no key with a preflight, which the gateway answers itself.
            true if exchange.record.is_preflight() => Ok(()),
            true => check(&exchange.head.headers, &settings.live.api_keys),
            false => Ok(()),
        }
    }
}

fn check(headers: &HeaderMap, accepted: &[Secret]) -> Result<(), ProxyError> {
    let given = presented(headers).ok_or(ProxyError::ApiKeyMissing)?;
    // In constant time for keys of the same length: a comparison that stops at the first difference
    // tells how much of a guess was right.
    let is_one = accepted.iter().fold(Choice::from(0), |is_one, key| {
        is_one | given.ct_eq(key.expose().as_bytes())
    });
    match bool::from(is_one) {
        true => Ok(()),
        false => Err(ProxyError::ApiKeyWrong),
    }
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(X_API_KEY) {
        return Some(key.as_bytes());
    }
    let credentials = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = credentials.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn checked(name: &str, value: &str) -> Result<(), ProxyError> {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
        check(&headers, &[Secret::new("right-key"), Secret::new("old-key")])
    }

    #[test]
    fn the_key_is_taken_from_either_header() {
        assert!(checked("x-api-key", "right-key").is_ok());
        assert!(checked("authorization", "Bearer right-key").is_ok());
        assert!(checked("authorization", "bearer  right-key").is_ok());
        assert!(checked("x-api-key", "old-key").is_ok(), "the previous one counts too");
    }

    #[test]
    fn a_wrong_key_and_no_key_are_told_apart() {
        for (name, value) in [
            ("x-api-key", "wrong-key"),
            ("x-api-key", "right-ke"),
            ("authorization", "Bearer "),
        ] {
            assert!(
                matches!(checked(name, value), Err(ProxyError::ApiKeyWrong)),
                "{name}: {value}"
            );
        }
        for (name, value) in [
            ("authorization", "Basic cmlnaHQta2V5"),
            ("authorization", "right-key"),
            ("accept", "*/*"),
        ] {
            assert!(
                matches!(checked(name, value), Err(ProxyError::ApiKeyMissing)),
                "{name}: {value}"
            );
        }
    }
}
