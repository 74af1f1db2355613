//! Cross-origin requests: the CORS protocol of the [Fetch standard](https://fetch.spec.whatwg.org/#http-cors-protocol).
//!
//! A browser shows a page the answer of another origin only when the answer's headers permit it, and asks first, by a
//! preflight, before it sends a request that no HTML form could send. It is the browser that refuses: who is not a browser is
//! answered as ever, so this is no access control.
//!
//! Own code, because the services need to know a request's rule after routing; see gateway/docs/decisions.md.

use std::fmt;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::config::Scalar;
use crate::problem::Problem;

/// An origin as its browser sends it, or all of them.
pub const ORIGIN_OR_ANY: Scalar = Scalar::quoted_text(
    "* or an origin as browsers send it, such as http://localhost:3000: in lower case, without a path and without the \
     scheme's own port",
    r"^(\*|[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?)$",
);

/// Methods that a page may use by default, with spaces between them.
pub const DEFAULT_METHODS: &str = "GET HEAD POST";
/// Headers that a page may send by default, beside those that every page may send: JSON has a Content-Type that none may.
pub const DEFAULT_HEADERS: &str = "Content-Type Content-Encoding Authorization X-API-Key X-Request-ID \
     X-Request-Timeout-Ms Inference-Header-Content-Length";
/// Headers of an answer that a page may read by default, beside those that every page may read.
pub const DEFAULT_EXPOSE: &str = "X-Request-ID X-Served-By X-Model-Version Inference-Header-Content-Length Retry-After";
/// Seconds for which a browser remembers a preflight by default: a change of the rule reaches every page within them.
pub const DEFAULT_MAX_AGE: &str = "600";

const ANY: HeaderValue = HeaderValue::from_static("*");
const ACCESS_CONTROL_ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// Every header by which an answer permits something to a page.
const ANSWER_HEADERS: [HeaderName; 7] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_ALLOW_PRIVATE_NETWORK,
];

/// The origins whose pages may use the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All, `null` among them, which a sandboxed page and a page from a file have.
    Any,
    /// These only.
    Listed(Vec<HeaderValue>),
}

/// What pages of other origins are permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Whose pages.
    pub origins: Origins,
    /// Access-Control-Allow-Methods.
    pub methods: HeaderValue,
    /// Access-Control-Allow-Headers; empty for none.
    pub headers: HeaderValue,
    /// Access-Control-Expose-Headers; empty for none.
    pub expose: HeaderValue,
    /// Access-Control-Max-Age, in seconds.
    pub max_age: HeaderValue,
    /// Requests may carry cookies and the browser's own credentials. Never with [`Origins::Any`].
    pub credentials: bool,
}

/// What a request says of the page that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrossOrigin {
    origin: Option<HeaderValue>,
    is_preflight: bool,
}

/// `text` as an element of a list of origins.
pub fn origin_or_any(text: &str) -> Option<HeaderValue> {
    if text == "*" {
        return Some(ANY);
    }
    let (scheme, rest) = text.split_once("://")?;
    let (host, port) = match rest.strip_prefix('[') {
        Some(address) => {
            let (address, port) = address.split_once(']')?;
            // As a URL's parser writes it: browsers do too.
            let parsed: std::net::Ipv6Addr = address.parse().ok()?;
            (parsed.to_string() == address).then_some((address, port))?
        }
        None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
    };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && all(scheme, |byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+.-".contains(&byte)
        });
    let is_host = !host.is_empty()
        && (rest.starts_with('[')
            || all(host, |byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
            }));
    (is_scheme && is_host && is_port(scheme, port)?).then(|| HeaderValue::from_str(text).ok())?
}

/// Whether `port`, with its colon, is none or one that a browser writes after `scheme`.
fn is_port(scheme: &str, port: &str) -> Option<bool> {
    if port.is_empty() {
        return Some(true);
    }
    let digits = port.strip_prefix(':')?;
    let number: u16 = digits.parse().ok()?;
    let own = match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    };
    Some(number.to_string() == digits && Some(number) != own)
}

fn all(text: &str, is_allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(is_allowed)
}

