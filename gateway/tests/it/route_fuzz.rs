//! Mutated paths, for as long as `FUZZ_SECONDS` says: no way of writing a path leads around a route's key.

use std::path::Path;
use std::time::Duration;

use gateway::config::{Action, PathMatch, RouteConfig, StaticResponse};
use gateway::metrics::Metrics;
use gateway::route::{RouteId, RouteTable, decode_unreserved, is_unsafe};
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};
use shared::test_util::fuzz;

const SEEDS: &[&[u8]] = &[
    b"/",
    b"/open/x",
    b"/open/secret",
    b"/open/secret/x",
    b"/open/models/m:predict",
    b"/open/%73ecret",
    b"/open%2fsecret",
    b"/open/secret%2Fx",
    b"/open/models/m%3Apredict",
    b"/open/../x",
    b"/open/%2e%2E/x",
    b"/open//x",
    b"/open/x\\y",
    b"/open/%00%zz%",
    b"/open/x?y=%2e",
];
const WORDS: &[&[u8]] = &[
    b"%2f",
    b"%2F",
    b"%2e",
    b"%25",
    b"%5c",
    b"%3a",
    b"%00",
    b"%c3%a4",
    b"..",
    b"/./",
    b"//",
    b"secret",
    b"open",
    b":predict",
];

fn table() -> RouteTable {
    let route = |matches: PathMatch, require_api_key| RouteConfig {
        matches,
        action: Action::Respond(StaticResponse {
            status: StatusCode::OK,
            content_type: HeaderValue::from_static("text/plain"),
            body: String::new(),
        }),
        require_api_key,
        cors: None,
    };
    let exact = |path: &str| PathMatch::Exact(path.to_owned());
    let prefix = |path: &str| PathMatch::Prefix(path.to_owned());
    let routes = [
        route(prefix(""), false),
        route(prefix("/open"), false),
        route(prefix("/open/secret"), true),
        route(exact("/open/models/m:predict"), true),
    ];
    RouteTable::new(
        &routes,
        &[],
        Duration::from_secs(1),
        &Metrics::new().expect("registers"),
    )
}

/// Every escape decoded, as a server may do before it looks at the path.
fn decode(path: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        let (digits, after) = after.split_at(2);
        decoded.extend_from_slice(before.as_bytes());
        decoded.push(u8::from_str_radix(digits, 16).expect("a path with a broken escape is unsafe"));
        rest = after;
    }
    decoded.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&decoded).into_owned()
}

#[test]
fn no_way_of_writing_a_path_leads_around_a_key() {
    let table = table();
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/route_fuzz");
    fuzz(&regressions, SEEDS, WORDS, |input| {
        let asked = PathAndQuery::try_from(input).ok();
        let Some(asked) = asked.filter(|asked| asked.as_str().starts_with('/')) else {
            return (None, false, false);
        };
        let once = decode_unreserved(asked.path());
        let path = once.as_deref().unwrap_or(asked.path());
        assert_eq!(decode_unreserved(path), None, "{path:?} has one form");
        assert!(PathAndQuery::try_from(path).is_ok(), "{path:?} is a path");
        let found = table.find(path);
        if is_unsafe(path) {
            return (found, true, false);
        }
        let decoded = decode(path);
        let segments: Vec<&str> = decoded.split('/').skip(1).collect();
        let (_, all_but_last) = segments.split_last().expect("a path begins with a slash");
        assert!(
            !segments.iter().any(|segment| [".", ".."].contains(segment)),
            "{path:?}"
        );
        assert!(!all_but_last.contains(&""), "{path:?}");
        assert!(!decoded.contains(['\\', '\0']), "{path:?}");

        let needs_key = |route: Option<RouteId>| route.is_some_and(|route| table.get(route).require_api_key);
        let asks_for_key = needs_key(found) || table.needs_key_when_decoded(path);
        assert!(
            asks_for_key || !needs_key(table.find(&decoded)),
            "{path:?} needs no key, {decoded:?} does"
        );
        (found, false, asks_for_key)
    });
}
