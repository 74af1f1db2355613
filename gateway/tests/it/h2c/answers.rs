//! Answers on the wire, from upstreams of both versions to clients of both: broken ones, and what each version may say.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use shared::test_util::{DEADLINE, RawClient, Upstream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::upstream::*;
use crate::harness::Gateway;

/// A request without a body.
fn get(path: &str) -> Request<()> {
    Request::get(format!("http://h{path}")).body(()).expect("a request")
}

/// What a client of HTTP/2 is told at the end of an answer that has begun with `part`.
async fn broken_for_http2(gateway: &Gateway, request: Request<()>, has_arrived: &Notify) -> Option<Reason> {
    let mut sender = connect(gateway).await;
    let (response, _stream) = sender.send_request(request, true).expect("sent");
    let mut body = answer_of(response).await.into_body();
    assert_eq!(body.data().await.expect("a part").expect("whole"), "part");
    has_arrived.notify_one();
    let ended = timeout(DEADLINE, body.data()).await.expect("in time");
    ended.expect("not an end").expect_err("it is broken").reason()
}

/// Checks that no client takes half of an answer for a whole one.
async fn is_broken_for_all(gateway: &Gateway, has_arrived: &Notify) {
    for request in [get("/raw"), call("/raw")] {
        let told = broken_for_http2(gateway, request, has_arrived).await;
        assert_eq!(told, Some(Reason::INTERNAL_ERROR));
    }
    let mut client = broken_for_http1(gateway, "HTTP/1.1\r\nhost: h", has_arrived).await;
    assert_eq!(client.closed().await, b"\r\n", "no last chunk follows");
    // HTTP/1.0 has no chunks: the end of the connection is that of the answer, so only a reset tells that it is broken.
    for version in ["HTTP/1.0", "HTTP/1.0\r\nconnection: keep-alive"] {
        let mut client = broken_for_http1(gateway, version, has_arrived).await;
        assert!(client.is_reset().await, "{version}");
    }
}

/// A client of HTTP/1 that has read `part`, at the end of an answer that has begun with it.
async fn broken_for_http1(gateway: &Gateway, version: &str, has_arrived: &Notify) -> RawClient {
    let mut client = gateway.raw().await;
    client.send(format!("GET /raw {version}\r\n\r\n")).await;
    let mut got = Vec::new();
    while !got.ends_with(b"\npart") {
        let more = client.read_exactly(1).await;
        assert!(!more.is_empty(), "{:?}", String::from_utf8_lossy(&got));
        got.extend(more);
    }
    has_arrived.notify_one();
    client
}

#[tokio::test]
async fn a_reset_by_the_upstream_is_an_error_of_the_gateway_whatever_its_reason() {
    for reason in [
        Reason::NO_ERROR,
        Reason::REFUSED_STREAM,
        Reason::HTTP_1_1_REQUIRED,
        Reason::ENHANCE_YOUR_CALM,
    ] {
        let arrived = Arc::new(Notify::new());
        let has_arrived = Arc::clone(&arrived);
        let upstream = H2Upstream::answering(move |_, mut respond| {
            let arrived = Arc::clone(&arrived);
            async move {
                let mut stream = respond.send_response(head(200), false).expect("sent");
                stream.send_data(Bytes::from_static(b"part"), false).expect("sent");
                arrived.notified().await;
                stream.send_reset(reason);
            }
        })
        .await;
        let gateway = gateway(&[upstream.address]).await;
        is_broken_for_all(&gateway, &has_arrived).await;
        let aborted = "gateway_responses_aborted_total{cluster=\"backend:5000\",route=\"/raw\"}";
        assert_eq!(gateway.metric(aborted).await, 5.0);
    }
}

