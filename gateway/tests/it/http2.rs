//! HTTP/2 without TLS from the client: many requests on one connection, and the ends of such a connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shared::test_util::{DEADLINE, Signal, Upstream, eventually};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::{Gateway, yaml};

type Body = BoxBody<Bytes, Infallible>;

/// One HTTP/2 connection to the gateway.
struct Client {
    sender: SendRequest<Body>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.expect("connects")
    }

    async fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        Self::with_window(address, 1 << 20).await
    }

    /// With so many bytes that the gateway may send for one request before they are read.
    async fn with_window(address: SocketAddr, window: u32) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(window)
            .initial_connection_window_size(1 << 24);
        let handshake = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(std::io::Error::other)?;
        Ok(Self {
            sender,
            connection: tokio::spawn(connection),
        })
    }

    async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        let sent = timeout(DEADLINE, self.sender.send_request(request)).await;
        sent.expect("an answer in time").expect("an answer")
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        text(self.send(get(path)).await).await
    }

    /// Waits until the gateway has ended the connection.
    async fn ended(self) {
        let ended = timeout(DEADLINE, self.connection).await;
        ended
            .expect("it ends in time")
            .expect("no panic")
            .expect("it ends in order");
    }
}

fn get(path: &str) -> Request<Body> {
    let request = Request::get(format!("http://lab.example:8080{path}"));
    request.body(Full::default().boxed()).expect("a request")
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Body> {
    let request = Request::post(format!("http://lab.example:8080{path}"));
    request.body(Full::from(body.into()).boxed()).expect("a request")
}

async fn text(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let collected = timeout(DEADLINE, response.into_body().collect()).await;
    let body = collected.expect("a body in time").expect("a whole body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// An upstream that answers each request with its body, and tells what heads it gets.
async fn echo() -> (Upstream, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let upstream = Upstream::start(move |mut connection| {
        let tell = tell.clone();
        async move {
            while let Some((head, body)) = connection.read_request().await {
                // A test that does not look has let go of its end.
                let _unheard = tell.send(head);
                connection.answer(200, &String::from_utf8_lossy(&body)).await;
            }
        }
    })
    .await;
    (upstream, told)
}

#[tokio::test]
async fn a_request_over_http2_reaches_an_http1_upstream_as_one_of_its_own() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some((head, _)) = connection.read_request().await {
            let length = head.len();
            connection
                .send(format!(
                    "HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: x\r\ncontent-length: {length}\r\n\r\n{head}"
                ))
                .await;
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = Client::connect(gateway.address).await;
    let mut request = get("/predict/x?y=1");
    let headers = request.headers_mut();
    for (name, value) in [
        ("te", "trailers"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-forwarded-for", "203.0.113.9"),
    ] {
        headers.append(name, value.parse().expect("a value"));
    }
    let response = client.send(request).await;
    assert_eq!(response.version(), Version::HTTP_2);
    let id = response.headers()["x-request-id"].to_str().expect("text").to_owned();
    for hop in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "x-hop",
    ] {
        assert!(!response.headers().contains_key(hop), "{hop}");
    }
    let (status, head) = text(response).await;
    assert_eq!(status, 200);
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("get /x?y=1 http/1.1\r\n"), "{head}");
    for line in [
        "host: lab.example:8080",
        "cookie: a=1; b=2",
        "x-forwarded-for: 203.0.113.9, 127.0.0.1",
        "x-forwarded-proto: http",
        &format!("x-request-id: {id}"),
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    assert!(
        !head.contains("\r\nte:") && !head.contains("\r\ntransfer-encoding:"),
        "{head}"
    );
    let line = gateway
        .process
        .log_line_where("the request", |line| line["request_id"] == id.as_str())
        .await;
    assert_eq!((&line["protocol"], &line["status"]), (&"HTTP/2.0".into(), &200.into()));
}

#[tokio::test]
async fn to_whom_a_request_speaks_is_said_once() {
    let (upstream, _heads) = echo().await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = Client::connect(gateway.address).await;
    let with = |uri: &str, hosts: &[&str]| {
        let mut request = Request::get(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(Full::default().boxed()).expect("a request")
    };
    for (request, status) in [
        (with("http://a/raw", &[]), 200),
        (with("http://a:80/raw", &["A:80"]), 200),
        (with("http://a/raw", &["b"]), 400),
        (with("http://a/raw", &["a", "a"]), 400),
        (with("http://a/raw", &["a", "b"]), 400),
        (with("http://user@a/raw", &[]), 400),
    ] {
        let shown = format!("{request:?}");
        let (answered, body) = text(client.send(request).await).await;
        assert_eq!(answered, status, "{shown}");
        assert_eq!(body.contains("\"field\":\"host\""), status == 400, "{body}");
    }
    // A path with two readings is none here either.
    assert_eq!(client.get("/predict/../raw").await.0, 400);
    assert_eq!(client.get("/nope").await.0, 404);
}

#[tokio::test]
async fn many_requests_at_once_share_a_connection_and_each_gets_its_own_answer() {
    let (upstream, _heads) = echo().await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("HTTP2_MAX_STREAMS", "16")]).await;
    let mut client = Client::connect(gateway.address).await;
    // With the first answer the client knows how many may be under way; the others wait with it.
    assert_eq!(client.get("/predict").await.0, 200);
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..300 {
        let mut sender = client.sender.clone();
        requests.spawn(async move {
            // Below and above what is kept for a resend.
            let body = format!("{number} ").repeat(if number % 10 == 0 { 30_000 } else { 1 });
            sender.ready().await.expect("the connection is open");
            let response = sender
                .send_request(post("/predict", body.clone()))
                .await
                .expect("an answer");
            assert_eq!(text(response).await, (200, body));
        });
    }
    assert_eq!(
        timeout(DEADLINE, requests.join_all()).await.expect("all in time").len(),
        300
    );
    assert_eq!(gateway.metric("gateway_connections_accepted_total").await, 1.0);
}

#[tokio::test]
async fn bodies_stream_both_ways_frame_by_frame() {
    // Each part is answered when it has come, before the next is sent.
    let upstream = Upstream::start(|mut connection| async move {
        connection.read_head().await;
        connection
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        for _ in 0..3 {
            let chunk = connection.read_body("4\r\npart\r\n".len()).await;
            connection.send(chunk).await;
        }
        connection.send("0\r\nx-sum: 3\r\n\r\n").await;
        connection.hang().await;
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[]).await;
    let mut client = Client::connect(gateway.address).await;
    let (mut upload, body) = Channel::<Bytes, Infallible>::new(1);
    let mut request = Request::post("http://h/raw").body(body.boxed()).expect("a request");
    request.headers_mut().insert("te", "trailers".parse().expect("a value"));
    let mut answer = client.send(request).await.into_body();
    for _ in 0..3 {
        upload
            .send_data(Bytes::from_static(b"part"))
            .await
            .expect("the gateway reads");
        let frame = timeout(DEADLINE, answer.frame())
            .await
            .expect("in time")
            .expect("a frame");
        assert_eq!(frame.expect("whole").into_data().expect("data"), "part");
    }
    drop(upload);
    let end = timeout(DEADLINE, answer.frame())
        .await
        .expect("in time")
        .expect("the trailers");
    assert_eq!(end.expect("whole").into_trailers().expect("trailers")["x-sum"], "3");
}

#[tokio::test]
async fn large_bodies_pass_in_little_memory() {
    const SIZE: usize = 200 << 20;
    let upstream = Upstream::start(|mut connection| async move {
        while connection.read_head().await.is_some() {
            let mut left = SIZE;
            while left > 0 {
                left -= connection.read_body(left.min(1 << 20)).await.len();
            }
            connection
                .send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n"))
                .await;
            let part = vec![b'x'; 1 << 20];
            for _ in 0..SIZE >> 20 {
                connection.send(&part).await;
            }
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("MAX_BODY_BYTES", "1Gi")]).await;
    let mut client = Client::connect(gateway.address).await;
    let (mut upload, body) = Channel::<Bytes, Infallible>::new(1);
    let request = Request::post("http://h/raw").header("content-length", SIZE);
    let sending = tokio::spawn(async move {
        let part = Bytes::from(vec![b'x'; 1 << 20]);
        for _ in 0..SIZE >> 20 {
            upload.send_data(part.clone()).await.expect("the gateway reads");
        }
    });
    let mut answer = client
        .send(request.body(body.boxed()).expect("a request"))
        .await
        .into_body();
    sending.await.expect("all of it is sent");
    let mut got = 0;
    while let Some(frame) = answer.frame().await {
        got += frame.expect("whole").into_data().expect("data").len();
    }
    assert_eq!(got, SIZE);
    let resident = gateway.metric("process_resident_memory_bytes").await;
    assert!(resident < 64e6, "{resident} bytes");
}

#[tokio::test]
async fn a_client_that_opens_no_window_has_its_stream_reset_and_others_go_on() {
    let upstream = Upstream::start(|mut connection| async move {
        while let Some(head) = connection.read_head().await {
            if head.starts_with("GET /raw/small") {
                connection.answer(200, "small").await;
                continue;
            }
            connection
                .send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
                .await;
            let part = vec![b'x'; 1 << 20];
            for _ in 0..100 {
                connection.send(&part).await;
            }
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&[upstream.address], &[("SEND_TIMEOUT", "0.3"), ("WORKERS", "1")]).await;
    let mut client = Client::with_window(gateway.address, 65_535).await.expect("connects");
    let unread = client.send(get("/raw/large")).await;
    let cut = async || gateway.metric("gateway_responses_stalled_total").await == 1.0;
    eventually("the stream is reset", DEADLINE, cut).await;
    let open = "gateway_endpoint_requests_in_flight";
    eventually("its upstream is let go", DEADLINE, async || {
        gateway.metric(open).await == 0.0
    })
    .await;
    assert_eq!(client.get("/raw/small").await, (200, "small".to_owned()));
    assert!(unread.into_body().collect().await.is_err(), "the answer broke off");
    assert_eq!(gateway.metric("gateway_connections_accepted_total").await, 1.0);
}

#[tokio::test]
async fn headers_over_the_limit_are_a_431_and_the_connection_goes_on() {
    let gateway = Gateway::start("{}", &[("MAX_HEADER_BYTES", "8Ki")]).await;
    let mut client = Client::connect(gateway.address).await;
    let mut request = get("/health");
    request
        .headers_mut()
        .insert("x", "x".repeat(10_000).parse().expect("a value"));
    let (status, body) = text(client.send(request).await).await;
    assert_eq!(status, 431);
    assert!(body.contains("\"limit\":8192"), "{body}");
    assert_eq!(client.get("/health").await.0, 200);
}

#[tokio::test]
async fn an_idle_connection_is_ended_in_order() {
    let gateway = Gateway::start("{}", &[("KEEPALIVE_TIMEOUT", "0.3")]).await;
    let mut client = Client::connect(gateway.address).await;
    assert_eq!(client.get("/health").await.0, 200);
    client.ended().await;
    // So is one that says no more than that it speaks HTTP/2.
    let mut silent = gateway.raw().await;
    silent.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    silent.closed().await;
    eventually("both are gone", DEADLINE, async || {
        gateway.metric("gateway_connections_open").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_drain_ends_connections_and_loses_no_request() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::start(move |mut connection| {
        let asked = Arc::clone(&counter);
        async move {
            while connection.read_request().await.is_some() {
                asked.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                connection.answer(200, "ok").await;
            }
        }
    })
    .await;
    let yaml = yaml(&[upstream.address]);
    let mut gateway = Gateway::start(&yaml, &[("DRAIN_WINDOW", "1")]).await;
    let (answered, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (address, answered, over) = (gateway.address, Arc::clone(&answered), Arc::clone(&over));
        clients.spawn(async move {
            // A new connection for each one that ends, until there is none to be had.
            while let Ok(client) = Client::try_connect(address).await {
                let mut streams = tokio::task::JoinSet::new();
                for _ in 0..8 {
                    let mut sender = client.sender.clone();
                    let (answered, over) = (Arc::clone(&answered), Arc::clone(&over));
                    streams.spawn(async move {
                        while sender.ready().await.is_ok() {
                            match sender.try_send_request(post("/raw", "x")).await {
                                Ok(response) => {
                                    assert_eq!(text(response).await, (200, "ok".to_owned()));
                                    answered.fetch_add(1, Ordering::SeqCst);
                                }
                                // Handed back, or not taken up any more after GOAWAY (RFC 9113 section 6.8).
                                Err(mut error) => {
                                    let unsent =
                                        error.take_message().is_some() || format!("{error:?}").contains("GoAway");
                                    assert!(unsent, "a request was lost: {error:?}");
                                    break;
                                }
                            }
                            if over.load(Ordering::SeqCst) {
                                break;
                            }
                        }
                    });
                }
                streams.join_all().await;
                if over.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
    }
    let enough = async || answered.load(Ordering::SeqCst) > 500;
    eventually("the load is on", DEADLINE, enough).await;
    gateway.process.signal(Signal::TERM);
    gateway.process.log_line("draining: not ready, still accepting").await;
    let before = answered.load(Ordering::SeqCst);
    gateway
        .process
        .log_line("closing the listener, finishing requests")
        .await;
    assert!(
        answered.load(Ordering::SeqCst) > before + 50,
        "the window is for working"
    );
    over.store(true, Ordering::SeqCst);
    timeout(DEADLINE, clients.join_all()).await.expect("every client ends");
    let finished = gateway.process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0);
    assert!(finished.stdout.contains("\"drained\""), "{finished:?}");
    let answered = answered.load(Ordering::SeqCst);
    assert_eq!(
        asked.load(Ordering::SeqCst),
        answered,
        "what was taken up was answered, and nothing else was"
    );
}

#[tokio::test]
async fn a_request_in_flight_outlives_the_listener() {
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = Upstream::start(move |mut connection| {
        let mut released = released.clone();
        async move {
            connection.read_request().await;
            released
                .wait_for(|released| *released)
                .await
                .expect("the test is there");
            connection.answer(200, "finished").await;
        }
    })
    .await;
    let mut gateway = Gateway::in_front_of(&[upstream.address], &[("DRAIN_WINDOW", "0")]).await;
    let client = Client::connect(gateway.address).await;
    let idle = Client::connect(gateway.address).await;
    let mut sender = client.sender.clone();
    let waiting = tokio::spawn(async move { text(sender.send_request(get("/raw")).await.expect("an answer")).await });
    eventually("it is in flight", DEADLINE, async || upstream.accepted() == 1).await;
    gateway.process.signal(Signal::TERM);
    gateway
        .process
        .log_line("closing the listener, finishing requests")
        .await;
    // A connection without a request is let go, one with a request finishes it.
    idle.ended().await;
    release.send(true).expect("the upstream is there");
    assert_eq!(waiting.await.expect("no panic"), (200, "finished".to_owned()));
    client.ended().await;
    assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 0);
}
