//! WebSockets and other protocols that begin as a request: what is passed on, the tunnel after it, and its end.

use std::time::{Duration, Instant};

use crate::harness::Gateway;
use shared::test_util::{DEADLINE, RawClient, RawResponse, Signal, Upstream, UpstreamConnection, eventually};
use tokio::sync::{mpsc, watch};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: Echo\r\nx-key: k\r\n\r\n";
const ASK: &str =
    "GET /raw/chat HTTP/1.1\r\nhost: h\r\nconnection: Upgrade, x-hop\r\nupgrade: echo\r\nx-hop: 1\r\n\r\n";
const TUNNELS: &str = "gateway_tunnels_open{cluster=\"backend:5000\",route=\"/raw\"}";
const HELD: &str = "gateway_upstream_connections_open{cluster=\"backend:5000\"}";

/// An upstream that switches to a protocol that says what it hears.
async fn echoing() -> Upstream {
    Upstream::start(async |mut connection| {
        if connection.read_head().await.is_some() {
            connection.send(SWITCH).await;
            connection.echo().await;
        }
    })
    .await
}

/// The answer's head, and the client for what follows.
async fn ask(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> (RawResponse, RawClient) {
    let mut client = gateway.raw().await;
    client.send(bytes).await;
    let answer = client.response_to_head().await;
    (answer, client)
}

/// A client whose connection is a tunnel.
async fn tunnel(gateway: &Gateway) -> RawClient {
    let (answer, client) = ask(gateway, ASK).await;
    assert_eq!(answer.status, 101);
    client
}

async fn no_tunnel_is_open(gateway: &Gateway) {
    eventually("the tunnel has ended", DEADLINE, async || {
        gateway.metric(TUNNELS).await == 0.0 && gateway.metric(HELD).await == 0.0
    })
    .await;
}

/// The line of the tunnel's request in the access log.
async fn line(gateway: &Gateway) -> serde_json::Value {
    gateway
        .process
        .log_line_where("the request", |line| {
            line["message"] == "request" && line["status"] == 101
        })
        .await
}

#[tokio::test]
async fn bytes_pass_both_ways_after_the_answer_and_are_logged_at_the_end() {
    let (tell_head, mut heads) = mpsc::unbounded_channel();
    let upstream = Upstream::start(move |mut connection| {
        let tell_head = tell_head.clone();
        async move {
            let head = connection.read_head().await.expect("a request");
            tell_head.send(head).expect("the test listens");
            connection.send(SWITCH).await;
            connection.echo().await;
            connection.send("goodbye").await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let (answer, mut client) = ask(&gateway, ASK).await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("connection"), Some("upgrade"));
    assert_eq!(answer.header("upgrade"), Some("Echo"));
    assert_eq!(answer.header("x-key"), Some("k"));
    assert!(answer.header("x-request-id").is_some());
    assert!(answer.header("content-length").is_none() && answer.header("transfer-encoding").is_none());
    let head = heads.recv().await.expect("a head").to_ascii_lowercase();
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains("\r\nupgrade: echo\r\n"), "{head}");
    assert!(!head.contains("x-hop"), "{head}");

    // No HTTP, nor anything that would be valid as such.
    let words = [&b"\0\r\n\r\n\xff"[..], b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n"];
    for word in words {
        client.send(word).await;
        assert_eq!(client.read_exactly(word.len()).await, word);
    }
    assert_eq!(gateway.metric(TUNNELS).await, 1.0);
    client.finish_sending().await;
    assert_eq!(client.closed().await, b"goodbye");
    no_tunnel_is_open(&gateway).await;
    let line = line(&gateway).await;
    let heard = words.concat().len();
    assert_eq!(line["bytes_received"], heard, "{line}");
    assert_eq!(line["bytes"], heard + "goodbye".len(), "{line}");
    assert!(line["aborted"].is_null() && line["broke"].is_null(), "{line}");
    let requests = "gateway_requests_total{cluster=\"backend:5000\",code_class=\"1xx\",route=\"/raw\"}";
    assert_eq!(gateway.metric(requests).await, 1.0);
}

#[tokio::test]
async fn what_either_side_sends_early_is_not_lost() {
    let upstream = Upstream::start(async |mut connection| {
        connection.read_head().await.expect("a request");
        connection.send(format!("{SWITCH}upstream first")).await;
        connection.echo().await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    // In one piece with the request, behind a first request, and cut in the middle of the head.
    let early = "\r\nclient first";
    let (answer, mut client) = ask(&gateway, format!("{ASK}{early}")).await;
    assert_eq!(answer.status, 101);
    assert_eq!(client.read_exactly(28).await, b"upstream first\r\nclient first");

    let mut client = gateway.raw().await;
    client.send("GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await;
    client.send(&ASK[..20]).await;
    assert_eq!(client.response().await.status, 200);
    client.send(format!("{}{early}", &ASK[20..])).await;
    assert_eq!(client.response_to_head().await.status, 101);
    assert_eq!(client.read_exactly(28).await, b"upstream first\r\nclient first");
}

#[tokio::test]
async fn a_side_that_has_ended_still_hears_the_other() {
    let upstream = Upstream::start(async |mut connection| {
        connection.read_head().await.expect("a request");
        connection.send(SWITCH).await;
        connection.finish_sending().await;
        assert_eq!(connection.read_body(5).await, b"still");
        connection.hang().await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = tunnel(&gateway).await;
    assert!(client.closed().await.is_empty(), "the upstream's end is passed on");
    client.send("still").await;
    assert_eq!(gateway.metric(TUNNELS).await, 1.0);
    client.finish_sending().await;
    no_tunnel_is_open(&gateway).await;
}

#[tokio::test]
async fn whoever_vanishes_ends_the_tunnel() {
    let upstream = echoing().await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    tunnel(&gateway).await.reset();
    no_tunnel_is_open(&gateway).await;
    let line = line(&gateway).await;
    assert_eq!(line["aborted"], true, "{line}");
    let broke = line["broke"].as_str().expect("a reason");
    assert!(broke.starts_with("the client broke the tunnel"), "{line}");

    let upstream = Upstream::start(async |mut connection: UpstreamConnection| {
        connection.read_head().await.expect("a request");
        connection.send(SWITCH).await;
        connection.read_body(1).await;
        connection.reset();
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = tunnel(&gateway).await;
    client.send("x").await;
    client.closed().await;
    no_tunnel_is_open(&gateway).await;
}

#[tokio::test]
async fn a_side_that_does_not_read_slows_the_other_down() {
    let (tell, mut sent) = watch::channel(0);
    let upstream = Upstream::start(move |mut connection| {
        let tell = tell.clone();
        async move {
            connection.read_head().await.expect("a request");
            connection.send(SWITCH).await;
            for _ in 0..1000 {
                connection.send([b'x'; 100_000]).await;
                tell.send_modify(|sent| *sent += 100_000);
            }
            connection.finish_sending().await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = tunnel(&gateway).await;
    sent.changed().await.expect("the upstream sends");
    // The kernel's buffers fill up, and then nothing moves.
    while tokio::time::timeout(Duration::from_millis(500), sent.changed())
        .await
        .is_ok()
    {}
    let stuck_at = *sent.borrow();
    assert!(stuck_at < 50_000_000, "{stuck_at} bytes are under way");
    assert!(gateway.metric("process_resident_memory_bytes").await < 60e6);
    assert_eq!(client.closed().await.len(), 100_000_000);
}

#[tokio::test]
async fn a_tunnel_that_is_idle_for_too_long_ends() {
    let upstream = echoing().await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("TUNNEL_IDLE_TIMEOUT", "0.5")]).await;
    let mut client = tunnel(&gateway).await;
    let began = Instant::now();
    for _ in 0..10 {
        client.send("x").await;
        client.read_exactly(1).await;
        assert!(client.is_silent_for(Duration::from_millis(100)).await);
    }
    assert!(began.elapsed() > Duration::from_millis(900), "what moves is not idle");
    assert!(client.closed().await.is_empty());
    let line = line(&gateway).await;
    assert_eq!(line["broke"], "the tunnel was idle for too long", "{line}");
    no_tunnel_is_open(&gateway).await;
}

#[tokio::test]
async fn a_switch_that_was_not_asked_for_is_no_answer() {
    for (answer, request) in [
        (SWITCH, ASK.replace("upgrade: echo", "upgrade: websocket")),
        (SWITCH, ASK.replace("upgrade: echo\r\n", "")),
        (SWITCH, ASK.replace("Upgrade, x-hop", "x-hop")),
        (SWITCH, ASK.replace("HTTP/1.1", "HTTP/1.0")),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n",
            ASK.to_owned(),
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo, other\r\n\r\n",
            ASK.to_owned(),
        ),
    ] {
        let upstream = Upstream::start(move |mut connection| async move {
            connection.read_head().await.expect("a request");
            connection.send(answer).await;
            connection.hang().await;
        })
        .await;
        let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
        let mut client = gateway.raw().await;
        client.send(&request).await;
        let response = client.response().await;
        assert_eq!(response.status, 502, "{request:?}");
        assert!(response.body.contains("switched protocols"), "{response:?}");
        no_tunnel_is_open(&gateway).await;
    }
}

#[tokio::test]
async fn protocols_that_carry_requests_past_the_routes_are_not_asked_for() {
    let upstream = Upstream::start(async |mut connection| {
        while let Some(head) = connection.read_head().await {
            connection.answer(200, &head.to_ascii_lowercase()).await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    for protocol in ["h2c", "websocket, h2c", "TLS/1.2", "HTTP/2.0"] {
        let mut client = gateway.raw().await;
        let settings = "connection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA";
        let head = format!("GET /raw HTTP/1.1\r\nhost: h\r\nupgrade: {protocol}\r\n{settings}\r\n\r\n");
        client.send(head).await;
        let response = client.response().await;
        assert_eq!(response.status, 200);
        for stripped in ["upgrade", "http2-settings", "connection"] {
            assert!(
                !response.body.contains(&format!("\r\n{stripped}:")),
                "{}",
                response.body
            );
        }
    }
}

#[tokio::test]
async fn after_a_refused_upgrade_the_connection_is_http_as_before() {
    let upstream = Upstream::start(async |mut connection| {
        let head = connection.read_head().await.expect("a request");
        assert!(head.contains("/chat"), "{head}");
        connection.answer(426, "not that one").await;
        connection.answer_all("after it").await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let next = "GET /raw HTTP/1.1\r\nhost: h\r\n\r\n";
    let mut client = gateway.raw().await;
    // Behind the request are another and the beginning of a third.
    client.send(format!("{ASK}{next}{}", &next[..10])).await;
    let refused = client.response().await;
    assert_eq!((refused.status, refused.body.as_str()), (426, "not that one"));
    assert_eq!(client.response().await.body, "after it");
    client.send(&next[10..]).await;
    assert_eq!(client.response().await.body, "after it");
    // One that is answered here, by the gateway itself.
    let own = ASK.replace("/raw/chat", "/health");
    client.send(format!("{own}{own}{next}")).await;
    for expected in ["Gateway OK\n", "Gateway OK\n", "after it"] {
        assert_eq!(client.response().await.body, expected);
    }
}

#[tokio::test]
async fn what_follows_a_refused_upgrade_is_judged_as_any_request() {
    let upstream = Upstream::start(async |mut connection| {
        while connection.read_request().await.is_some() {
            connection.answer(400, "no").await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    for smuggled in [
        "POST /raw HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /raw HTTP/1.1\nhost: h\n\n",
        "\0\0\0\x04ping",
    ] {
        let mut client = gateway.raw().await;
        client.send(format!("{ASK}{smuggled}")).await;
        assert_eq!(client.response().await.body, "no");
        let refusal = client.response().await;
        assert_eq!(refusal.status, 400, "{smuggled:?}");
        assert_eq!(refusal.header("content-type"), Some("application/problem+json"));
        assert!(client.closed().await.is_empty());
    }
}

#[tokio::test]
async fn a_request_with_a_body_may_ask_and_its_body_is_sent_once() {
    let upstream = Upstream::start(async |mut connection| {
        let (head, body) = connection.read_request().await.expect("a request");
        match connection.number {
            // It has seen the request: no other may see it again, though the route calls it idempotent.
            0 => connection.reset(),
            _ => {
                assert!(head.to_ascii_lowercase().contains("upgrade: echo"), "{head}");
                connection.send(SWITCH).await;
                connection.send(body).await;
                connection.echo().await;
            }
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let body = "{\"cmd\":\"sh\"}";
    let ask_with = ASK
        .replace("GET /raw", "POST /predict")
        .replace("\r\n\r\n", &format!("\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let (answer, _) = ask(&gateway, &ask_with).await;
    assert_eq!(answer.status, 502);
    assert_eq!(upstream.accepted(), 1);
    let (answer, mut client) = ask(&gateway, format!("{ask_with}early")).await;
    assert_eq!(answer.status, 101);
    assert_eq!(
        client.read_exactly(body.len() + 5).await,
        format!("{body}early").as_bytes()
    );
}

#[tokio::test]
async fn a_switch_before_the_body_has_ended_is_no_answer() {
    let upstream = Upstream::start(async |mut connection| {
        connection.read_head().await.expect("a request");
        connection.send(SWITCH).await;
        connection.hang().await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = gateway.raw().await;
    let head = ASK.replace("GET", "POST");
    client
        .send(head.replace("\r\n\r\n", "\r\ncontent-length: 10\r\n\r\nhalf"))
        .await;
    assert_eq!(client.response().await.status, 502);
}

#[tokio::test]
async fn each_tunnel_holds_a_place_at_its_endpoint() {
    let upstream = echoing().await;
    let yaml = crate::harness::yaml(&[upstream.address]);
    let yaml = yaml.replace("routes:", "    max_concurrency: 2\n    max_queue: 0\nroutes:");
    let gateway = Gateway::start(&yaml, &[]).await;
    let (first, _second) = (tunnel(&gateway).await, tunnel(&gateway).await);
    let (third, _) = ask(&gateway, ASK).await;
    assert_eq!(third.status, 503);
    drop(first);
    eventually("its place is free", DEADLINE, async || {
        ask(&gateway, ASK).await.0.status == 101
    })
    .await;
}

#[tokio::test]
async fn a_drain_lets_tunnels_go_on_and_cuts_them_at_its_end() {
    let upstream = echoing().await;
    let environment = [("DRAIN_WINDOW", "0.5"), ("DRAIN_TIMEOUT", "1")];
    let mut gateway = Gateway::in_front_of(&[upstream.address], &environment).await;
    let mut client = tunnel(&gateway).await;
    gateway.process.signal(Signal::TERM);
    let began = Instant::now();
    gateway.process.log_line("draining: not ready, still accepting").await;
    // New ones too, in the window; and none of them is told that its connection closes.
    let (answer, mut late) = ask(&gateway, ASK).await;
    assert_eq!((answer.status, answer.header("connection")), (101, Some("upgrade")));
    gateway
        .process
        .log_line("closing the listener, finishing requests")
        .await;
    for client in [&mut client, &mut late] {
        client.send("alive").await;
        assert_eq!(client.read_exactly(5).await, b"alive");
    }
    let finished = gateway.process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0, "{}", finished.stdout);
    assert!(
        finished.stdout.contains("the drain timeout passed"),
        "{}",
        finished.stdout
    );
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(1500) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert!(client.closed().await.is_empty() && late.closed().await.is_empty());
}

#[tokio::test]
async fn a_drain_ends_when_the_last_tunnel_does() {
    let upstream = echoing().await;
    let mut gateway = Gateway::in_front_of(&[upstream.address], &[("DRAIN_TIMEOUT", "60")]).await;
    let mut client = tunnel(&gateway).await;
    gateway.process.signal(Signal::TERM);
    gateway
        .process
        .log_line("closing the listener, finishing requests")
        .await;
    client.send("bye").await;
    client.finish_sending().await;
    assert_eq!(client.closed().await, b"bye");
    let finished = gateway.process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0);
    assert!(finished.stdout.contains("\"drained\""), "{}", finished.stdout);
}

#[tokio::test]
async fn what_follows_a_declined_upgrade_while_its_answer_comes_is_read() {
    let (tell, told) = watch::channel(false);
    let upstream = Upstream::start(move |mut connection| {
        let mut told = told.clone();
        async move {
            if connection.number == 0 {
                connection.read_head().await;
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhal").await;
                // The rest comes when the client has sent its next request.
                told.wait_for(|told| *told).await.expect("the test lives");
                connection.send("ves").await;
            }
            while connection.read_request().await.is_some() {
                connection.answer(200, "next").await;
            }
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let (answer, mut client) = ask(&gateway, ASK).await;
    assert_eq!(answer.status, 200);
    assert_eq!(client.read_exactly(3).await, b"hal");
    client.send("GET /raw HTTP/1.1\r\nhost: h\r\n\r\n").await;
    // It is read by now, or will be: neither may be lost.
    assert!(client.is_silent_for(Duration::from_millis(50)).await);
    tell.send(true).expect("the upstream waits");
    assert_eq!(client.read_exactly(3).await, b"ves");
    assert_eq!(client.response().await.body, "next");
}
