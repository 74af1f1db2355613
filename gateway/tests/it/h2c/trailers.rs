//! Trailers that are too large: never a part of them, in either direction.

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request};
use shared::test_util::{DEADLINE, RawClient, Upstream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::upstream::*;
use crate::harness::Gateway;

/// Of a head of 64 KiB, trailers have a quarter. The largest is over all that a head may have.
const TOO_LARGE: [usize; 3] = [17_000, 40_000, 66_000];
const LARGE: usize = 15_000;

/// Trailers of which the `x-big` field has so many bytes, beside `grpc-status: 5`, which comes `before` or after it.
fn trailers(bytes: usize, before: bool) -> HeaderMap {
    let big: HeaderValue = "x".repeat(bytes).parse().expect("a value");
    let mut trailers = HeaderMap::new();
    if before {
        trailers.extend(grpc_status("5"));
    }
    trailers.insert("x-big", big);
    if !before {
        trailers.extend(grpc_status("5"));
    }
    trailers
}

/// An upstream that answers with trailers of the size and the order that are asked for.
async fn with_large_trailers() -> H2Upstream {
    H2Upstream::answering(|request, mut respond| async move {
        let path = request.uri().path().trim_start_matches("/raw/").to_owned();
        let (bytes, order) = path.split_once('/').expect("a size and an order");
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        stream.send_data(Bytes::from_static(b"part"), false).expect("sent");
        let bytes = bytes.parse().expect("a number");
        stream.send_trailers(trailers(bytes, order == "first")).expect("sent");
    })
    .await
}

/// The reason of the reset that ends an answer, before or after the parts of it that went out.
async fn reason_of_end(gateway: &Gateway, path: &str) -> Option<Reason> {
    let mut sender = connect(gateway).await;
    let request = Request::get(format!("http://h{path}")).body(()).expect("a request");
    let (response, _stream) = sender.send_request(request, true).expect("sent");
    let mut body = match timeout(DEADLINE, response).await.expect("in time") {
        Ok(answer) => answer.into_body(),
        Err(error) => return error.reason(),
    };
    loop {
        match timeout(DEADLINE, body.data()).await.expect("in time") {
            Some(Ok(_part)) => {}
            Some(Err(error)) => return error.reason(),
            None => return body.trailers().await.expect_err("they are too large").reason(),
        }
    }
}

#[tokio::test]
async fn an_answer_with_trailers_over_the_limit_is_broken_and_a_call_has_a_status() {
    let upstream = with_large_trailers().await;
    let gateway = gateway(&[upstream.address]).await;
    for bytes in TOO_LARGE {
        for order in ["first", "last"] {
            let path = format!("/raw/{bytes}/{order}");
            let (_, message, told) = unary(&gateway, call(&path), "x").await;
            assert_eq!((message.as_str(), told.len()), ("part", 2), "{path}");
            assert_eq!(told["grpc-status"], "8", "{path}");

            assert_eq!(
                reason_of_end(&gateway, &path).await,
                Some(Reason::INTERNAL_ERROR),
                "{path}"
            );

            let mut client = gateway.raw().await;
            client
                .send(format!("GET {path} HTTP/1.1\r\nhost: h\r\nte: trailers\r\n\r\n"))
                .await;
            let got = String::from_utf8(client.closed().await).expect("text");
            assert!(!got.contains("\r\n0\r\n"), "{path}: {got}");
        }
    }
    // Those that fit pass whole, over the same connection.
    let (_, _, told) = unary(&gateway, call(&format!("/raw/{LARGE}/last")), "x").await;
    assert_eq!((told.len(), &told["grpc-status"]), (2, &HeaderValue::from_static("5")));
    assert_eq!(told["x-big"].len(), LARGE);
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn an_answer_over_http1_with_trailers_over_the_limit_is_broken() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some(head) = connection.read_head().await {
            let bytes: usize = head.split(['/', ' ']).nth(3).and_then(|bytes| bytes.parse().ok()).expect(&head);
            let big = "x".repeat(bytes);
            connection
                .send(format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n0\r\nx-big: {big}\r\nx-last: 1\r\n\r\n"
                ))
                .await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    for bytes in TOO_LARGE {
        let reason = reason_of_end(&gateway, &format!("/raw/{bytes}")).await;
        assert_eq!(reason, Some(Reason::INTERNAL_ERROR), "{bytes}");

        let mut client = gateway.raw().await;
        client
            .send(format!("GET /raw/{bytes} HTTP/1.1\r\nhost: h\r\n\r\n"))
            .await;
        let got = String::from_utf8(client.closed().await).expect("text");
        assert!(!got.contains("\r\n0\r\n"), "{bytes}: {got}");
    }
}

/// The end of a request as an upstream sees it: its trailers, or nothing when it broke off.
async fn end_of(body: &mut RecvStream) -> Option<HeaderMap> {
    while let Some(part) = body.data().await {
        part.ok()?;
    }
    Some(body.trailers().await.ok()?.unwrap_or_default())
}

/// Sends a request with trailers over both versions, and gives what the clients were told: the status of HTTP/2, unless the
/// connection broke, and all that HTTP/1.1 got.
async fn upload(gateway: &Gateway, trailers: &HeaderMap) -> (Option<u16>, RawClient) {
    let request = Request::post("http://h/raw").body(()).expect("a request");
    let (response, mut stream) = open(gateway, request).await;
    stream.send_data(Bytes::from_static(b"part"), false).expect("sent");
    stream.send_trailers(trailers.clone()).expect("sent");
    let answered = timeout(DEADLINE, response).await.expect("in time");
    let status = answered.ok().map(|answer| answer.status().as_u16());

    let mut client = gateway.raw().await;
    client
        .send("POST /raw HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n")
        .await;
    let lines: String = trailers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("text")))
        .collect();
    client.send(format!("{lines}\r\n")).await;
    (status, client)
}

