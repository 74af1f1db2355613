//! Request bodies that are too large, too slow or end too early.

use std::time::{Duration, Instant};

use shared::test_util::{DEADLINE, eventually};

use crate::server::{LABS_LINE, Server};

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() {
    let server = Server::start(&[("MAX_BODY_BYTES", "1Ki")]).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1025\r\n\r\n")
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 413);
    let problem: serde_json::Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!(problem["limit"], 1024);
    assert_eq!(problem["detail"], "the body is larger than the limit of 1024 bytes");
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_refused_and_hung_up_on() {
    let server = Server::start(&[("MAX_BODY_BYTES", "1Ki")]).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1025\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 413);
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn a_stream_is_refused_once_it_is_too_large() {
    let server = Server::start(&[("MAX_BODY_BYTES", "1Ki")]).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..5 {
        client.send(format!("100\r\n{}\r\n", " ".repeat(256))).await;
    }
    assert_eq!(client.response().await.status, 413);
}

#[tokio::test]
async fn a_whole_upload_that_is_too_large_still_reads_its_answer() {
    let server = Server::start(&[("MAX_BODY_BYTES", "1Ki")]).await;
    // More than the sockets hold: without lingering the client would see a reset instead.
    for _ in 0..5 {
        let problem = server.post("/", vec![b' '; 8 << 20]).await.problem(413);
        assert_eq!(problem["limit"], 1024);
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read() {
    let limit = 4096;
    let server = Server::start(&[("MAX_BODY_BYTES", "4Ki")]).await;
    let mut body = r#"{"instances": [1, 2, 5]}"#.to_owned();
    body.push_str(&" ".repeat(limit - body.len()));
    assert_eq!(server.post("/", body.clone()).await.body, LABS_LINE);
    body.push(' ');
    server.post("/", body).await.problem(413);
}

#[tokio::test]
async fn numbers_may_take_no_more_memory_than_a_body() {
    let server = Server::start(&[("MAX_BODY_BYTES", "800")]).await;
    let body = |count| serde_json::json!({ "instances": vec![1; count] }).to_string();
    assert_eq!(server.post("/", body(100)).await.status, 200);
    let problem = server.post("/", body(101)).await.problem(413);
    assert_eq!(problem["limit"], 100);
    assert_eq!(problem["field"], "instances");
}

#[tokio::test]
async fn a_chunked_body_is_read_to_its_end() {
    let server = Server::start(&[]).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for piece in [r#"{"inst"#, r#"ances": ["#, "1,", "2,5]}"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.body, LABS_LINE);
}

#[tokio::test]
async fn a_body_that_is_framed_wrongly_is_a_400() {
    let server = Server::start(&[]).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")
        .await;
    let refused = client.response().await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("a chunk's size"), "{}", refused.body);
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn a_large_body_within_the_limit_is_answered() {
    let server = Server::start(&[]).await;
    let numbers: Vec<f64> = (0..200_000).map(|x| f64::from(x) / 3.0).collect();
    let answer = server
        .post("/", serde_json::json!({ "instances": numbers }).to_string())
        .await;
    let expected: Vec<f64> = numbers.iter().map(|x| x / 2.0 + 2.0).collect();
    let answered: Vec<f64> = serde_json::from_value(answer.json()["predictions"].clone()).expect("numbers");
    assert!(answered == expected, "some of 200,000 numbers differ");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_a_408() {
    let server = Server::start(&[("REQUEST_TIMEOUT", "0.3")]).await;
    let mut client = server.connect().await;
    let sent = Instant::now();
    client
        .send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 30\r\n\r\n{\"instances\"")
        .await;
    let response = client.response().await;
    assert!(sent.elapsed() >= Duration::from_millis(300));
    assert_eq!(response.status, 408);
    assert_eq!(response.header("connection"), Some("close"));
    assert!(
        response.body.contains("did not arrive within 0.3 seconds"),
        "{}",
        response.body
    );
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn a_client_that_stops_sending_too_early_is_told_so() {
    let server = Server::start(&[]).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 30\r\n\r\n{\"instances\"")
        .await;
    client.finish_sending().await;
    let response = client.response().await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("the body ended early"), "{}", response.body);
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_a_431() {
    let server = Server::start(&[("MAX_HEADER_BYTES", "8Ki")]).await;
    let mut client = server.connect().await;
    let filler = "x".repeat(20_000);
    client
        .send(format!("GET / HTTP/1.1\r\nhost: x\r\nx-filler: {filler}\r\n\r\n"))
        .await;
    assert_eq!(client.response().await.status, 431);
}

#[tokio::test]
async fn what_is_no_http_ends_its_connection_and_nothing_else() {
    let server = Server::start(&[]).await;
    for (garbage, status, reason) in [
        ("\0\0\0\0\r\n\r\n", 400, "control_byte"),
        ("GET\r\n\r\n", 400, "request_line"),
        ("\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n", 400, "control_byte"),
        ("GET / HTTP/9.9\r\n\r\n", 505, "version_not_supported"),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
            "length_and_encoding",
        ),
    ] {
        let mut client = server.connect().await;
        client.send(garbage).await;
        let refused = client.response().await;
        assert_eq!(refused.status, status, "{garbage:?}");
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        client.closed().await;
        let counted = format!("ml_inference_requests_refused_total{{reason=\"{reason}\"}}");
        assert!(server.metrics().await.contains(&counted), "{reason}");
    }
    assert_eq!(server.get("/").await.body, LABS_LINE);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_logged_and_not_counted_on() {
    let server = Server::start(&[]).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: x\r\nx-request-id: leaver\r\ncontent-length: 30\r\n\r\n{")
        .await;
    eventually("the request is in flight", DEADLINE, async || {
        // The scrape itself is the other one.
        server.metrics().await.contains("ml_inference_requests_in_flight 2")
    })
    .await;
    drop(client);
    let left = |line: &serde_json::Value| line["request_id"] == "leaver";
    let line = server.process.log_line_where("the leaver's request", left).await;
    assert_eq!(line["status"], 400, "{line}");
    assert!(server.metrics().await.contains("ml_inference_requests_in_flight 1"));
}
