//! Upstreams that fail, and what the client sees: an answer wherever there can be one.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Gateway, problem};
use shared::test_util::{DEADLINE, Upstream, eventually};

/// An address where nothing listens.
fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

/// An address that answers no connection attempt: its accept queue is full. Kept full by what is returned.
fn black_hole() -> (SocketAddr, Vec<socket2::Socket>) {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    listener.bind(&any.into()).expect("binds");
    listener.listen(0).expect("listens");
    let address = listener.local_addr().expect("an address").as_socket().expect("IPv4");
    let mut held = vec![listener];
    // A backlog of 0 still holds one; the attempts after that are dropped by the kernel.
    for _ in 0..3 {
        let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        filler.set_nonblocking(true).expect("non-blocking");
        let _in_progress = filler.connect(&address.into());
        held.push(filler);
    }
    (address, held)
}

#[tokio::test]
async fn an_upstream_that_is_down_is_a_502_that_names_no_internals() {
    let gateway = Gateway::in_front_of(&[closed_port()], &[]).await;
    let response = gateway.get("/predict").await;
    let id = response.headers()["x-request-id"].to_str().expect("text").to_owned();
    assert_eq!(
        problem(response).await,
        (502, "cannot connect to the upstream service".to_owned())
    );
    // The log has what the client may not see.
    let line = gateway
        .process
        .log_line_where("the failure", |line| line["message"] == "upstream failed")
        .await;
    assert_eq!(line["request_id"], id.as_str());
    assert!(line["error"].as_str().expect("text").contains("refused"), "{line}");
}

#[tokio::test]
async fn an_upstream_that_is_too_slow_is_a_504_after_the_request_timeout() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection.hang().await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("REQUEST_TIMEOUT", "0.3")]).await;
    let started = Instant::now();
    let answer = problem(gateway.get("/predict").await).await;
    assert_eq!(answer, (504, "the upstream service did not answer in time".to_owned()));
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(upstream.accepted(), 1, "a slow answer is no reason to ask twice");
}

#[tokio::test]
async fn a_client_that_stalls_in_its_body_is_told_so() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_request().await;
        connection.hang().await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("REQUEST_TIMEOUT", "0.3")]).await;
    // Short and kept for a resend; long and streamed.
    for length in [10, 100_000] {
        let mut client = gateway.raw().await;
        client
            .send(format!(
                "POST /predict HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\nxxx"
            ))
            .await;
        assert_eq!(client.response().await.status, 408, "{length} bytes announced");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_reaches_the_client_as_broken_and_is_logged() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection
            .send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
            .await;
        connection.reset();
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = gateway.raw().await;
    client.send("GET /predict HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let got = String::from_utf8(client.closed().await).expect("text");
    assert!(
        !got.contains("HTTP/1.1 200 OK\r\n") || !got.ends_with(&"x".repeat(100)),
        "{got}"
    );
    let line = gateway
        .process
        .log_line_where("the request", |line| line["aborted"] == true)
        .await;
    assert_eq!(line["path"], "/predict");
    let aborted = "gateway_responses_aborted_total{cluster=\"backend:5000\",route=\"/predict\"}";
    eventually("it is counted", DEADLINE, async || gateway.metric(aborted).await == 1.0).await;
}

#[tokio::test]
async fn an_answer_that_stalls_half_way_is_cut_after_the_request_timeout() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection
            .send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
            .await;
        connection.hang().await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("REQUEST_TIMEOUT", "0.3")]).await;
    let mut client = gateway.raw().await;
    client.send("GET /predict HTTP/1.1\r\nhost: h\r\n\r\n").await;
    client.closed().await;
    let line = gateway
        .process
        .log_line_where("the request", |line| line["aborted"] == true)
        .await;
    assert!(line["broke"].as_str().expect("text").contains("stalled"), "{line}");
}