#[tokio::test]
async fn a_request_with_trailers_over_the_limit_never_ends_at_the_upstream() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let tell_too = tell.clone();
    let http2 = H2Upstream::answering(move |mut request, mut respond| {
        let tell = tell.clone();
        async move {
            tell.send(end_of(request.body_mut()).await).expect("the test listens");
            // One that broke off takes no answer.
            let _gone = respond.send_response(head(200), true);
        }
    })
    .await;
    let http1 = Upstream::start(move |mut connection| {
        let tell = tell_too.clone();
        async move {
            connection.read_head().await.expect("a request");
            // The rest up to the end of the trailers, or of the connection.
            let mut rest = Vec::new();
            let ended = loop {
                let byte = connection.read_body(1).await;
                rest.extend_from_slice(&byte);
                if byte.is_empty() || rest.ends_with(b"\r\n\r\n") {
                    break !byte.is_empty();
                }
            };
            let count = String::from_utf8_lossy(&rest).matches(": ").count();
            let mut trailers = HeaderMap::new();
            for _ in 0..count {
                trailers.append("x", HeaderValue::from_static("1"));
            }
            tell.send(ended.then_some(trailers)).expect("the test listens");
            connection.answer(200, "").await;
        }
    })
    .await;
    for (address, protocol) in [(http2.address, "h2c"), (http1.address, "http1")] {
        let yaml = crate::harness::yaml(&[address]).replace("routes:", &format!("    protocol: {protocol}\nroutes:"));
        let gateway = Gateway::start(&yaml, &[("WORKERS", "1")]).await;
        for bytes in TOO_LARGE {
            for before in [true, false] {
                let (status, mut client) = upload(&gateway, &trailers(bytes, before)).await;
                let cut_with_connection = bytes > 24 * 1024;
                assert_eq!(
                    status,
                    (!cut_with_connection).then_some(431),
                    "{protocol} {bytes} {before}"
                );
                let refusal = client.response().await.status;
                assert!([400, 431].contains(&refusal), "{protocol} {bytes}: {refusal}");
                // Those that fit pass whole. Before them nothing ended, and what never reached the upstream did not either.
                let mut fitting = trailers(LARGE, false);
                fitting.insert("x-third", HeaderValue::from_static("3"));
                let (status, mut client) = upload(&gateway, &fitting).await;
                assert_eq!((status, client.response().await.status), (Some(200), 200), "{protocol}");
                let mut whole = 0;
                while whole < 2 {
                    let ended = timeout(DEADLINE, told.recv()).await.expect("in time");
                    if let Some(trailers) = ended.expect("an end") {
                        assert_eq!(trailers.len(), 3, "{protocol} {bytes} {before}");
                        whole += 1;
                    }
                }
            }
        }
    }
}
