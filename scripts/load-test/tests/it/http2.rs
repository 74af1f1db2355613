//! HTTP/2 without TLS: requests share connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shared::test_util::Upstream;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::{PATIENT, run};

/// An HTTP/2 server without TLS, which needs a while for each answer, and its connections so far.
async fn http2_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let answer = async |_request: Request<Incoming>| {
                sleep(Duration::from_millis(100)).await;
                let response = Response::builder()
                    .header("x-model-version", "2.0")
                    .header("x-served-by", "pod-h2");
                response.body(Full::new(Bytes::from_static(b"ok")))
            };
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    (address, accepted)
}

#[tokio::test]
async fn http2_without_tls() {
    let (address, accepted) = http2_server().await;
    let load = format!("--http2 --rate 10 --duration 1s --connections 3 {PATIENT}");
    let ran = run(address, &load).await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 10", "{:?}", ran.finished);
    assert_eq!(ran.report["protocol"], "HTTP/2");
    assert_eq!(ran.report["pods"][0]["name"], "pod-h2");
    assert_eq!(accepted.load(Ordering::SeqCst), 3);
}

/// One request at a time would be ten a second; the rest would wait for up to four seconds.
#[tokio::test]
async fn requests_share_a_connection_over_http2() {
    let (address, accepted) = http2_server().await;
    let load = format!("--http2 --streams 20 --rate 50 --duration 1s --connections 1 {PATIENT}");
    let ran = run(address, &load).await;
    assert_eq!(ran.last_line(), "failed requests: 0 of 50", "{:?}", ran.finished);
    assert!(ran.latency("p50") < 1000.0, "{}", ran.report["latency_ms"]);
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

/// A shared connection that no answer comes on is not used again, so that a server that is well again is seen to be.
#[tokio::test]
async fn a_shared_connection_is_opened_anew_after_a_failure() {
    let upstream = Upstream::start(|mut connection| async move {
        // Speaks HTTP/1.1 to HTTP/2's preface.
        let _preface = connection.read_head().await;
        connection.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let ran = run(
        upstream.address,
        &format!("--http2 --streams 2 --rate 20 --duration 1s --connections 1 {PATIENT}"),
    )
    .await;
    assert_eq!(ran.last_line(), "failed requests: 20 of 20", "{:?}", ran.finished);
    assert!(upstream.accepted() >= 10, "{} connections", upstream.accepted());
}