#[tokio::test]
async fn with_one_of_two_down_every_request_of_any_method_is_answered() {
    let good = Upstream::start(|mut connection| async move { connection.answer_all("ok").await }).await;
    let gateway = Gateway::in_front_of(&[closed_port(), good.address], &[]).await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/raw").await.status(), 200);
        assert_eq!(gateway.post("/raw", "body").await.status(), 200);
    }
    let failures = gateway
        .metric("gateway_upstream_connect_failures_total{cluster=\"backend:5000\"}")
        .await;
    gateway.process.log_line("endpoint ejected").await;
    assert!(
        (1.0..=4.0).contains(&failures),
        "it is tried, and then it rests: {failures}"
    );
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_connections_costs_one_attempt_once() {
    let good = Upstream::start(|mut connection| async move { connection.answer_all("ok").await }).await;
    let (hole, _held) = black_hole();
    let environment = [
        ("CONNECT_ATTEMPT_TIMEOUT", "0.2"),
        ("CONNECT_TIMEOUT", "5"),
        ("WORKERS", "1"),
    ];
    let gateway = Gateway::in_front_of(&[hole, good.address], &environment).await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/raw").await.status(), 200);
    }
    let failures = gateway
        .metric("gateway_upstream_connect_failures_total{cluster=\"backend:5000\"}")
        .await;
    assert_eq!(failures, 1.0, "the others went straight to the endpoint that answers");
}

