//! Pages of other origins that ask the service without a gateway before it.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client;
use http::{HeaderMap, Request};
use shared::test_util::DEADLINE;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::Server;

const APP: &str = "http://localhost:3000";
const PREFLIGHT: [(&str, &str); 3] = [
    ("origin", APP),
    ("access-control-request-method", "POST"),
    ("access-control-request-headers", "content-type"),
];

fn permits(headers: &HeaderMap) -> Vec<&str> {
    let names = headers.keys().map(|name| name.as_str());
    names.filter(|name| name.starts_with("access-control-")).collect()
}

/// The answer's status and headers over HTTP/2.
async fn by_http2(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap) {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (client, connection) = client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut client: client::SendRequest<Bytes> = client.ready().await.expect("takes a request");
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = client.send_request(request.body(()).expect("a request"), true);
    let (answer, _body) = sent.expect("is sent");
    let (head, _body) = timeout(DEADLINE, answer)
        .await
        .expect("in time")
        .expect("an answer")
        .into_parts();
    (head.status.as_u16(), head.headers)
}

#[tokio::test]
async fn without_origins_nothing_is_permitted_and_options_is_no_method() {
    let server = Server::start(&[]).await;
    let preflight = server.request("OPTIONS", "/predict", &PREFLIGHT).await;
    assert_eq!(preflight.problem(405)["title"], "Method Not Allowed");
    let answer = server.request("GET", "/predict", &[("origin", APP)]).await;
    assert_eq!(answer.status, 200);
    for answer in [preflight, answer] {
        assert!(permits(&answer.headers).is_empty(), "{:?}", answer.headers);
        assert!(!answer.headers.contains_key("vary"));
    }
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_ask_and_read_answers_and_errors() {
    let server = Server::start(&[("CORS_ORIGINS", "https://app.example, http://localhost:3000")]).await;
    for path in [
        "/predict",
        "/v2/models/half_plus_two/infer",
        "/v1/models/half_plus_two:predict",
    ] {
        let preflight = server.request("OPTIONS", path, &PREFLIGHT).await;
        assert_eq!((preflight.status, preflight.body.as_str()), (204, ""), "{path}");
        assert_eq!(preflight.header("access-control-allow-origin"), APP);
        assert_eq!(preflight.header("access-control-allow-methods"), "GET, HEAD, POST");
        assert!(
            preflight
                .header("access-control-allow-headers")
                .contains("Content-Type")
        );
        assert_eq!(preflight.header("access-control-max-age"), "600");
        assert_eq!(preflight.header("vary"), "Origin");
        assert_eq!(preflight.header("x-served-by"), "ml-inference-abc12");
    }
    for (method, path, status) in [
        ("POST", "/predict", 400),
        ("PUT", "/predict", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/predict", 200),
    ] {
        let answer = server.request(method, path, &[("origin", APP)]).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("access-control-allow-origin"), APP);
        assert!(
            answer
                .header("access-control-expose-headers")
                .contains("X-Model-Version")
        );
        assert_eq!(answer.header("vary"), "Origin");
    }
    let (status, headers) = by_http2(server.address, "OPTIONS", "/predict", &PREFLIGHT).await;
    assert_eq!(
        (status, &headers["access-control-allow-origin"]),
        (204, &APP.parse().expect("a value"))
    );
    let (status, headers) = by_http2(server.address, "GET", "/predict", &[("origin", APP)]).await;
    assert_eq!(
        (status, &headers["access-control-allow-origin"]),
        (200, &APP.parse().expect("a value"))
    );
    // A preflight is a request like any other to the log and to the metrics.
    let counted = "ml_inference_requests_total{code_class=\"2xx\",method=\"other\",route=\"/predict\"} 2";
    let metrics = server.metrics().await;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_its_preflight() {
    let server = Server::start(&[("CORS_ORIGINS", APP)]).await;
    for origin in ["http://localhost:3001", "null"] {
        let mut asked = PREFLIGHT;
        asked[0] = ("origin", origin);
        let preflight = server.request("OPTIONS", "/predict", &asked).await;
        assert_eq!(preflight.problem(403)["field"], "origin");
        let (status, headers) = by_http2(server.address, "OPTIONS", "/predict", &asked).await;
        assert_eq!(status, 403);
        let answer = server.request("GET", "/predict", &[("origin", origin)]).await;
        assert_eq!(answer.status, 200);
        for headers in [&preflight.headers, &headers, &answer.headers] {
            assert!(permits(headers).is_empty(), "{headers:?}");
            assert_eq!(headers["vary"], "Origin");
        }
    }
}

#[tokio::test]
async fn every_origin_may_be_permitted_and_none_at_the_admin_listener() {
    let server = Server::start(&[("CORS_ORIGINS", "*")]).await;
    let answer = server.request("GET", "/predict", &[("origin", "null")]).await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(!answer.headers.contains_key("vary"));
    let admin = server.process.address_of("admin listening").await;
    for (method, status) in [("OPTIONS", 405), ("POST", 400)] {
        let path = "/v2/repository/models/half_plus_two/unload";
        let (answered, headers) = by_http2(admin, method, path, &PREFLIGHT).await;
        assert_eq!(answered, status, "{method}");
        assert!(permits(&headers).is_empty(), "{headers:?}");
    }
}
