//! `cors:` of a route.

use http::HeaderValue;
use shared::config::Node;
use shared::config::units::{boolean, number};
use shared::cors::{self, Cors, Origins, origin_or_any};

use super::keys::{CREDENTIALS, EXPOSE, HEADERS, MAX_AGE, METHODS, ORIGINS};

/// What pages of other origins are permitted; `None` without the key, or with a fault noted.
pub(super) fn parse(node: &Node<'_>) -> Option<Cors> {
    if !node.exists() {
        return None;
    }
    let origins = Origins::of(node.values(&ORIGINS, origin_or_any));
    if origins.is_none() {
        node.field(&ORIGINS)
            .fault("`*` stands for every origin, and so stands alone");
    }
    let credentials = node.get(&CREDENTIALS, boolean);
    if credentials && origins == Some(Origins::Any) {
        node.field(&CREDENTIALS)
            .fault("cannot be true beside the origin `*`: browsers refuse that; list the origins");
    }
    let methods = node.values(&METHODS, |text| Some(text.to_owned()));
    let headers = node.values(&HEADERS, header_name);
    let expose = node.values(&EXPOSE, header_name);
    let max_age: u32 = node.get(&MAX_AGE, number);
    let list = |names: &[String]| cors::list(names.iter().map(String::as_str));
    Some(Cors {
        origins: origins?,
        methods: list(&methods)?,
        headers: list(&headers)?,
        expose: list(&expose)?,
        max_age: HeaderValue::from(max_age),
        credentials,
    })
}

/// A token (RFC 9110 section 5.6.2). `*` would be one: with credentials browsers take it for a name, and no list of it says
/// what a page may do.
fn header_name(text: &str) -> Option<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'^_`|~.+-".contains(&byte);
    (!text.is_empty() && text.bytes().all(is_token)).then(|| text.to_owned())
}
