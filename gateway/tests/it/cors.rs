//! Pages of other origins: what their browsers may do, by the Fetch standard's CORS protocol.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use shared::test_util::{DEADLINE, Process, Scratch, Upstream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{BINARY, Gateway};

const APP: &str = "http://localhost:3000";
const KEY: (&str, &str) = ("API_KEY", "the-key");
const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    /// All values of a header; an empty list when it is not there.
    fn all(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().expect("a text")).collect()
    }

    /// The headers by which the answer permits something, by name.
    fn permits(&self) -> Vec<&str> {
        let names = self.headers.keys().map(|name| name.as_str());
        let mut names: Vec<&str> = names.filter(|name| name.starts_with("access-control-")).collect();
        names.sort_unstable();
        names
    }
}

/// The answer to one request on a connection of its own.
async fn ask(address: SocketAddr, version: Version, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let stream = TcpStream::connect(address).await.expect("connects");
    let mut request = Request::builder().method(method).version(version);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::<Bytes>::default();
    let answered = async {
        if version == Version::HTTP_2 {
            let request = request.uri(format!("http://{address}{path}")).body(body);
            let connected = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (mut sender, connection) = connected.expect("HTTP/2");
            tokio::spawn(connection);
            sender.send_request(request.expect("a request")).await
        } else {
            let request = request.uri(path).header("host", address.to_string()).body(body);
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
            tokio::spawn(connection);
            sender.send_request(request.expect("a request")).await
        }
    };
    let answer = timeout(DEADLINE, answered).await.expect("in time").expect("an answer");
    let (head, body) = answer.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).expect("UTF-8"),
    }
}

/// An upstream that has a rule of its own.
async fn permissive() -> Upstream {
    Upstream::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            connection
                .send(
                    "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\n\
                     access-control-expose-headers: x-theirs\r\nvary: accept-encoding\r\ncontent-length: 2\r\n\r\nok",
                )
                .await;
        }
    })
    .await
}