impl Origins {
    /// The origins of a list; `None` when `*` stands beside others.
    pub fn of(list: Vec<HeaderValue>) -> Option<Self> {
        match list.contains(&ANY) {
            true => (list.len() == 1).then_some(Self::Any),
            false => Some(Self::Listed(list)),
        }
    }

    /// The origins of a text with commas between them; `Some(None)` for an empty one.
    pub fn parse_list(text: &str) -> Option<Option<Self>> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let list: Vec<HeaderValue> = items.map(origin_or_any).collect::<Option<_>>()?;
        match list.is_empty() {
            true => Some(None),
            false => Self::of(list).map(Some),
        }
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Listed(list) => {
                let origins: Vec<&str> = list.iter().filter_map(|origin| origin.to_str().ok()).collect();
                f.write_str(&origins.join(","))
            }
        }
    }
}

/// A header's list of `names`, or `None` when one of them cannot stand in a header.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<HeaderValue> {
    let names: Vec<&str> = names.into_iter().collect();
    HeaderValue::from_str(&names.join(", ")).ok()
}

impl Cors {
    /// The defaults for pages of these origins.
    ///
    /// # Panics
    /// Never: the defaults can stand in a header.
    pub fn new(origins: Origins) -> Self {
        let default = |names: &str| list(names.split_whitespace()).expect("the defaults can stand in a header");
        Self {
            origins,
            methods: default(DEFAULT_METHODS),
            headers: default(DEFAULT_HEADERS),
            expose: default(DEFAULT_EXPOSE),
            max_age: HeaderValue::from_static(DEFAULT_MAX_AGE),
            credentials: false,
        }
    }

    /// Whether the page that a request comes from may use its answer.
    pub fn permits(&self, request: &CrossOrigin) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::Listed(list) => request.origin.as_ref().is_some_and(|origin| list.contains(origin)),
        }
    }

    /// Writes what this rule permits into the headers of an answer, in place of what another server permitted. Methods and
    /// headers of a preflight are not compared with the rule: the browser does that, and tells its user which one it was.
    pub fn write(&self, request: &CrossOrigin, headers: &mut HeaderMap) {
        for name in ANSWER_HEADERS {
            headers.remove(name);
        }
        let origin = match &self.origins {
            // The same for every page, so that a cache may keep it for all of them.
            Origins::Any => ANY,
            Origins::Listed(_) => {
                vary_by_origin(headers);
                match request.origin.clone().filter(|_| self.permits(request)) {
                    Some(origin) => origin,
                    None => return,
                }
            }
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        match request.is_preflight {
            true => {
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
                headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
                insert_list(headers, ACCESS_CONTROL_ALLOW_HEADERS, &self.headers);
            }
            false => insert_list(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose),
        }
    }
}

fn insert_list(headers: &mut HeaderMap, name: HeaderName, list: &HeaderValue) {
    if !list.is_empty() {
        headers.insert(name, list.clone());
    }
}

/// Tells caches that the answer depends on the origin, also where it permits nothing.
fn vary_by_origin(headers: &mut HeaderMap) {
    let is_origin = |name: &[u8]| name.trim_ascii().eq_ignore_ascii_case(b"origin");
    let mut told = headers.get_all(VARY).iter().map(HeaderValue::as_bytes);
    if !told.any(|value| value.split(|byte| *byte == b',').any(is_origin)) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}

impl CrossOrigin {
    /// What a request with this method and these headers says.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let origin = headers.get(ORIGIN).cloned();
        let asks_first = *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Self {
            is_preflight: asks_first && origin.is_some(),
            origin,
        }
    }

    /// True when a browser asks whether it may send another request.
    pub fn is_preflight(&self) -> bool {
        self.is_preflight
    }
}

