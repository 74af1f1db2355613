//! Messages of every shape: without a body, announced before they are sent, part by part, and very large.

use std::sync::Arc;
use std::time::Duration;

use shared::test_util::{DEADLINE, Signal, Upstream};
use tokio::sync::{Mutex, mpsc};

use crate::harness::{Gateway, yaml};

const MIB: usize = 1024 * 1024;
/// A body of a GiB, in parts of a MiB.
const PARTS: usize = 1024;

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    let upstream = Upstream::start(async |mut connection| {
        while let Some((head, _)) = connection.read_request().await {
            let answer = match &head {
                // Both may say how long a body would be, and have none.
                head if head.contains("/304") => {
                    "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 5\r\n\r\n"
                }
                head if head.starts_with("HEAD") => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
                _ => "HTTP/1.1 204 No Content\r\n\r\n",
            };
            connection.send(answer).await;
        }
    })
    .await;
    let yaml = yaml(&[upstream.address]);
    let gateway = Gateway::start(&yaml, &[("WORKERS", "1")]).await;
    let mut client = gateway.raw().await;
    for (request, status) in [
        ("GET /raw/204", 204),
        ("GET /raw/304", 304),
        ("HEAD /raw", 200),
        ("GET /raw/204", 204),
    ] {
        client.send(format!("{request} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let answer = client.response_to_head().await;
        assert_eq!(answer.status, status, "{request}");
        assert_eq!(answer.header("transfer-encoding"), None, "{request}");
        if request.starts_with("HEAD") {
            assert_eq!(answer.header("content-length"), Some("5"));
        }
    }
    assert_eq!(upstream.accepted(), 1, "each left the connection usable");
}

#[tokio::test]
async fn a_body_that_waits_to_be_asked_for_is_asked_for_or_not() {
    let upstream = Upstream::start(async |mut connection| {
        while let Some((_, body)) = connection.read_request().await {
            connection.answer(200, &String::from_utf8_lossy(&body)).await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("MAX_BODY_BYTES", "10")]).await;
    let mut client = gateway.raw().await;
    let head = |length: usize| {
        format!("POST /raw HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n")
    };
    client.send(head(5)).await;
    let asked = client.read_exactly(25).await;
    assert_eq!(asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello").await;
    assert_eq!(client.response().await.body, "hello");
    // One that is too large is refused before a byte of it is sent.
    client.send(head(11)).await;
    assert_eq!(client.response().await.status, 413);
}

#[tokio::test]
async fn an_upload_without_a_length_that_grows_too_large_is_a_413_that_its_client_can_read() {
    let upstream = Upstream::start(
        async |mut connection| {
            while !connection.read_body(1 << 16).await.is_empty() {}
        },
    )
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("MAX_BODY_BYTES", "1Mi")]).await;
    reads_its_413(&gateway).await;
}

/// Sends far more than 1 MiB, and than the buffers of both sockets hold, and reads the answer afterwards.
pub(crate) async fn reads_its_413(gateway: &Gateway) {
    let mut client = gateway.raw().await;
    client
        .send("POST /raw HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = [b"10000\r\n", [b'x'; 65536].as_slice(), b"\r\n"].concat();
    for _ in 0..256 {
        client.send(&chunk).await;
    }
    client.send("0\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert!(answer.body.contains("\"limit\":1048576"), "{}", answer.body);
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn a_client_of_http10_is_told_whether_its_connection_stays() {
    let upstream = Upstream::start(async |mut connection| {
        while let Some((head, _)) = connection.read_request().await {
            let answer = match &head {
                head if head.contains("/chunked") => "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                head if head.contains("/until-close") => "connection: close\r\n\r\nok",
                _ => "content-length: 2\r\n\r\nok",
            };
            connection.send(format!("HTTP/1.1 200 OK\r\n{answer}")).await;
            if answer.contains("close") {
                return;
            }
        }
    })
    .await;
    let mut gateway = Gateway::in_front_of(&[upstream.address], &[("DRAIN_WINDOW", "3")]).await;
    let get = |path: &str| format!("GET {path} HTTP/1.0\r\nhost: h\r\nconnection: Keep-Alive\r\n\r\n");
    let mut client = gateway.raw().await;
    for _ in 0..3 {
        client.send(get("/raw")).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.header("connection"), answer.body.as_str()),
            (Some("keep-alive"), "ok")
        );
    }
    // A body whose end only the connection's end can tell.
    for path in ["/raw/chunked", "/raw/until-close"] {
        let mut client = gateway.raw().await;
        client.send(get(path)).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.header("connection"), answer.body.as_str()),
            (Some("close"), "ok"),
            "{path}"
        );
        assert_eq!(answer.header("content-length"), None, "{path}");
        assert!(client.closed().await.is_empty(), "{path}");
    }
    gateway.process.signal(Signal::TERM);
    gateway.process.log_line("draining: not ready, still accepting").await;
    client.send(get("/raw")).await;
    let answer = client.response().await;
    assert_eq!(
        (answer.header("connection"), answer.body.as_str()),
        (Some("close"), "ok")
    );
    assert!(client.closed().await.is_empty());
    assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 0);
}

#[tokio::test]
async fn events_reach_the_client_as_they_happen() {
    let (next, events) = mpsc::unbounded_channel::<&'static str>();
    let events = Arc::new(Mutex::new(events));
    let upstream = Upstream::start(move |mut connection| {
        let events = Arc::clone(&events);
        async move {
            connection.read_request().await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            connection.send(head).await;
            while let Some(event) = events.lock().await.recv().await {
                connection.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
            }
            connection.send("0\r\n\r\n").await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut answer = gateway.get("/raw").await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    // The next event happens only when the last one has been read.
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        next.send(event).expect("the upstream listens");
        let part = tokio::time::timeout(Duration::from_secs(5), answer.chunk()).await;
        let part = part.expect("it comes at once").expect("whole").expect("an event");
        assert_eq!(part, event.as_bytes());
    }
    drop(next);
    assert_eq!(answer.chunk().await.expect("whole"), None);
}

#[tokio::test]
async fn a_gibibyte_passes_both_ways_in_little_memory() {
    let upstream = Upstream::start(async |mut connection| {
        while let Some(head) = connection.read_head().await {
            let part = vec![b'x'; MIB];
            if head.starts_with("POST") {
                let mut received = 0;
                for _ in 0..PARTS {
                    received += connection.read_body(MIB).await.len();
                }
                connection.answer(200, &received.to_string()).await;
            } else {
                let length = PARTS * MIB;
                connection
                    .send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"))
                    .await;
                for _ in 0..PARTS {
                    connection.send(&part).await;
                }
            }
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("MAX_BODY_BYTES", "2Gi"), ("WORKERS", "1")]).await;
    let mut client = gateway.raw().await;
    client
        .send(format!(
            "POST /raw HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n",
            PARTS * MIB
        ))
        .await;
    let part = vec![b'x'; MIB];
    for _ in 0..PARTS {
        client.send(&part).await;
    }
    assert_eq!(client.response().await.body, (PARTS * MIB).to_string());

    let mut answer = gateway.get("/raw").await;
    let mut received = 0;
    while let Some(part) = answer.chunk().await.expect("whole") {
        received += part.len();
    }
    assert_eq!(received, PARTS * MIB);
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process.id())).expect("Linux");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    let kib: usize = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kib < 64 * 1024, "{kib} KiB at most");
}