#[tokio::test]
async fn an_upstream_that_closes_in_the_middle_of_a_chunked_answer_breaks_it_for_every_client() {
    let arrived = Arc::new(Notify::new());
    let has_arrived = Arc::clone(&arrived);
    let upstream = Upstream::start(move |mut connection| {
        let arrived = Arc::clone(&arrived);
        async move {
            connection.read_head().await;
            connection
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n")
                .await;
            arrived.notified().await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    is_broken_for_all(&gateway, &has_arrived).await;
}

#[tokio::test]
async fn a_whole_answer_to_a_client_of_http_1_0_ends_in_order() {
    let upstream = Upstream::start(|mut connection| async move {
        while connection.read_head().await.is_some() {
            connection
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n")
                .await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = gateway.raw().await;
    client.send("GET /raw HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response().await.body, "whole");
    assert!(!client.is_reset().await);
}

/// An upstream of HTTP/1.1 that answers every request with these bytes.
async fn saying(answer: impl Into<String>) -> Upstream {
    let answer = answer.into();
    Upstream::start(move |mut connection| {
        let answer = answer.clone();
        async move {
            while connection.read_head().await.is_some() {
                connection.send(&answer).await;
            }
        }
    })
    .await
}

/// The head of the answer that a client of HTTP/1 gets, as it comes.
async fn head_for_http1(gateway: &Gateway, request: &str) -> String {
    let mut client = gateway.raw().await;
    client.send(format!("{request}\r\nhost: h\r\n\r\n")).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let more = client.read_exactly(1).await;
        assert!(!more.is_empty(), "{:?}", String::from_utf8_lossy(&head));
        head.extend(more);
    }
    String::from_utf8(head).expect("text")
}

/// The answer that a client of HTTP/2 gets, whole.
async fn answer_for_http2(gateway: &Gateway, method: &str) -> (http::response::Parts, Vec<u8>) {
    let request = Request::builder().method(method).uri("http://h/raw");
    let mut sender = connect(gateway).await;
    let (response, _stream) = sender
        .send_request(request.body(()).expect("a request"), true)
        .expect("sent");
    let (head, mut body) = answer_of(response).await.into_parts();
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        bytes.extend(part.expect("it is whole"));
    }
    (head, bytes)
}

#[tokio::test]
async fn a_status_without_words_of_its_own_has_those_of_the_upstream_or_none() {
    for (line, expected) in [
        ("HTTP/1.1 529 Site is overloaded", "HTTP/1.1 529 Site is overloaded\r\n"),
        ("HTTP/1.1 499 ", "HTTP/1.1 499 \r\n"),
        ("HTTP/1.1 520", "HTTP/1.1 520 \r\n"),
        ("HTTP/1.1 299 Sehr sch\u{f6}n", "HTTP/1.1 299 \r\n"),
        ("HTTP/1.1 200 Fine", "HTTP/1.1 200 OK\r\n"),
    ] {
        let upstream = saying(format!("{line}\r\ncontent-length: 0\r\n\r\n")).await;
        let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
        let head = head_for_http1(&gateway, "GET /raw HTTP/1.1").await;
        assert!(head.starts_with(expected), "{line}: {head}");
        let (head, _) = answer_for_http2(&gateway, "GET").await;
        assert_eq!(head.status.as_str(), &line[9..12]);
    }
    let upstream = H2Upstream::answering(|_, mut respond| async move {
        respond.send_response(head(529), true).expect("sent");
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let head = head_for_http1(&gateway, "GET /raw HTTP/1.1").await;
    assert!(head.starts_with("HTTP/1.1 529 \r\n"), "{head}");
}

#[tokio::test]
async fn interim_answers_end_at_the_gateway() {
    let http1 = saying(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let http2 = H2Upstream::answering(|_, mut respond| async move {
        for status in [100, 102, 103] {
            respond.send_informational(head(status)).expect("sent");
        }
        let mut stream = respond.send_response(head(200), false).expect("sent");
        stream.send_data(Bytes::from_static(b"ok"), true).expect("sent");
    })
    .await;
    for gateway in [
        Gateway::in_front_of(&[http1.address], &[]).await,
        gateway(&[http2.address]).await,
    ] {
        for version in ["1.1", "1.0"] {
            let head = head_for_http1(&gateway, &format!("GET /raw HTTP/{version}")).await;
            assert!(head.starts_with(&format!("HTTP/{version} 200 OK\r\n")), "{head}");
            assert!(!head.contains("link:"), "{head}");
        }
        let mut sender = connect(&gateway).await;
        let (mut response, _stream) = sender.send_request(get("/raw"), true).expect("sent");
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        assert!(interim.is_none(), "{interim:?}");
        assert_eq!(whole(answer_of(response).await.body_mut()).await, b"ok");
    }
}

#[tokio::test]
async fn only_a_204_loses_the_length_of_a_body_that_it_does_not_have() {
    for (method, status, length) in [
        ("GET", 204, None),
        ("HEAD", 204, None),
        ("GET", 304, Some("5")),
        ("HEAD", 200, Some("5")),
        ("HEAD", 304, Some("5")),
    ] {
        let http1 = saying(format!("HTTP/1.1 {status} x\r\ncontent-length: 5\r\n\r\n")).await;
        let http2 = H2Upstream::answering(move |_, mut respond| async move {
            let mut head = head(status);
            head.headers_mut().insert("content-length", 5.into());
            respond.send_response(head, true).expect("sent");
        })
        .await;
        for (upstream, gateway) in [
            ("http1", Gateway::in_front_of(&[http1.address], &[]).await),
            ("h2c", gateway(&[http2.address]).await),
        ] {
            let case = format!("{method} {status} {upstream}");
            let head = head_for_http1(&gateway, &format!("{method} /raw HTTP/1.1")).await;
            let told = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            // hyper leaves it away from a 304 to GET in HTTP/1, which MAY have it.
            let written = length.filter(|_| (method, status) != ("GET", 304));
            assert_eq!(told, written, "{case}: {head}");
            let (head, body) = answer_for_http2(&gateway, method).await;
            assert!(body.is_empty() && head.status == status, "{case}");
            let told = head
                .headers
                .get("content-length")
                .map(|length| length.to_str().expect("text"));
            assert_eq!(told, length, "{case}");
        }
    }
}

#[tokio::test]
async fn whitespace_round_names_and_values_is_removed_or_refused() {
    // In HTTP/1.1 it belongs to the line, before a colon by mistake, which a proxy puts right.
    let http1 = saying("HTTP/1.1 200 OK\r\nx-a \t: \t1 \t\r\ncontent-length : 2\r\n\r\nok").await;
    let gateway_to_http1 = Gateway::in_front_of(&[http1.address], &[]).await;
    let answer = head_for_http1(&gateway_to_http1, "GET /raw HTTP/1.1").await;
    assert!(answer.contains("\r\nx-a: 1\r\n"), "{answer}");
    let (answer, body) = answer_for_http2(&gateway_to_http1, "GET").await;
    assert_eq!(
        (&answer.headers["x-a"], body.as_slice()),
        (&"1".parse().expect("a value"), &b"ok"[..])
    );
    // In HTTP/2 it makes the answer malformed.
    for padded in [" 1", "1 ", "\t1", "1\t", " "] {
        let http2 = H2Upstream::answering(move |_, mut respond| async move {
            let mut head = head(200);
            let padded = http::HeaderValue::from_static(padded);
            head.headers_mut().insert("x-a", padded);
            respond.send_response(head, true).expect("sent");
        })
        .await;
        let gateway = gateway(&[http2.address]).await;
        assert_eq!(answer_for_http2(&gateway, "GET").await.0.status, 502, "{padded:?}");
        let head = head_for_http1(&gateway, "GET /raw HTTP/1.1").await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{padded:?}: {head}");
    }
    // Also behind the body.
    let http2 = H2Upstream::answering(|_, mut respond| async move {
        let mut stream = respond.send_response(head(200), false).expect("sent");
        stream.send_trailers(grpc_status("0 ")).expect("sent");
    })
    .await;
    let gateway = gateway(&[http2.address]).await;
    let mut sender = connect(&gateway).await;
    let (response, _stream) = sender.send_request(get("/raw"), true).expect("sent");
    let broken = async { response.await?.into_body().trailers().await };
    let ended = timeout(DEADLINE, broken).await.expect("in time");
    assert_eq!(ended.expect_err("malformed").reason(), Some(Reason::INTERNAL_ERROR));
}

#[tokio::test]
async fn a_426_says_what_to_switch_to_where_that_can_be_done() {
    let http1 = saying(
        "HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade, x-hop\r\nx-hop: 1\r\nupgrade: websocket\r\nupgrade: chat/2\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let gateway = Gateway::in_front_of(&[http1.address], &[]).await;
    let head = head_for_http1(&gateway, "GET /raw HTTP/1.1").await;
    assert!(head.contains("\r\nupgrade: websocket, chat/2\r\n"), "{head}");
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(!head.contains("x-hop"), "{head}");
    let (head, _) = answer_for_http2(&gateway, "GET").await;
    assert_eq!(head.status, 426);
    assert!(!head.headers.contains_key("upgrade") && !head.headers.contains_key("connection"));
}

#[tokio::test]
async fn max_forwards_is_counted_for_options_and_trace_is_not_forwarded() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some(head) = connection.read_head().await {
            let left = head.lines().find_map(|line| line.strip_prefix("max-forwards: "));
            let left = left.unwrap_or("none");
            connection
                .send(format!(
                    "HTTP/1.1 200 OK\r\nx-left: {left}\r\ncontent-length: 0\r\n\r\n"
                ))
                .await;
        }
    })
    .await;
    let http2 = H2Upstream::answering(|request, mut respond| async move {
        let mut head = head(200);
        let left = request.headers().get("max-forwards").cloned();
        let none = http::HeaderValue::from_static("none");
        head.headers_mut().insert("x-left", left.unwrap_or(none));
        respond.send_response(head, true).expect("sent");
    })
    .await;
    for gateway in [
        Gateway::in_front_of(&[upstream.address], &[]).await,
        gateway(&[http2.address]).await,
    ] {
        for (sent, left) in [("5", "4"), ("1", "0"), ("x", "x"), ("", "none")] {
            let header = if sent.is_empty() {
                String::new()
            } else {
                format!("\r\nmax-forwards: {sent}")
            };
            let head = head_for_http1(&gateway, &format!("OPTIONS /raw HTTP/1.1{header}")).await;
            assert!(head.contains(&format!("\r\nx-left: {left}\r\n")), "{sent}: {head}");
        }
        let head = head_for_http1(&gateway, "OPTIONS /raw HTTP/1.1\r\nmax-forwards: 0").await;
        assert!(
            head.starts_with("HTTP/1.1 204 ") && head.contains("\r\nallow: GET,"),
            "{head}"
        );
        assert!(!head.contains("x-left"), "{head}");
        // Other methods have no such count.
        let head = head_for_http1(&gateway, "GET /raw HTTP/1.1\r\nmax-forwards: 0").await;
        assert!(head.contains("\r\nx-left: 0\r\n"), "{head}");
        for trace in ["TRACE /raw HTTP/1.1", "TRACE /raw HTTP/1.1\r\nmax-forwards: 0"] {
            let head = head_for_http1(&gateway, trace).await;
            assert!(head.starts_with("HTTP/1.1 405 ") && !head.contains("x-left"), "{head}");
        }
        assert_eq!(answer_for_http2(&gateway, "TRACE").await.0.status, 405);
    }
}
