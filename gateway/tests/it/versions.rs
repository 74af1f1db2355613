//! The same request by HTTP/1.1 and by HTTP/2 has the same verdict, and reaches the upstream as the same bytes.
//!
//! Three differences are documented: whitespace around a value is none of it in HTTP/1.1 and malformed in HTTP/2; a fragment,
//! which HTTP/1.1 refuses, is cut off by the `http` crate before anything of HTTP/2 can be seen; and a name or a value with a
//! character that none may have ends an HTTP/2 connection.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shared::test_util::{RawClient, RawHttp2, Upstream, kind};

use crate::harness::Gateway;

/// Small, so that requests are on either side of them.
const LIMITS: &[(&str, &str)] = &[
    ("MAX_REQUEST_LINE_BYTES", "1Ki"),
    ("MAX_HEADER_LINE_BYTES", "1Ki"),
    ("MAX_HEADER_BYTES", "8Ki"),
    ("MAX_HEADERS", "20"),
    ("MAX_BODY_BYTES", "2000"),
];

#[derive(Debug, Clone)]
struct Sent {
    method: &'static str,
    target: String,
    host: &'static str,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Sent {
    fn get(target: &str) -> Self {
        Self {
            method: "GET",
            target: target.to_owned(),
            host: "h",
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What both versions send beside the target and the host.
    fn all_fields(&self) -> Vec<(String, String)> {
        let mut fields = self.fields.clone();
        if !self.body.is_empty() {
            fields.push(("content-length".to_owned(), self.body.len().to_string()));
        }
        fields
    }
}

/// An upstream that answers with the request that it got.
async fn recording() -> Upstream {
    Upstream::start(|mut connection| async move {
        while let Some((head, body)) = connection.read_request().await {
            let whole = [head.as_bytes(), &body].concat();
            let length = whole.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            connection.send([answer.as_bytes(), &whole].concat()).await;
        }
    })
    .await
}

async fn start() -> (Upstream, Gateway) {
    let upstream = recording().await;
    let gateway = Gateway::in_front_of(&[upstream.address], LIMITS).await;
    (upstream, gateway)
}

/// A request as the upstream got it, but for what is new with each: its lines sorted, since HTTP/2 has the host elsewhere.
fn as_it_arrived(body: &str) -> Vec<String> {
    let Some((head, body)) = body.split_once("\r\n\r\n") else {
        // The gateway's own answer.
        return vec![body.to_owned()];
    };
    let mut lines: Vec<String> = head
        .split("\r\n")
        .filter(|line| !line.starts_with("x-request-id:") && !line.starts_with("x-request-timeout-ms:"))
        .map(str::to_owned)
        .collect();
    lines[1..].sort();
    lines.push(body.to_owned());
    lines
}

/// The status, and the request at the upstream when it got there.
type Verdict = (u16, Option<Vec<String>>);

async fn by_http1(gateway: &Gateway, sent: &Sent) -> Verdict {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", sent.method, sent.target, sent.host);
    for (name, value) in sent.all_fields() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut client = RawClient::connect(gateway.address).await;
    client.send([head.as_bytes(), b"\r\n", &sent.body].concat()).await;
    let answer = match sent.target.as_str() {
        // Its answer has no body, whatever its headers say.
        "*" if sent.method == "OPTIONS" => client.response_to_head().await,
        _ => client.response().await,
    };
    (
        answer.status,
        (answer.status == 200).then(|| as_it_arrived(&answer.body)),
    )
}

async fn by_http2(gateway: &Gateway, sent: &Sent) -> Verdict {
    let mut client = RawHttp2::connect(gateway.address, &[]).await;
    let others = sent.all_fields();
    let mut fields: Vec<(&str, &[u8])> = vec![
        (":method", sent.method.as_bytes()),
        (":scheme", b"http"),
        (":authority", sent.host.as_bytes()),
        (":path", sent.target.as_bytes()),
    ];
    fields.extend(others.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
    client.request(1, &fields, !sent.body.is_empty()).await;
    if !sent.body.is_empty() {
        client.data(1, &sent.body, true).await;
    }
    outcome(&mut client).await
}

async fn outcome(client: &mut RawHttp2) -> Verdict {
    let (mut head, mut body) = (Vec::new(), Vec::new());
    loop {
        let frame = client.frame().await.expect("an answer before the end");
        match frame.kind {
            kind::HEADERS => head = frame.payload.clone(),
            kind::DATA => body.extend_from_slice(&frame.payload),
            // How the h2 crate rejects a malformed request (RFC 9113 section 8.1.1).
            kind::RST_STREAM => return (400, None),
            _ => panic!("{frame:?}"),
        }
        if frame.ends_stream() {
            break;
        }
    }
    let body = String::from_utf8_lossy(&body);
    // 200 and 204 by their places in HPACK's table; all others come with a problem.
    match head[0] {
        0x88 => (200, Some(as_it_arrived(&body))),
        0x89 => (204, None),
        _ => {
            let problem: serde_json::Value = serde_json::from_str(&body).expect("a problem");
            (problem["status"].as_u64().expect("a number") as u16, None)
        }
    }
}

#[tokio::test]
async fn both_versions_have_the_same_verdict_on_known_cases() {
    let (_upstream, gateway) = start().await;
    let long = |bytes: usize| "x".repeat(bytes);
    let many = |count: usize| (0..count).fold(Sent::get("/raw"), |sent, at| sent.with(&format!("x-{at}"), "1"));
    let line = "/raw/".len() + "GET  HTTP/1.1".len();
    for (sent, status) in [
        (Sent::get("/raw?x=[1]{2}|\\^"), 200),
        (Sent::get("/raw?\"a\""), 400),
        (Sent::get("/raw\"a"), 400),
        (Sent::get("/raw?`a"), 400),
        (Sent::get("/raw?<a>"), 400),
        (Sent::get("/raw/\u{e4}"), 400),
        (Sent::get("/raw?\u{e4}"), 400),
        (Sent::get("?b"), 400),
        (Sent::get("?"), 400),
        (Sent::get("*"), 400),
        (Sent::get("raw"), 400),
        (
            Sent {
                method: "OPTIONS",
                ..Sent::get("*")
            },
            204,
        ),
        (
            Sent {
                method: "OPTIONS",
                ..Sent::get("/raw")
            },
            200,
        ),
        (
            Sent {
                host: "h:",
                ..Sent::get("/raw")
            },
            400,
        ),
        (
            Sent {
                host: "u@h",
                ..Sent::get("/raw")
            },
            400,
        ),
        (
            Sent {
                host: "h:080",
                ..Sent::get("/raw")
            },
            200,
        ),
        (Sent::get("/raw").with("x", "a\tb \u{fc}"), 200),
        (
            Sent::get("/raw")
                .with("x_forwarded_for", "1.1.1.1")
                .with("x-real_ip", "1.1.1.1"),
            200,
        ),
        (
            Sent::get("/raw")
                .with("x-forwarded-for", "1.1.1.1")
                .with("grpc_timeout", "1S"),
            200,
        ),
        (Sent::get(&format!("/raw/{}", long(1024 - line))), 200),
        (Sent::get(&format!("/raw/{}", long(1025 - line))), 414),
        (Sent::get("/raw").with("x", &long(1024 - "x: ".len())), 200),
        (Sent::get("/raw").with("x", &long(1025 - "x: ".len())), 431),
        // With the host.
        (many(19), 200),
        (many(20), 431),
        (
            (0..9).fold(Sent::get("/raw"), |sent, at| sent.with(&format!("x-{at}"), &long(1000))),
            431,
        ),
        (
            Sent {
                method: "POST",
                body: vec![b'x'; 2000],
                ..Sent::get("/raw")
            },
            200,
        ),
        (
            Sent {
                method: "POST",
                body: vec![b'x'; 2001],
                ..Sent::get("/raw")
            },
            413,
        ),
    ] {
        let (first, second) = (by_http1(&gateway, &sent).await, by_http2(&gateway, &sent).await);
        assert_eq!(first, second, "{sent:?}");
        assert_eq!(first.0, status, "{sent:?}");
        let arrived = first.1.unwrap_or_default().concat();
        assert!(
            !arrived.contains("1.1.1.1") || arrived.contains("x-forwarded-for: 1.1.1.1, 127.0.0.1"),
            "{arrived}"
        );
        assert!(!arrived.contains('_'), "{arrived}");
    }
}

#[tokio::test]
async fn a_url_without_a_path_has_the_path_of_a_slash() {
    let upstream = recording().await;
    let yaml = format!(
        "clusters: [{{ name: 'a:1', endpoints: ['{}'] }}]\nroutes: [{{ prefix: /, cluster: 'a:1' }}]\n",
        upstream.address
    );
    let gateway = Gateway::start(&yaml, &[]).await;
    for (line, arrived) in [
        ("GET http://x?b", "GET /?b HTTP/1.1"),
        ("GET http://x?", "GET /? HTTP/1.1"),
        ("GET http://x", "GET / HTTP/1.1"),
        ("OPTIONS http://x/", "OPTIONS / HTTP/1.1"),
        // Without a path it would be `*` (RFC 9112 section 3.2.4), but the `http` crate makes no difference.
        ("OPTIONS http://x", "OPTIONS / HTTP/1.1"),
        ("OPTIONS http://x?b", "OPTIONS /?b HTTP/1.1"),
    ] {
        let mut client = gateway.raw().await;
        client.send(format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status, answer.body.lines().next()),
            (200, Some(arrived)),
            "{line}"
        );
    }
    let mut client = gateway.raw().await;
    client.send("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let answer = client.response_to_head().await;
    let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    assert_eq!((answer.status, answer.header("allow")), (204, Some(methods)));
}

#[tokio::test]
async fn what_only_http2_can_say_is_judged_too() {
    let (_upstream, gateway) = start().await;
    let head = |more: &[(&'static str, &'static [u8])]| {
        let mut fields = shared::test_util::head("GET", "/raw").to_vec();
        fields.extend_from_slice(more);
        fields
    };
    for (fields, status) in [
        // RFC 9113 section 8.2.1.
        (head(&[("x", b" a")]), 400),
        (head(&[("x", b"a\t")]), 400),
        (head(&[("x", b" ")]), 400),
        (head(&[("x", b"a b")]), 200),
        (head(&[("host", b"h:80")]), 200),
        (head(&[("host", b"H")]), 200),
        (head(&[("host", b"h:81")]), 400),
        (head(&[("host", b"h:443")]), 400),
        // Pieces of a cookie are one header.
        (head(&[("cookie", b"a=1".as_slice()); 300]), 431),
        (head(&[("cookie", b"a=1".as_slice()); 100]), 200),
    ] {
        let mut client = RawHttp2::connect(gateway.address, &[]).await;
        client.request(1, &fields, false).await;
        let shown = fields.iter().skip(4).take(2).collect::<Vec<_>>();
        assert_eq!(outcome(&mut client).await.0, status, "{shown:?}");
        // The connection goes on.
        client.get(3, "/health").await;
        assert_eq!(client.answer(3).await, (0x88, b"Gateway OK\n".to_vec()), "{shown:?}");
    }
    // A name that is none ends the connection: the h2 crate finds it while it decodes.
    let mut client = RawHttp2::connect(gateway.address, &[]).await;
    client.request(1, &head(&[("x-\u{e4}", b"1")]), false).await;
    let frame = client.frame().await.expect("a GOAWAY");
    assert_eq!((frame.kind, frame.code()), (kind::GOAWAY, 1), "{frame:?}");

    let refused = "gateway_requests_refused_total{reason=\"header_value\"}";
    assert_eq!(gateway.metric(refused).await, 3.0);
}

fn sent() -> impl Strategy<Value = Sent> {
    let target = prop::string::string_regex(
        "(/raw|/predict|/health|/|[?*a])([a-zA-Z0-9/?&=._~%!$'()*+,;:@|{}<>\"`^\u{e4}\\[\\]\\\\-]|%41|%2e|%2F){0,20}",
    )
    .expect("a pattern");
    let long_target = (1000..1030usize).prop_map(|length| format!("/raw/{}", "x".repeat(length)));
    let name = "(x|x-real.ip|x-forwarded.for|x_request_id|cookie|accept|user-agent|[a-z][a-z0-9_.~-]{0,8})";
    let name =
        prop::string::string_regex(&name.replace(".ip", "[-_]ip").replace(".for", "[-_]for")).expect("a pattern");
    // No whitespace at either end: see above.
    let value = prop::string::string_regex("([!-~\u{e4}]([ -~\t]{0,12}[!-~])?)?").expect("a pattern");
    let long_value = (1000..1030usize).prop_map(|length| "v".repeat(length));
    let field = (name, prop_oneof![30 => value, 1 => long_value]).boxed();
    (
        prop::sample::select(vec!["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
        prop_oneof![12 => target, 1 => long_target],
        prop::sample::select(vec!["h", "H.example:8080", "h:80", "[::1]:1", "h:", "u@h", "h,h"]),
        prop_oneof![8 => prop::collection::vec(field.clone(), 0..6), 1 => prop::collection::vec(field, 15..24)],
        prop_oneof![3 => Just(Vec::new()), 3 => prop::collection::vec(b'a'..=b'z', 1..200), 1 => prop::collection::vec(b'a'..=b'z', 1990..2010)],
    )
        .prop_map(|(method, target, host, fields, body)| {
            let fields = fields
                .into_iter()
                // Fields that HTTP/1.1 alone has are no part of the comparison, and pieces of a cookie count otherwise.
                .filter(|(name, _)| !matches!(name.as_str(), "host" | "te" | "connection" | "upgrade" | "expect" | "trailer"))
                .fold(Vec::new(), |mut fields: Vec<(String, String)>, field| {
                    if field.0 != "cookie" || fields.iter().all(|(name, _)| name != "cookie") {
                        fields.push(field);
                    }
                    fields
                });
            Sent { method, target, host, fields, body }
        })
}

#[test]
fn any_request_has_the_same_verdict_by_both_versions() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (_upstream, gateway) = runtime.block_on(start());
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(400)
    });
    let run = runner.run(&sent(), |sent| {
        let (first, second) =
            runtime.block_on(async { (by_http1(&gateway, &sent).await, by_http2(&gateway, &sent).await) });
        prop_assert_eq!(first, second);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}
