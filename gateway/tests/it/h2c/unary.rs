//! Calls of one message, and plain requests, over HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use shared::test_util::{DEADLINE, Process, eventually};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::upstream::*;
use crate::harness::{BINARY, Gateway, variables};

#[tokio::test]
async fn a_request_of_http1_becomes_one_of_http2() {
    let (tell, mut heads) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |request, mut respond| {
        let tell = tell.clone();
        async move {
            let (parts, mut body) = request.into_parts();
            let body = whole(&mut body).await;
            let status = if parts.uri.path() == "/missing" { 404 } else { 200 };
            let head_only = parts.method == Method::HEAD;
            tell.send(parts).expect("the test listens");
            let mut head = head(status);
            let length = HeaderValue::from(body.len());
            head.headers_mut().insert("content-length", length);
            let mut stream = respond.send_response(head, head_only).expect("sent");
            if !head_only {
                stream.send_data(Bytes::from(body), true).expect("sent");
            }
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let response = gateway.post("/predict/x?y=1", "hello").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(response.text().await.expect("text"), "hello");
    let parts = heads.recv().await.expect("a head");
    assert_eq!((parts.method, parts.uri.path()), (Method::POST, "/x"));
    assert_eq!(parts.uri.query(), Some("y=1"));
    let authority = parts.uri.authority().expect("an authority").as_str();
    assert_eq!(authority, gateway.address.to_string());
    assert_eq!(parts.headers["content-length"], "5");
    for added in ["x-request-id", "x-real-ip", "x-forwarded-for", "x-request-timeout-ms"] {
        assert!(parts.headers.contains_key(added), "{added}");
    }
    for gone in ["host", "connection", "te", "transfer-encoding"] {
        assert!(!parts.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(gateway.get("/predict/missing").await.status(), 404);

    let mut raw = gateway.raw().await;
    raw.send("HEAD /raw HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\n\r\n")
        .await;
    assert_eq!(raw.response_to_head().await.status, 200);
    // Chunked, with no length to pass on; and an upgrade, which HTTP/2 does not have.
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    raw.send(format!(
        "POST /raw HTTP/1.1\r\nhost: h\r\n{upgrade}transfer-encoding: chunked\r\n\r\n"
    ))
    .await;
    raw.send("3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(raw.response().await.body, "abc");
    assert_eq!(upstream.accepted(), 1);
    assert_eq!(gateway.metric(OPEN).await, 1.0);
}

#[tokio::test]
async fn a_unary_call_passes_with_its_metadata_and_its_trailers() {
    let upstream = H2Upstream::answering(|request, mut respond| async move {
        let (parts, mut body) = request.into_parts();
        assert_eq!(parts.headers["te"], "trailers");
        assert_eq!(parts.headers["content-type"], "application/grpc+proto");
        assert_eq!(parts.headers["custom-bin"], "AAEC");
        let left = parts.headers["grpc-timeout"].to_str().expect("text");
        let millis: u64 = left.strip_suffix('m').expect("milliseconds").parse().expect("a number");
        assert!((1000..=20_000).contains(&millis), "{left}");
        let message = whole(&mut body).await;
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        stream.send_data(message.into(), false).expect("sent");
        let mut trailers = grpc_status("0");
        trailers.insert("custom", HeaderValue::from_static("t"));
        stream.send_trailers(trailers).expect("sent");
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let mut request = call("/raw/pkg.Service/Method");
    request
        .headers_mut()
        .insert("grpc-timeout", HeaderValue::from_static("20S"));
    request
        .headers_mut()
        .insert("custom-bin", HeaderValue::from_static("AAEC"));
    let (head, message, trailers) = unary(&gateway, request, "ping").await;
    assert_eq!((head.status().as_u16(), message.as_str()), (200, "ping"));
    assert_eq!(
        (&trailers["grpc-status"], &trailers["custom"]),
        (&"0".parse().expect("a value"), &"t".parse().expect("a value"))
    );
    let line = gateway.process.log_line("request").await;
    assert_eq!(line["grpc_status"], 0, "{line}");
    let answers = "gateway_grpc_responses_total{cluster=\"backend:5000\",grpc_status=\"0\",route=\"/raw\"}";
    assert_eq!(gateway.metric(answers).await, 1.0);
}

#[tokio::test]
async fn an_error_without_a_message_stands_in_the_headers_alone() {
    let upstream = H2Upstream::answering(|_, mut respond| async move {
        let mut head = grpc_head();
        head.headers_mut().extend(grpc_status("5"));
        respond.send_response(head, true).expect("sent");
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/x")).await;
    stream.send_data(Bytes::from_static(b"x"), true).expect("sent");
    let mut answer = answer_of(response).await;
    assert!(answer.body().is_end_stream(), "no frame follows");
    assert_eq!(answer.headers()["grpc-status"], "5");
    assert!(whole(answer.body_mut()).await.is_empty());
}

#[tokio::test]
async fn failures_of_the_gateway_are_told_as_grpc_tells_them() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let gateway = gateway(&[address]).await;
    for (path, code) in [("/nowhere", "12"), ("/raw/x", "14"), ("/raw/../x", "13")] {
        let (head, _, _) = unary(&gateway, call(path), "x").await;
        assert_eq!(head.status(), 200, "{path}");
        assert_eq!(head.headers()["grpc-status"], code, "{path}");
        assert!(!head.headers()["grpc-message"].is_empty() && head.headers().contains_key("x-request-id"));
    }
    let requests = "gateway_requests_total{cluster=\"backend:5000\",code_class=\"5xx\",route=\"/raw\"}";
    assert_eq!(gateway.metric(requests).await, 1.0);
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let upstream = H2Upstream::answering(|request, mut respond| async move {
        let mut body = request.into_body();
        let mut stream = respond.send_response(head(200), false).expect("sent");
        while let Some(Ok(mut part)) = body.data().await {
            body.flow_control().release_capacity(part.len()).expect("open");
            while !part.is_empty() {
                stream.reserve_capacity(part.len());
                let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                let room = room.expect("open").expect("room").min(part.len());
                stream.send_data(part.split_to(room), false).expect("sent");
            }
        }
        stream.send_data(Bytes::new(), true).expect("sent");
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let sent: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
    let response = gateway.post("/raw", sent.clone()).await;
    assert!(response.bytes().await.expect("a whole body") == sent);
    assert!(gateway.metric("process_resident_memory_bytes").await < 60e6);
}

#[tokio::test]
async fn a_file_with_a_protocol_that_there_is_not_is_refused() {
    let scratch = shared::test_util::Scratch::new("gateway");
    for (wrong, fault) in [
        ("protocol: h3", "expected http1 or h2c"),
        ("http2: { max_streams: 5 }", "is only for `protocol: h2c`"),
        ("protocol: h2c\n    http2: { max_streams: 0 }", "max_streams"),
        ("protocol: h2c\n    http2: { streams: 1 }", "streams"),
    ] {
        let yaml = crate::harness::yaml(&["127.0.0.1:1".parse().expect("an address")]);
        let file = scratch.file(
            "gateway.yaml",
            yaml.replace("routes:", &format!("    {wrong}\nroutes:")),
        );
        let mut process = Process::start_with(BINARY, &["--check"], variables(&file, &[]));
        let finished = process.wait_exit(DEADLINE).await;
        assert_eq!(finished.code, 78, "{wrong}");
        assert!(finished.stderr.contains(fault), "{wrong}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_health_check_speaks_the_protocol_of_its_cluster() {
    let upstream = H2Upstream::answering(|request, mut respond| async move {
        let status = if request.uri().path() == "/readyz" { 503 } else { 200 };
        respond.send_response(head(status), true).expect("sent");
    })
    .await;
    let endpoint = format!("{{cluster=\"backend:5000\",endpoint=\"{}\"}}", upstream.address);
    for (path, usable) in [("/livez", 1.0), ("/readyz", 0.0)] {
        let check = format!("    health_check: {{ path: {path}, interval: 0.05, unhealthy_after: 1 }}\n");
        let gateway = Gateway::start(&yaml(&[upstream.address], &check), &[]).await;
        let asked = upstream.accepted();
        eventually("it was checked", DEADLINE, async || upstream.accepted() >= asked + 3).await;
        let metric = format!("gateway_endpoint_usable{endpoint}");
        assert_eq!(gateway.metric(&metric).await, usable, "{path}");
    }
}

#[tokio::test]
async fn trailers_that_http2_does_not_know_end_the_request_all_the_same() {
    let (tell, mut heard) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |request, mut respond| {
        let tell = tell.clone();
        async move {
            let mut body = request.into_body();
            let bytes = whole(&mut body).await;
            let trailers = body.trailers().await.expect("an end").unwrap_or_default();
            tell.send((bytes, trailers)).expect("the test listens");
            respond.send_response(head(200), true).expect("sent");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let mut raw = gateway.raw().await;
    for (trailers, left) in [
        ("keep-alive: 1\r\n", 0),
        ("te: gzip\r\nchecksum: 7\r\nx-real-ip: 8.8.8.8\r\n", 1),
    ] {
        let head = "POST /raw HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
        raw.send(format!("{head}3\r\nabc\r\n0\r\n{trailers}\r\n")).await;
        assert_eq!(raw.response().await.status, 200);
        let (bytes, heard) = heard.recv().await.expect("it was told");
        assert_eq!((bytes.as_slice(), heard.len()), (b"abc".as_slice(), left), "{heard:?}");
    }
}

#[tokio::test]
async fn an_answer_whose_end_is_told_after_its_bytes_is_whole() {
    let (tell, mut ends) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |_, mut respond| {
        let tell = tell.clone();
        async move {
            let mut head = head(200);
            head.headers_mut()
                .insert("content-length", HeaderValue::from_static("5"));
            let mut stream = respond.send_response(head, false).expect("sent");
            stream.send_data(Bytes::from_static(b"hello"), false).expect("sent");
            // A reset would come before the end is told, if one came.
            let reset = timeout(
                Duration::from_millis(200),
                std::future::poll_fn(|cx| stream.poll_reset(cx)),
            )
            .await;
            stream.send_data(Bytes::new(), true).expect("it was not reset");
            tell.send(reset.is_ok()).expect("the test listens");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    assert_eq!(gateway.get("/raw").await.text().await.expect("text"), "hello");
    assert_eq!(ends.recv().await, Some(false), "it is not reset");
    let line = gateway.process.log_line("request").await;
    assert_eq!(
        (line["bytes"].as_u64(), &line["aborted"]),
        (Some(5), &serde_json::Value::Null)
    );
    assert_eq!(gateway.metric("gateway_responses_aborted_total").await, 0.0);
}