/// `/app` has a rule, and a key; `/own` is answered here; `/dead` has no upstream; `/plain` has no rule.
async fn start(upstream: &Upstream) -> Gateway {
    let address = upstream.address;
    let yaml = format!(
        "clusters:
  - {{ name: \"backend:5000\", endpoints: [\"{address}\"] }}
  - {{ name: \"dead:5000\", endpoints: [\"127.0.0.1:1\"] }}
routes:
  - prefix: /app
    cluster: backend:5000
    require_api_key: true
    cors: {{ origins: [\"{APP}\", \"https://app.example\"], methods: [GET, PUT], headers: [Content-Type, X-API-Key], expose: [X-Request-ID], max_age: 60, credentials: true }}
  - {{ path: /own, respond: {{ body: own }}, cors: {{ origins: [\"*\"] }} }}
  - {{ prefix: /dead, cluster: \"dead:5000\", cors: {{ origins: [\"{APP}\"], expose: [] }} }}
  - {{ prefix: /plain, cluster: \"backend:5000\" }}
"
    );
    Gateway::start(&yaml, &[KEY, ("MAX_ATTEMPTS", "1")]).await
}

/// What a browser asks before it sends a PUT with JSON.
fn preflight(origin: &str) -> [(&str, &str); 3] {
    [
        ("origin", origin),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "content-type,x-api-key"),
    ]
}

#[tokio::test]
async fn a_preflight_is_answered_without_the_upstream_and_without_a_key() {
    let upstream = permissive().await;
    let gateway = start(&upstream).await;
    for version in VERSIONS {
        for origin in [APP, "https://app.example"] {
            let answer = ask(gateway.address, version, "OPTIONS", "/app/x", &preflight(origin)).await;
            assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{version:?}");
            assert_eq!(answer.all("access-control-allow-origin"), [origin]);
            assert_eq!(answer.all("access-control-allow-methods"), ["GET, PUT"]);
            assert_eq!(answer.all("access-control-allow-headers"), ["Content-Type, X-API-Key"]);
            assert_eq!(answer.all("access-control-allow-credentials"), ["true"]);
            assert_eq!(answer.all("access-control-max-age"), ["60"]);
            assert_eq!(answer.all("access-control-expose-headers"), [""; 0]);
            assert_eq!(answer.all("vary"), ["Origin"]);
            assert_eq!(answer.all("x-request-id").len(), 1);
        }
    }
    assert_eq!(upstream.accepted(), 0);
    let counted = "gateway_requests_total{cluster=\"backend:5000\",code_class=\"2xx\",route=\"/app\"}";
    assert_eq!(gateway.metric(counted).await, 4.0);
}

#[tokio::test]
async fn a_preflight_of_another_origin_is_refused_and_told_why() {
    let upstream = permissive().await;
    let gateway = start(&upstream).await;
    for version in VERSIONS {
        for origin in [
            "http://localhost:3001",
            "https://localhost:3000",
            "http://localhost:3000.evil.example",
            "null",
        ] {
            let answer = ask(gateway.address, version, "OPTIONS", "/app", &preflight(origin)).await;
            assert_eq!(answer.status, 403, "{origin}");
            let problem: Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!(problem["field"], "origin");
            assert_eq!(answer.permits(), [""; 0]);
            assert_eq!(answer.all("vary"), ["Origin"]);
        }
    }
    assert_eq!(upstream.accepted(), 0);
}

#[tokio::test]
async fn what_is_no_preflight_needs_the_key_whatever_its_method() {
    let upstream = permissive().await;
    let gateway = start(&upstream).await;
    for headers in [&[("origin", APP)][..], &[("access-control-request-method", "PUT")], &[]] {
        let answer = ask(gateway.address, Version::HTTP_11, "OPTIONS", "/app", headers).await;
        assert_eq!(answer.status, 401, "{headers:?}");
    }
    let as_if = ask(gateway.address, Version::HTTP_11, "POST", "/app", &preflight(APP)).await;
    assert_eq!(as_if.status, 401);
    assert_eq!(upstream.accepted(), 0);
}

#[tokio::test]
async fn a_page_may_read_the_answer_by_the_routes_rule_and_not_by_the_upstreams() {
    let upstream = permissive().await;
    let gateway = start(&upstream).await;
    for version in VERSIONS {
        let key = ("x-api-key", KEY.1);
        let permitted = ask(gateway.address, version, "GET", "/app", &[key, ("origin", APP)]).await;
        assert_eq!((permitted.status, permitted.body.as_str()), (200, "ok"));
        assert_eq!(permitted.all("access-control-allow-origin"), [APP]);
        assert_eq!(permitted.all("access-control-allow-credentials"), ["true"]);
        assert_eq!(permitted.all("access-control-expose-headers"), ["X-Request-ID"]);
        assert_eq!(permitted.all("vary"), ["accept-encoding", "Origin"]);
        assert_eq!(permitted.permits().len(), 3, "{:?}", permitted.headers);
        // It is the browser that keeps such an answer from its page.
        for others in [
            &[key, ("origin", "http://evil.example")][..],
            &[key, ("origin", "null")],
            &[key],
        ] {
            let answer = ask(gateway.address, version, "GET", "/app", others).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
            assert_eq!(answer.permits(), [""; 0], "{others:?}");
            assert_eq!(answer.all("vary"), ["accept-encoding", "Origin"]);
        }
    }
}

#[tokio::test]
async fn a_page_may_read_the_gateways_own_errors() {
    let upstream = permissive().await;
    let gateway = start(&upstream).await;
    for version in VERSIONS {
        for (method, path, status) in [("GET", "/app", 401), ("GET", "/dead", 502), ("TRACE", "/dead", 405)] {
            let answer = ask(gateway.address, version, method, path, &[("origin", APP)]).await;
            assert_eq!(answer.status, status, "{method} {path}");
            assert_eq!(answer.all("access-control-allow-origin"), [APP], "{method} {path}");
            assert_eq!(answer.all("vary"), ["Origin"]);
        }
        // A rule for all is the same for all: nothing varies.
        for (method, status) in [("GET", 200), ("POST", 405)] {
            let answer = ask(gateway.address, version, method, "/own", &[("origin", "null")]).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.all("access-control-allow-origin"), ["*"]);
            assert_eq!(answer.all("access-control-allow-credentials"), [""; 0]);
            assert_eq!(answer.all("vary"), [""; 0]);
        }
    }
}

#[tokio::test]
async fn a_route_without_a_rule_leaves_all_to_its_upstream() {
    let upstream = permissive().await;
    let gateway = start(&upstream).await;
    for (method, headers) in [("OPTIONS", &preflight(APP)[..]), ("GET", &[("origin", APP)])] {
        let answer = ask(gateway.address, Version::HTTP_11, method, "/plain", headers).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        assert_eq!(answer.all("access-control-allow-origin"), ["*"]);
        assert_eq!(answer.all("access-control-expose-headers"), ["x-theirs"]);
        assert_eq!(answer.all("vary"), ["accept-encoding"]);
    }
    assert!(upstream.accepted() > 0);
}

/// What `--check` says of a route with this rule.
async fn checked(rule: &str) -> String {
    let scratch = Scratch::new("cors");
    let yaml = format!("routes:\n  - {{ path: /a, respond: {{}}, cors: {rule} }}\n");
    let file = scratch.file("gateway.yaml", &yaml);
    let arguments = ["--check", file.to_str().expect("UTF-8")];
    let mut process = Process::start_with(BINARY, &arguments, std::iter::empty::<(&str, &str)>());
    let finished = process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 78, "{rule}: {}", finished.stderr);
    finished.stderr
}

#[tokio::test]
async fn a_wrong_rule_is_refused_with_its_place_and_the_reason() {
    for (rule, place, reason) in [
        ("{ origins: [\"http://a/b\"] }", "cors.origins[0]", "without a path"),
        ("{ origins: [\"HTTP://a\"] }", "cors.origins[0]", "in lower case"),
        (
            "{ origins: [\"https://a:443\"] }",
            "cors.origins[0]",
            "scheme's own port",
        ),
        ("{ origins: [\"null\"] }", "cors.origins[0]", "expected * or an origin"),
        ("{ origins: [\"*\", \"http://a\"] }", "cors.origins", "stands alone"),
        (
            "{ origins: [\"*\"], credentials: true }",
            "cors.credentials",
            "beside the origin `*`",
        ),
        (
            "{ origins: [\"*\"], methods: [get] }",
            "cors.methods[0]",
            "expected GET, HEAD",
        ),
        (
            "{ origins: [\"*\"], methods: [TRACE] }",
            "cors.methods[0]",
            "found \"TRACE\"",
        ),
        (
            "{ origins: [\"*\"], headers: [\"*\"] }",
            "cors.headers[0]",
            "the name of a header",
        ),
        (
            "{ origins: [\"*\"], expose: [\"a b\"] }",
            "cors.expose[0]",
            "the name of a header",
        ),
        ("{ origins: [\"*\"], max_age: -1 }", "cors.max_age", "from 0 to 86400"),
        ("{ origins: [] }", "cors.origins", "at least 1"),
        ("{ methods: [GET] }", "cors.origins", "is missing"),
        ("{ origin: [\"*\"] }", "cors.origin", "unknown key"),
        ("\"*\"", "cors", "expected a map"),
    ] {
        let told = checked(rule).await;
        let line = told.lines().find(|line| line.contains(&format!("routes[0].{place}:")));
        let line = line.unwrap_or_else(|| panic!("nothing of {place} for {rule} in\n{told}"));
        assert!(line.contains(reason), "{rule}: {line}");
    }
}
