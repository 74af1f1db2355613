//! The end of the process: nothing that was accepted is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shared::test_util::{DEADLINE, RawClient, Signal, eventually};
use tokio::task::JoinSet;

use crate::server::{LABS_LINE, Server};

const BODY: &str = r#"{"instances": [1, 2, 5]}"#;

/// A client in the middle of its upload, known to be in flight.
async fn half_sent(server: &Server) -> RawClient {
    let mut client = server.connect().await;
    let (length, half) = (BODY.len(), &BODY[..10]);
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{half}"
        ))
        .await;
    eventually("the upload is in flight", DEADLINE, async || {
        server.metrics().await.contains("ml_inference_requests_in_flight 2")
    })
    .await;
    client
}

async fn until_draining(server: &Server) {
    server.process.log_line("draining: not ready, still accepting").await;
}

async fn until_closing(server: &Server) {
    server
        .process
        .log_line("closing the listener, finishing requests")
        .await;
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_listener_closed() {
    let mut server = Server::start(&[("DRAIN_WINDOW", "0.1")]).await;
    let mut upload = half_sent(&server).await;
    server.process.signal(Signal::TERM);
    until_closing(&server).await;
    eventually("new connections are refused", DEADLINE, async || {
        tokio::net::TcpStream::connect(server.address).await.is_err()
    })
    .await;
    assert!(server.process.is_running());

    upload.send(&BODY[10..]).await;
    let response = upload.response().await;
    assert_eq!((response.status, response.body.as_str()), (200, LABS_LINE));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(upload.closed().await.is_empty());
    let finished = server.process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0, "{}", finished.stdout);
    assert!(finished.stdout.contains("\"drained\""), "{}", finished.stdout);
}

#[tokio::test]
async fn the_window_accepts_and_says_that_it_ends() {
    let mut server = Server::start(&[("DRAIN_WINDOW", "2")]).await;
    let mut old = server.connect().await;
    old.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(old.response().await.header("connection"), None);
    server.process.signal(Signal::TERM);
    until_draining(&server).await;

    let answer = server.get("/readyz").await;
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(answer.header("x-served-by"), "ml-inference-abc12");
    assert_eq!(answer.problem(503)["detail"], "not ready: draining");
    assert_eq!(server.get("/livez").await.status, 200);
    assert_eq!(server.get("/health").await.status, 200);
    for _ in 0..5 {
        let mut new = server.connect().await;
        new.send("GET /predict HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let response = new.response().await;
        assert_eq!((response.status, response.body.as_str()), (200, LABS_LINE));
        assert_eq!(response.header("connection"), Some("close"));
        assert!(new.closed().await.is_empty());
    }
    // To a client of HTTP/1.0 that wants to keep its connection there is one word too.
    let mut new = server.connect().await;
    new.send("GET /predict HTTP/1.0\r\nhost: x\r\nconnection: Keep-Alive\r\n\r\n")
        .await;
    let response = new.response().await;
    assert_eq!(
        (response.body.as_str(), response.header("connection")),
        (LABS_LINE, Some("close"))
    );
    assert!(new.closed().await.is_empty());
    // The connection from before is still good for one more request.
    old.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let response = old.response().await;
    assert_eq!(response.body, LABS_LINE);
    assert_eq!(response.header("connection"), Some("close"));
    assert!(old.closed().await.is_empty());
    assert_eq!(server.process.wait_exit(DEADLINE).await.code, 0);
}

#[tokio::test]
async fn no_request_under_load_is_lost() {
    let mut server = Server::start(&[("DRAIN_WINDOW", "2")]).await;
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (address, stop) = (server.address, std::sync::Arc::clone(&stop));
        clients.spawn(async move {
            let mut answered = 0;
            while !stop.load(Ordering::SeqCst) {
                // As a well-behaved client: keep the connection until the server says close.
                let mut client = RawClient::connect(address).await;
                loop {
                    let length = BODY.len();
                    client
                        .send(format!(
                            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{BODY}"
                        ))
                        .await;
                    let response = client.response().await;
                    assert_eq!((response.status, response.body.as_str()), (200, LABS_LINE));
                    answered += 1;
                    if response.header("connection") == Some("close") || stop.load(Ordering::SeqCst) {
                        break;
                    }
                }
            }
            answered
        });
    }
    let served = async || {
        let log = server.process.log();
        log.iter().filter(|line| line["message"] == "request").count()
    };
    eventually("load runs", DEADLINE, async || served().await > 100).await;
    server.process.signal(Signal::TERM);
    until_draining(&server).await;
    let before = served().await;
    eventually("load goes on", DEADLINE, async || served().await > before + 100).await;
    stop.store(true, Ordering::SeqCst);
    let answered: usize = clients.join_all().await.into_iter().sum();
    assert!(answered > 200, "{answered}");
    let finished = server.process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0);
    let lines = finished
        .stdout
        .lines()
        .filter(|line| line.contains("\"message\":\"request\""));
    assert_eq!(lines.count(), answered, "every request is one line");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let mut server = Server::start(&[("DRAIN_WINDOW", "0.1")]).await;
    let mut idle = server.connect().await;
    idle.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(idle.response().await.status, 200);
    let started = Instant::now();
    server.process.signal(Signal::TERM);
    assert!(idle.closed().await.is_empty());
    assert_eq!(server.process.wait_exit(DEADLINE).await.code, 0);
    assert!(started.elapsed() < Duration::from_secs(15), "the drain timeout is 20 s");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_at_the_drain_timeout() {
    let mut server = Server::start(&[("DRAIN_WINDOW", "0"), ("DRAIN_TIMEOUT", "0.3")]).await;
    let mut upload = half_sent(&server).await;
    server.process.signal(Signal::TERM);
    let finished = server.process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0);
    assert!(
        finished.stdout.contains("requests still in flight"),
        "{}",
        finished.stdout
    );
    upload.closed().await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut server = Server::start(&[("DRAIN_WINDOW", "600")]).await;
        server.process.signal(Signal::TERM);
        until_draining(&server).await;
        server.process.signal(second);
        let finished = server.process.wait_exit(DEADLINE).await;
        assert_eq!(finished.code, code, "{}", finished.stdout);
    }
}

#[tokio::test]
async fn ctrl_c_drains_too() {
    let mut server = Server::start(&[("DRAIN_WINDOW", "0")]).await;
    server.process.signal(Signal::INT);
    assert_eq!(server.process.wait_exit(DEADLINE).await.code, 0);
}