/// The answer to a preflight for a page whose origin is not permitted.
pub fn not_permitted() -> Problem {
    let detail = "pages of this origin may not use the answers of this path: it is not among its CORS origins";
    Problem::new(StatusCode::FORBIDDEN, detail).field("origin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn rule(origins: &str) -> Cors {
        Cors::new(Origins::parse_list(origins).expect("valid").expect("some"))
    }

    fn written(rule: &Cors, request: &HeaderMap, answer: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut answer = headers(answer);
        rule.write(&CrossOrigin::of(&Method::GET, request), &mut answer);
        answer
    }

    #[test]
    fn an_origin_is_as_browsers_send_it() {
        for good in [
            "*",
            "http://localhost:3000",
            "https://app.example",
            "https://app.example:8443",
            "http://127.0.0.1:80000".trim_end_matches('0'),
            "http://[::1]:3000",
            "chrome-extension://abcdefgh",
            "https://xn--bcher-kva.example",
            "http://app.example:443",
        ] {
            assert_eq!(origin_or_any(good).expect(good), good);
        }
        for bad in [
            "",
            "null",
            "localhost:3000",
            "http://",
            "http://:80",
            "http://a/",
            "http://a/path",
            "http://a?b",
            "http://user@a",
            "http://A",
            "HTTP://a",
            "http://a:80",
            "https://a:443",
            "http://a:0080",
            "http://a:",
            "http://a:65536",
            "http://*.a",
            "http://[::1",
            "http://[0:0::1]",
            "http://[]",
            "http://[::1]x",
            "http://b\u{fc}cher.example",
            " http://a",
            "1http://a",
        ] {
            assert_eq!(origin_or_any(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn all_origins_stand_alone() {
        assert_eq!(Origins::parse_list(""), Some(None));
        assert_eq!(Origins::parse_list(" * "), Some(Some(Origins::Any)));
        assert_eq!(Origins::parse_list("*, http://a"), None);
        let two = Origins::parse_list("http://a, http://b,")
            .expect("valid")
            .expect("some");
        assert_eq!(two.to_string(), "http://a,http://b");
    }

    #[test]
    fn an_answer_is_marked_as_one_that_varies_once_and_for_every_origin() {
        let rule = rule("http://a");
        for (request, permitted) in [
            (headers(&[("origin", "http://a")]), Some("http://a")),
            (headers(&[("origin", "http://b")]), None),
            (headers(&[("origin", "null")]), None),
            (headers(&[]), None),
        ] {
            for (before, after) in [
                (&[][..], &["Origin"][..]),
                (&[("vary", "accept, origin")], &["accept, origin"]),
                (
                    &[("vary", "accept"), ("vary", "origins")],
                    &["accept", "origins", "Origin"],
                ),
            ] {
                let answer = written(&rule, &request, before);
                assert_eq!(answer.get_all(VARY).iter().collect::<Vec<_>>(), after);
                let origin = answer.get(ACCESS_CONTROL_ALLOW_ORIGIN);
                assert_eq!(origin.map(HeaderValue::as_bytes), permitted.map(str::as_bytes));
                assert_eq!(answer.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS), permitted.is_some());
            }
        }
    }

    #[test]
    fn all_origins_are_permitted_without_their_names() {
        for request in [
            headers(&[("origin", "null")]),
            headers(&[("origin", "http://a")]),
            headers(&[]),
        ] {
            let answer = written(&rule("*"), &request, &[]);
            assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert!(!answer.contains_key(VARY));
        }
    }

    #[test]
    fn what_another_server_permitted_does_not_count() {
        let theirs = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-secret"),
            ("access-control-allow-methods", "DELETE"),
            ("access-control-allow-headers", "x-theirs"),
            ("access-control-allow-private-network", "true"),
            ("access-control-max-age", "9"),
        ];
        let answer = written(&rule("http://a"), &headers(&[("origin", "http://b")]), &theirs);
        assert_eq!(answer.keys().collect::<Vec<_>>(), [VARY]);
        let answer = written(&rule("http://a"), &headers(&[("origin", "http://a")]), &theirs);
        assert_eq!(
            answer.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter().collect::<Vec<_>>(),
            ["http://a"]
        );
        assert_eq!(answer.len(), 3, "{answer:?}");
    }

    #[test]
    fn a_preflight_has_an_origin_and_a_method() {
        let both = headers(&[("origin", "http://a"), ("access-control-request-method", "PUT")]);
        assert!(CrossOrigin::of(&Method::OPTIONS, &both).is_preflight());
        assert!(!CrossOrigin::of(&Method::GET, &both).is_preflight());
        for one in [("origin", "http://a"), ("access-control-request-method", "PUT")] {
            assert!(!CrossOrigin::of(&Method::OPTIONS, &headers(&[one])).is_preflight());
        }
    }
}