#[tokio::test]
async fn connecting_gives_up_when_its_time_is_over() {
    let (hole, _held) = black_hole();
    let environment = [("CONNECT_ATTEMPT_TIMEOUT", "0.1"), ("CONNECT_TIMEOUT", "0.4")];
    let gateway = Gateway::in_front_of(&[hole], &environment).await;
    let started = Instant::now();
    let answer = problem(gateway.get("/predict").await).await;
    assert_eq!(
        answer,
        (504, "connecting to the upstream service took too long".to_owned())
    );
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(350), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Closes each connection after its first answer without saying so, as a server that restarts does.
async fn closes_after_each_answer(seen: Arc<AtomicUsize>) -> Upstream {
    Upstream::start(move |mut connection| {
        let seen = Arc::clone(&seen);
        async move {
            if connection.read_request().await.is_some() {
                seen.fetch_add(1, Ordering::SeqCst);
                connection.answer(200, "ok").await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn no_post_is_lost_to_connections_that_close_after_each_answer() {
    let seen = Arc::new(AtomicUsize::new(0));
    let upstream = closes_after_each_answer(Arc::clone(&seen)).await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("MAX_ATTEMPTS", "3")]).await;
    for turn in 0..300 {
        let response = gateway.post("/predict", "{\"instances\":[1]}").await;
        assert_eq!(response.status(), 200, "turn {turn}\n{}", gateway.process.output());
    }
    assert_eq!(seen.load(Ordering::SeqCst), 300, "each was answered once");
}

/// Breaks the first connection after it has read a request, answers on the others.
async fn breaks_once(seen: Arc<AtomicUsize>) -> Upstream {
    Upstream::start(move |mut connection| {
        let seen = Arc::clone(&seen);
        async move {
            while let Some((_, body)) = connection.read_request().await {
                if seen.fetch_add(1, Ordering::SeqCst) == 0 {
                    return connection.reset();
                }
                connection.answer(200, &String::from_utf8_lossy(&body)).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_request_that_may_have_been_seen_is_sent_again_only_where_that_is_safe() {
    let cases = [
        ("GET", "/raw", 200, "the method is idempotent"),
        ("POST", "/predict", 200, "the route says so"),
        ("POST", "/raw", 502, "nobody says so"),
    ];
    for (method, path, expected, why) in cases {
        let seen = Arc::new(AtomicUsize::new(0));
        let upstream = breaks_once(Arc::clone(&seen)).await;
        let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
        let method: reqwest::Method = method.parse().expect("a method");
        let body = if method == reqwest::Method::POST { "payload" } else { "" };
        let request = gateway.client.request(method.clone(), gateway.url(path)).body(body);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), expected, "{method} {path}: {why}");
        if expected == 200 {
            assert_eq!(
                response.text().await.expect("text"),
                body,
                "{method} {path}: the same body"
            );
        }
        assert_eq!(
            seen.load(Ordering::SeqCst),
            if expected == 200 { 2 } else { 1 },
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn attempts_are_limited() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let upstream = Upstream::start(move |mut connection| {
        let counter = Arc::clone(&counter);
        async move {
            connection.read_head().await;
            counter.fetch_add(1, Ordering::SeqCst);
            connection.reset();
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("MAX_ATTEMPTS", "3")]).await;
    let answer = problem(gateway.get("/predict").await).await;
    assert_eq!(
        answer,
        (
            502,
            "the upstream service closed the connection before it answered".to_owned()
        )
    );
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_upstream_request_with_it() {
    let (left, mut has_left) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::start(move |mut connection| {
        let left = left.clone();
        async move {
            connection.read_head().await;
            // Reads on until the gateway closes the connection.
            connection.read_head().await;
            let _test_over = left.send(()).await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = gateway.raw().await;
    client.send("GET /predict HTTP/1.1\r\nhost: h\r\n\r\n").await;
    eventually("the upstream has the request", DEADLINE, async || {
        upstream.accepted() == 1
    })
    .await;
    drop(client);
    let closed = tokio::time::timeout(DEADLINE, has_left.recv()).await;
    assert_eq!(closed.expect("the gateway lets go"), Some(()));
    let line = gateway
        .process
        .log_line_where("the request", |line| line["status"] == 499)
        .await;
    assert_eq!(line["route"], "/predict");
    assert_eq!(gateway.metric("gateway_requests_in_flight").await, 0.0);
}

/// An upstream that says when it has a request, and answers it when the test says so.
struct Told {
    upstream: Upstream,
    has_request: tokio::sync::mpsc::Receiver<()>,
    answer: Arc<tokio::sync::Notify>,
}

impl Told {
    async fn start() -> Self {
        let (got, has_request) = tokio::sync::mpsc::channel(8);
        let answer = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&answer);
        let upstream = Upstream::start(move |mut connection| {
            let (got, told) = (got.clone(), Arc::clone(&told));
            async move {
                while connection.read_request().await.is_some() {
                    got.send(()).await.expect("the test runs");
                    told.notified().await;
                    connection.answer(200, "late").await;
                }
            }
        })
        .await;
        Self {
            upstream,
            has_request,
            answer,
        }
    }

    async fn has_request(&mut self) {
        let got = tokio::time::timeout(DEADLINE, self.has_request.recv()).await;
        assert_eq!(got.expect("the request comes"), Some(()));
    }
}

#[tokio::test]
async fn a_client_that_ends_its_sending_side_is_answered_where_the_setting_says_so() {
    let mut told = Told::start().await;
    let gateway = Gateway::in_front_of(&[told.upstream.address], &[("ANSWER_HALF_CLOSED", "true")]).await;
    for (requests, count) in [
        ("GET /predict HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(), 1),
        (
            "POST /predict HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
            1,
        ),
        ("GET /predict HTTP/1.0\r\n\r\n".to_owned(), 1),
        ("GET /predict HTTP/1.1\r\nhost: h\r\n\r\n".repeat(3), 3),
        // The beginning of one more, which will not become whole.
        ("GET /predict HTTP/1.1\r\nhost: h\r\n\r\nGET /pre".to_owned(), 1),
    ] {
        let mut client = gateway.raw().await;
        client.send(&requests).await;
        client.finish_sending().await;
        for _ in 0..count {
            told.has_request().await;
            told.answer.notify_one();
            let answer = client.response().await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "late"), "{requests:?}");
        }
        assert!(client.closed().await.is_empty(), "{requests:?}");
    }
    nothing_is_left_of_clients(&gateway).await;
}

#[tokio::test]
async fn a_client_that_left_is_found_by_its_answer_where_half_closed_ones_are_answered() {
    let mut told = Told::start().await;
    let gateway = Gateway::in_front_of(&[told.upstream.address], &[("ANSWER_HALF_CLOSED", "true")]).await;
    let mut client = gateway.raw().await;
    client.send("GET /predict HTTP/1.1\r\nhost: h\r\n\r\n").await;
    told.has_request().await;
    drop(client);
    told.answer.notify_one();
    nothing_is_left_of_clients(&gateway).await;
}

async fn nothing_is_left_of_clients(gateway: &Gateway) {
    eventually("no client is left", DEADLINE, async || {
        let connections = gateway.metric("gateway_connections_open").await;
        connections + gateway.metric("gateway_requests_in_flight").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_switches_protocols_unasked_is_a_502() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection
            .send("HTTP/1.1 101 Switching Protocols\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n")
            .await;
        connection.hang().await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    assert_eq!(problem(gateway.get("/predict").await).await.0, 502);
}

/// Both sides of every connection are gone: none is left to a client or an upstream that stopped moving.
async fn nothing_is_left(gateway: &Gateway) {
    let upstreams = "gateway_upstream_connections_open{cluster=\"backend:5000\"}";
    eventually("no connection is left", DEADLINE, async || {
        let clients = gateway.metric("gateway_connections_open").await;
        let in_flight = gateway.metric("gateway_requests_in_flight").await;
        clients + in_flight + gateway.metric(upstreams).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_stops_reading_is_a_504_and_holds_no_connection() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection.hang().await;
    })
    .await;
    let environment = [("REQUEST_TIMEOUT", "0.5"), ("KEEPALIVE_TIMEOUT", "1")];
    let gateway = Gateway::in_front_of(&[upstream.address], &environment).await;
    let mut client = gateway.raw().await;
    let length = 30_000_000;
    client
        .send(format!(
            "POST /raw HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    // The rest is thrown away after the answer, for a while; how much of it is taken does not matter here.
    let answer = client.response_while_sending(vec![b'x'; length]).await;
    assert_eq!(answer.status, 504, "it is the upstream that stalls, not the client");
    drop(client);
    nothing_is_left(&gateway).await;
}

#[tokio::test]
async fn an_early_answer_and_a_client_that_stalls_hold_no_connection() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection.answer(200, "early").await;
        // Until the gateway closes.
        connection.read_head().await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("KEEPALIVE_TIMEOUT", "1")]).await;
    let mut client = gateway.raw().await;
    client
        .send("POST /raw HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\nxxx")
        .await;
    assert_eq!(client.response().await.body, "early");
    // The client keeps its connection and sends nothing more.
    nothing_is_left(&gateway).await;
}

#[tokio::test]
async fn time_spent_on_connecting_is_not_held_against_the_client() {
    let good = Upstream::start(|mut connection| async move { connection.answer_all("ok").await }).await;
    let (hole, _held) = black_hole();
    let environment = [
        ("CONNECT_ATTEMPT_TIMEOUT", "0.6"),
        ("REQUEST_TIMEOUT", "0.3"),
        ("WORKERS", "1"),
    ];
    let gateway = Gateway::in_front_of(&[hole, good.address], &environment).await;
    for _ in 0..4 {
        assert_eq!(gateway.post("/raw", "xxx").await.status(), 200);
    }
}

#[tokio::test]
async fn a_client_can_read_a_502_in_the_middle_of_its_upload() {
    let gateway = Gateway::in_front_of(&[closed_port()], &[]).await;
    for (path, status) in [("/raw", 502), ("/health", 405)] {
        let mut client = gateway.raw().await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 4000000\r\n\r\n"
            ))
            .await;
        client.send(vec![b'x'; 4_000_000]).await;
        assert_eq!(client.response().await.status, status, "{path}");
    }
}

#[tokio::test]
async fn the_clients_own_slowness_is_not_the_gateways_time() {
    let upstream = Upstream::start(|mut connection| async move { connection.answer_all("ok").await }).await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = gateway.raw().await;
    client
        .send("POST /predict HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    // The gateway has begun with the request, so that it sees all of the time that the client lets pass.
    assert_eq!(client.read_exactly(25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("x").await;
    assert!(client.is_silent_for(Duration::from_millis(400)).await);
    client.send("x").await;
    assert_eq!(client.response().await.status, 200);
    let line = gateway
        .process
        .log_line_where("the request", |line| line["path"] == "/predict")
        .await;
    assert!(line["duration_ms"].as_f64().expect("a number") >= 400.0, "{line}");
    assert!(line["gateway_ms"].as_f64().expect("a number") < 200.0, "{line}");
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_502_that_says_so() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection.send("SSH-2.0-OpenSSH_9.7\r\n").await;
        connection.hang().await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let (status, detail) = problem(gateway.post("/raw", "x").await).await;
    assert_eq!(status, 502);
    assert!(detail.contains("not valid HTTP"), "{detail}");
}

#[tokio::test]
async fn an_endpoint_that_let_a_request_time_out_rests() {
    let silent = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection.hang().await;
    })
    .await;
    let good = Upstream::start(|mut connection| async move { connection.answer_all("ok").await }).await;
    let environment = [("REQUEST_TIMEOUT", "0.4"), ("WORKERS", "1")];
    let gateway = Gateway::in_front_of(&[silent.address, good.address], &environment).await;
    let mut statuses = Vec::new();
    // Well within the second that the first rest lasts.
    for _ in 0..10 {
        statuses.push(gateway.get("/predict").await.status().as_u16());
    }
    let timeouts = statuses.iter().filter(|status| **status == 504).count();
    assert_eq!(timeouts, 1, "{statuses:?}");
}
