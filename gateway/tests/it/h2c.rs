//! HTTP/2 towards upstreams, and gRPC through the gateway: streams, trailers, cancellation, and what may be sent again.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream, client};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use shared::test_util::{DEADLINE, DnsServer, Process, Signal, Upstream, UpstreamConnection, eventually};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::common::{BINARY, Gateway, variables};

const OPEN: &str = "gateway_upstream_connections_open{cluster=\"backend:5000\"}";

type Connection = server::Connection<TcpStream, Bytes>;

/// A server that speaks HTTP/2 by a script for each connection.
struct H2Upstream {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl H2Upstream {
    async fn start<F, S>(builder: server::Builder, script: F) -> Self
    where
        F: Fn(usize, Connection) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut scripts = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let (builder, script) = (builder.clone(), script.clone());
                scripts.spawn(async move {
                    if let Ok(connection) = builder.handshake(stream).await {
                        script(number, connection).await;
                    }
                });
            }
        });
        Self {
            address,
            accepted,
            task,
        }
    }

    /// Each request by a script of its own.
    async fn answering<F, S>(answer: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> S + Clone + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::start(server::Builder::new(), move |_, connection| {
            serve(connection, answer.clone())
        })
        .await
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for H2Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<F, S>(mut connection: Connection, answer: F)
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let mut answers = tokio::task::JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        answers.spawn(answer(request, respond));
    }
}

async fn whole(body: &mut RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(part)) = body.data().await {
        // A connection that has gone needs no window.
        let _gone = body.flow_control().release_capacity(part.len());
        bytes.extend_from_slice(&part);
    }
    bytes
}

fn head(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).expect("a head")
}

fn grpc_head() -> Response<()> {
    let head = Response::builder().header("content-type", "application/grpc");
    head.body(()).expect("a head")
}

fn grpc_status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static(code))])
}

fn yaml(endpoints: &[SocketAddr], more: &str) -> String {
    let yaml = crate::common::yaml(endpoints);
    yaml.replace("routes:", &format!("    protocol: h2c\n{more}routes:"))
}

/// A gateway, with one worker, whose cluster is a name with one address, as a Service has it.
async fn gateway_behind_name(upstream: &H2Upstream, service_connections: usize) -> (Gateway, String, DnsServer) {
    let server = DnsServer::start().await;
    server.set("h2c.test.", &[Ipv4Addr::LOCALHOST]);
    let name = format!("h2c.test.:{}", upstream.address.port());
    let yaml = format!(
        "clusters: [{{ name: \"{name}\", protocol: h2c, service_connections: {service_connections} }}]
routes: [{{ prefix: /raw, cluster: \"{name}\" }}]\n"
    );
    let servers = server.address.to_string();
    let gateway = Gateway::start(&yaml, &[("DNS_SERVERS", &servers), ("WORKERS", "1")]).await;
    eventually("the name resolves", DEADLINE, async || {
        gateway.metric("gateway_cluster_endpoints").await == 1.0
    })
    .await;
    (gateway, name, server)
}

/// With one worker, so that connections can be counted.
async fn gateway(endpoints: &[SocketAddr]) -> Gateway {
    Gateway::start(&yaml(endpoints, ""), &[("WORKERS", "1")]).await
}

/// A client's connection to the gateway.
async fn connect(gateway: &Gateway) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(gateway.address).await.expect("connects");
    let (sender, connection) = client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender.ready().await.expect("ready")
}

fn call(path: &str) -> Request<()> {
    let request = Request::post(format!("http://h{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers");
    request.body(()).expect("a request")
}

/// A call whose messages are still to be sent.
async fn open(gateway: &Gateway, request: Request<()>) -> (client::ResponseFuture, SendStream<Bytes>) {
    connect(gateway).await.send_request(request, false).expect("sent")
}

async fn answer_of(response: client::ResponseFuture) -> Response<RecvStream> {
    let answered = timeout(DEADLINE, response).await;
    answered.expect("an answer in time").expect("an answer")
}

/// A whole call of one message: the answer's head, its message and its trailers.
async fn unary(gateway: &Gateway, request: Request<()>, message: &str) -> (Response<()>, String, HeaderMap) {
    let (response, mut stream) = open(gateway, request).await;
    stream
        .send_data(Bytes::copy_from_slice(message.as_bytes()), true)
        .expect("sent");
    let (head, mut body) = answer_of(response).await.into_parts();
    let message = String::from_utf8(whole(&mut body).await).expect("text");
    let trailers = body.trailers().await.expect("an end").unwrap_or_default();
    (Response::from_parts(head, ()), message, trailers)
}

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
async fn messages_of_both_sides_pass_one_by_one() {
    // The upstream answers each message before the next is sent, and so would wait for ever if one were held back.
    let upstream = H2Upstream::answering(|mut request, mut respond| async move {
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        while let Some(Ok(message)) = request.body_mut().data().await {
            request
                .body_mut()
                .flow_control()
                .release_capacity(message.len())
                .expect("open");
            if !message.is_empty() {
                stream.send_data(message, false).expect("sent");
            }
        }
        stream.send_data(Bytes::from_static(b"over"), false).expect("sent");
        stream.send_trailers(grpc_status("0")).expect("sent");
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/chat")).await;
    let mut body = answer_of(response).await.into_body();
    for number in 0..20 {
        let message = Bytes::from(format!("message {number}"));
        stream.send_data(message.clone(), false).expect("sent");
        let heard = timeout(DEADLINE, body.data()).await.expect("in time");
        assert_eq!(heard.expect("a message").expect("whole"), message);
    }
    stream.send_data(Bytes::new(), true).expect("sent");
    assert_eq!(whole(&mut body).await, b"over");
    assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("0")));
}

#[tokio::test]
async fn a_call_that_its_client_cancels_is_cancelled_at_the_upstream() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |mut request, mut respond| {
        let tell = tell.clone();
        async move {
            let answers = request.uri().path().ends_with("answers");
            let mut stream = None;
            if answers {
                stream = Some(respond.send_response(grpc_head(), false).expect("sent"));
            }
            tell.send(None).expect("the test listens");
            let ended = match request.body_mut().data().await {
                Some(Err(error)) => error.reason(),
                other => panic!("{other:?}"),
            };
            tell.send(ended).expect("the test listens");
            drop(stream);
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    for path in ["/raw/hangs", "/raw/answers"] {
        let (response, mut stream) = open(&gateway, call(path)).await;
        assert_eq!(told.recv().await, Some(None), "it has begun");
        stream.send_reset(Reason::CANCEL);
        drop(response);
        let ended = timeout(DEADLINE, told.recv()).await.expect("in time");
        assert_eq!(ended, Some(Some(Reason::CANCEL)), "{path}");
    }
    // The connection carries on.
    assert_eq!((upstream.accepted(), gateway.metric(OPEN).await), (1, 1.0));
}

#[tokio::test]
async fn a_deadline_ends_a_call_on_both_sides() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |mut request, respond| {
        let tell = tell.clone();
        async move {
            while let Some(Ok(_)) = request.body_mut().data().await {}
            let mut respond = respond;
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            tell.send(reset.ok()).expect("the test listens");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let mut request = call("/raw/slow");
    request
        .headers_mut()
        .insert("grpc-timeout", HeaderValue::from_static("200m"));
    let began = Instant::now();
    let (head, message, trailers) = unary(&gateway, request, "x").await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((head.status().as_u16(), message.as_str()), (200, ""));
    assert_eq!(head.headers()["grpc-status"], "4");
    assert_eq!(head.headers()["content-type"], "application/grpc");
    assert!(trailers.is_empty());
    assert_eq!(told.recv().await, Some(Some(Reason::CANCEL)));
    let line = gateway.process.log_line("request").await;
    assert_eq!(
        (&line["status"], &line["grpc_status"]),
        (&504.into(), &4.into()),
        "{line}"
    );
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
async fn what_an_upstream_refuses_goes_to_another_whatever_its_method() {
    let refusing = H2Upstream::answering(|mut request, mut respond| async move {
        // It has taken some of the body by then.
        request.body_mut().data().await;
        respond.send_reset(Reason::REFUSED_STREAM);
    })
    .await;
    let echoing = H2Upstream::answering(|mut request, mut respond| async move {
        let message = whole(request.body_mut()).await;
        let trailers = request.body_mut().trailers().await.expect("an end");
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        stream.send_data(message.into(), false).expect("sent");
        stream
            .send_trailers(trailers.unwrap_or_else(|| grpc_status("0")))
            .expect("sent");
    })
    .await;
    let gateway = gateway(&[refusing.address, echoing.address]).await;
    for _ in 0..6 {
        let (_, message, trailers) = unary(&gateway, call("/raw/x"), "once").await;
        assert_eq!((message.as_str(), &trailers), ("once", &grpc_status("0")));
        // A body of several parts and trailers is sent again whole.
        let (response, mut stream) = open(&gateway, call("/raw/x")).await;
        for part in ["one ", "two ", "three"] {
            stream.send_data(Bytes::from(part), false).expect("sent");
        }
        stream.send_trailers(grpc_status("7")).expect("sent");
        let mut body = answer_of(response).await.into_body();
        assert_eq!(whole(&mut body).await, b"one two three");
        assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("7")));
    }
    let refused = "gateway_upstream_retries_total{cluster=\"backend:5000\",reason=\"refused\"}";
    assert!(gateway.metric(refused).await >= 1.0);
}

/// Frames by hand, for what no proper server does.
struct Frames(UpstreamConnection);

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM_AND_HEADERS: u8 = 5;
/// `:status: 200` by its place in HPACK's table.
const OK: &[u8] = &[0x88];

impl Frames {
    async fn begin(mut connection: UpstreamConnection) -> Self {
        connection.read_body(24).await;
        let mut frames = Self(connection);
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u8::try_from(payload.len()).expect("a short one");
        let head = [&[0, 0, length, kind, flags][..], &stream.to_be_bytes()].concat();
        self.0.send([&head, payload].concat()).await;
    }

    async fn go_away(&mut self, last: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }

    /// The stream of the next request; `None` when the client has gone.
    async fn request(&mut self) -> Option<u32> {
        loop {
            let head = self.0.read_body(9).await;
            let &[high, middle, low, kind, _, ref stream @ ..] = &head[..] else {
                return None;
            };
            self.0
                .read_body(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
                .await;
            if kind == HEADERS {
                return Some(u32::from_be_bytes((*stream).try_into().expect("four bytes")));
            }
        }
    }

    async fn answer_all(mut self) {
        while let Some(stream) = self.request().await {
            self.send(HEADERS, END_STREAM_AND_HEADERS, stream, OK).await;
        }
    }
}

#[tokio::test]
async fn what_came_too_late_for_a_connection_that_ends_goes_over_another() {
    // The first connection answers one request; the next it has not looked at when it goes away.
    let upstream = Upstream::start(async |connection| {
        let number = connection.number;
        let mut frames = Frames::begin(connection).await;
        if number == 0 {
            assert_eq!(frames.request().await, Some(1));
            frames.send(HEADERS, END_STREAM_AND_HEADERS, 1, OK).await;
            assert_eq!(frames.request().await, Some(3));
            frames.go_away(1).await;
            assert_eq!(frames.request().await, None, "nothing more comes over it");
        }
        frames.answer_all().await;
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    for _ in 0..3 {
        assert_eq!(gateway.post("/raw", "not idempotent").await.status(), 200);
    }
    assert_eq!(upstream.accepted(), 2);
    let unsent = "gateway_upstream_retries_total{cluster=\"backend:5000\",reason=\"not_written\"}";
    assert_eq!(gateway.metric(unsent).await, 1.0);
    eventually("the first connection is let go", DEADLINE, async || {
        gateway.metric(OPEN).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn what_may_have_been_seen_is_sent_again_only_if_that_does_no_harm() {
    for says_goodbye in [true, false] {
        let upstream = Upstream::start(move |connection| async move {
            let number = connection.number;
            let mut frames = Frames::begin(connection).await;
            if number < 2 {
                // It has seen the request, says so or not, and is gone without an answer.
                frames.request().await;
                if says_goodbye {
                    frames.go_away(1).await;
                }
                return;
            }
            frames.answer_all().await;
        })
        .await;
        let gateway = gateway(&[upstream.address]).await;
        assert_eq!(gateway.post("/raw", "x").await.status(), 502);
        assert_eq!(upstream.accepted(), 1);
        // A route that is idempotent, with a body that was kept.
        assert_eq!(gateway.post("/predict", "x").await.status(), 200);
        assert_eq!(upstream.accepted(), 3);
    }
}

#[tokio::test]
async fn requests_share_connections_up_to_the_limits_of_either_side() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let answer = move |_: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        let tell = tell.clone();
        async move {
            let (go, wait) = tokio::sync::oneshot::channel::<()>();
            tell.send(go).expect("the test listens");
            wait.await.expect("told to go on");
            respond.send_response(head(200), true).expect("sent");
        }
    };
    // Two streams on a connection by the upstream's word, three by ours, on two connections.
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(2);
    let upstream = H2Upstream::start(builder, move |_, connection| serve(connection, answer.clone())).await;
    let limits = "    http2: { max_streams: 3, max_connections: 2 }\n";
    let gateway = Gateway::start(&yaml(&[upstream.address], limits), &[("WORKERS", "1")]).await;
    let mut clients = tokio::task::JoinSet::new();
    let mut begun = Vec::new();
    for number in 1..=6 {
        let (client, url) = (gateway.client.clone(), gateway.url("/raw"));
        clients.spawn(async move {
            client
                .post(url)
                .body("x")
                .send()
                .await
                .expect("an answer")
                .status()
                .as_u16()
        });
        if number <= 4 {
            begun.push(told.recv().await.expect("a request"));
            assert_eq!(upstream.accepted(), if number <= 2 { 1 } else { 2 });
        }
    }
    // The other two wait until a stream is free.
    let in_flight = "gateway_endpoint_requests_in_flight";
    eventually("all are in flight", DEADLINE, async || {
        gateway.metric(in_flight).await == 6.0
    })
    .await;
    assert!(told.try_recv().is_err());
    for waiting in begun.drain(..) {
        waiting.send(()).expect("it waits");
    }
    for _ in 5..=6 {
        told.recv().await.expect("a request").send(()).expect("it waits");
    }
    assert_eq!(clients.join_all().await, [200; 6]);
    assert_eq!(upstream.accepted(), 2);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_no_other() {
    let upstream = H2Upstream::answering(|request, mut respond| async move {
        let mut stream = respond.send_response(head(200), false).expect("sent");
        if request.uri().path() == "/raw/endless" {
            loop {
                stream.reserve_capacity(16 * 1024);
                let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                    return;
                };
                if stream.send_data(Bytes::from(vec![7; room]), false).is_err() {
                    return;
                }
            }
        }
        stream.send_data(Bytes::from_static(b"ok"), true).expect("sent");
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let mut idlers = Vec::new();
    for _ in 0..40 {
        let mut idler = gateway.raw().await;
        idler.send("GET /raw/endless HTTP/1.1\r\nhost: h\r\n\r\n").await;
        idlers.push(idler);
    }
    let in_flight = "gateway_endpoint_requests_in_flight";
    eventually("all are in flight", DEADLINE, async || {
        gateway.metric(in_flight).await == 40.0
    })
    .await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/raw/short").await.text().await.expect("text"), "ok");
    }
    assert_eq!(upstream.accepted(), 1);
    assert!(gateway.metric("process_resident_memory_bytes").await < 100e6);
    idlers.clear();
    eventually("they are let go", DEADLINE, async || {
        gateway.metric(in_flight).await == 0.0
    })
    .await;
    assert_eq!(gateway.get("/raw/short").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_small_messages_holds_up_no_other() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let upstream = H2Upstream::answering(move |request, mut respond| {
        let sent = Arc::clone(&counter);
        async move {
            let mut stream = respond.send_response(head(200), false).expect("sent");
            if request.uri().path() == "/raw/endless" {
                loop {
                    stream.reserve_capacity(16 * 1024);
                    let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                        return;
                    };
                    for byte in vec![7; room].chunks(4) {
                        stream.send_data(Bytes::copy_from_slice(byte), false).expect("sent");
                    }
                    sent.fetch_add(room, Ordering::SeqCst);
                }
            }
            stream.send_data(Bytes::from_static(b"ok"), true).expect("sent");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let stream = TcpStream::connect(gateway.address).await.expect("connects");
    let mut builder = client::Builder::new();
    let (sender, connection) = builder
        .data_frame_budget(usize::MAX)
        .handshake(stream)
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    let mut sender: SendRequest<Bytes> = sender.ready().await.expect("ready");
    let (response, _stream) = sender.send_request(call("/raw/endless"), true).expect("sent");
    let _unread = answer_of(response).await;
    // One of 64 KiB at the client and one at the gateway, which gives back half of it at a time.
    eventually("both windows are full", DEADLINE, async || {
        sent.load(Ordering::SeqCst) >= 96 * 1024
    })
    .await;
    assert_eq!(gateway.get("/raw/short").await.text().await.expect("text"), "ok");
    assert_eq!(upstream.accepted(), 1);
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
async fn an_upstream_that_speaks_something_else_is_no_connection() {
    let silent = Upstream::start(|connection| connection.hang()).await;
    let http1 = Upstream::start(async |mut connection| {
        connection.read_body(24).await;
        connection
            .send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    })
    .await;
    for (upstream, status) in [(&http1, 502), (&silent, 504)] {
        let environment = [("CONNECT_TIMEOUT", "0.5"), ("CONNECT_ATTEMPT_TIMEOUT", "0.2")];
        let gateway = Gateway::start(&yaml(&[upstream.address], ""), &environment).await;
        let began = Instant::now();
        assert_eq!(gateway.post("/raw", "x").await.status(), status);
        assert!(began.elapsed() < Duration::from_secs(2));
        let failures = "gateway_upstream_connect_failures_total{cluster=\"backend:5000\"}";
        assert!(gateway.metric(failures).await >= 1.0);
        eventually("none is left", DEADLINE, async || gateway.metric(OPEN).await == 0.0).await;
    }
}

#[tokio::test]
async fn many_requests_at_once_open_one_connection() {
    let upstream = H2Upstream::answering(|_, mut respond| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        respond.send_response(head(200), true).expect("sent");
    })
    .await;
    let gateway = Gateway::start(&yaml(&[upstream.address], ""), &[("WORKERS", "1")]).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (client, url) = (gateway.client.clone(), gateway.url("/raw"));
        clients.spawn(async move { client.get(url).send().await.expect("an answer").status().as_u16() });
    }
    assert_eq!(clients.join_all().await, [200; 50]);
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn connections_are_replaced_by_age_and_let_go_when_idle() {
    let upstream = H2Upstream::answering(|_, mut respond| async move {
        respond.send_response(head(200), true).expect("sent");
    })
    .await;
    let limits = "    max_connection_requests: 3\n";
    let environment = [("WORKERS", "1"), ("IDLE_TIMEOUT", "0.2")];
    let gateway = Gateway::start(&yaml(&[upstream.address], limits), &environment).await;
    for _ in 0..7 {
        assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    }
    assert_eq!(upstream.accepted(), 3);
    eventually("the last one is let go", DEADLINE, async || {
        gateway.metric(OPEN).await == 0.0
    })
    .await;
    assert_eq!(gateway.post("/raw", "x").await.status(), 200);
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
        let yaml = crate::common::yaml(&["127.0.0.1:1".parse().expect("an address")]);
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
async fn a_connection_that_goes_away_finishes_what_it_has() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let finish = Arc::new(tokio::sync::Notify::new());
    let finishes = Arc::clone(&finish);
    let upstream = Upstream::start(move |connection| {
        let (tell, finish) = (tell.clone(), Arc::clone(&finishes));
        async move {
            let number = connection.number;
            let mut frames = Frames::begin(connection).await;
            if number == 0 {
                assert_eq!(frames.request().await, Some(1));
                frames.go_away(1).await;
                tell.send(()).expect("the test listens");
                finish.notified().await;
                frames.send(HEADERS, END_STREAM_AND_HEADERS, 1, OK).await;
                assert_eq!(frames.request().await, None, "nothing more comes over it");
            }
            frames.answer_all().await;
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let slow = {
        let (client, url) = (gateway.client.clone(), gateway.url("/raw"));
        tokio::spawn(async move { client.post(url).body("slow").send().await.expect("an answer").status() })
    };
    told.recv().await.expect("it has begun");
    // Until the news is there, a request may still go over the first connection: it is too late for that and goes again.
    for _ in 0..3 {
        assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    }
    assert_eq!(upstream.accepted(), 2);
    finish.notify_one();
    assert_eq!(slow.await.expect("it ends"), 200);
    eventually("the first connection is let go", DEADLINE, async || {
        gateway.metric(OPEN).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_hundred_calls_at_once_share_a_connection_on_both_sides() {
    let barrier = Arc::new(tokio::sync::Barrier::new(100));
    let upstream = H2Upstream::answering(move |mut request, mut respond| {
        let barrier = Arc::clone(&barrier);
        async move {
            let message = whole(request.body_mut()).await;
            // None is answered before all are there.
            barrier.wait().await;
            let mut stream = respond.send_response(grpc_head(), false).expect("sent");
            stream.send_data(message.into(), false).expect("sent");
            stream.send_trailers(grpc_status("0")).expect("sent");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let sender = connect(&gateway).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100 {
        let sender = sender.clone();
        calls.spawn(async move {
            let mut sender = sender.ready().await.expect("room");
            let (response, mut stream) = sender.send_request(call("/raw/x"), false).expect("sent");
            stream.send_data(format!("{number}").into(), true).expect("sent");
            let mut body = answer_of(response).await.into_body();
            assert_eq!(whole(&mut body).await, format!("{number}").into_bytes());
            assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("0")));
        });
    }
    while let Some(ended) = calls.join_next().await {
        ended.expect("each has its own answer");
    }
    assert_eq!(upstream.accepted(), 1);
    let in_flight = "gateway_endpoint_requests_in_flight";
    eventually("none is left", DEADLINE, async || {
        gateway.metric(in_flight).await == 0.0
    })
    .await;
}

fn message(number: u32) -> Bytes {
    Bytes::from(vec![number as u8; 256])
}

#[tokio::test]
async fn a_stream_of_many_messages_comes_with_its_status_at_the_end() {
    let upstream = H2Upstream::answering(|_, mut respond| async move {
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        for number in 0..1000_u32 {
            stream.send_data(message(number), false).expect("sent");
        }
        stream.send_trailers(grpc_status("10")).expect("sent");
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/list")).await;
    stream.send_data(Bytes::from_static(b"q"), true).expect("sent");
    let mut body = answer_of(response).await.into_body();
    let expected: Vec<u8> = (0..1000_u32).flat_map(message).collect();
    assert!(whole(&mut body).await == expected);
    assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("10")));
    let line = gateway.process.log_line("request").await;
    assert_eq!(
        (&line["bytes"], &line["grpc_status"]),
        (&256_000.into(), &10.into()),
        "{line}"
    );
}

#[tokio::test]
async fn an_answer_that_its_upstream_resets_is_reset_for_the_client_with_the_same_reason() {
    let arrived = Arc::new(tokio::sync::Notify::new());
    let has_arrived = Arc::clone(&arrived);
    let upstream = H2Upstream::answering(move |_, mut respond| {
        let arrived = Arc::clone(&has_arrived);
        async move {
            let mut stream = respond.send_response(grpc_head(), false).expect("sent");
            stream.send_data(Bytes::from_static(b"part"), false).expect("sent");
            arrived.notified().await;
            stream.send_reset(Reason::ENHANCE_YOUR_CALM);
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/x")).await;
    stream.send_data(Bytes::from_static(b"x"), true).expect("sent");
    let mut body = answer_of(response).await.into_body();
    assert_eq!(body.data().await.expect("a part").expect("whole"), "part");
    arrived.notify_one();
    let ended = timeout(DEADLINE, body.data()).await.expect("in time");
    let error = ended.expect("not an end").expect_err("it was reset");
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    let aborted = "gateway_responses_aborted_total{cluster=\"backend:5000\",route=\"/raw\"}";
    assert_eq!(gateway.metric(aborted).await, 1.0);
}

#[tokio::test]
async fn a_client_that_does_not_read_yet_can_send_on() {
    const MESSAGES: usize = 100;
    const MESSAGE: usize = 16 * 1024;
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |request, mut respond| {
        let tell = tell.clone();
        async move {
            // More than all windows on the way to the client together.
            let mut stream = respond.send_response(grpc_head(), false).expect("sent");
            stream.send_data(Bytes::from(vec![1; 1 << 20]), true).expect("sent");
            let mut body = request.into_body();
            tell.send(whole(&mut body).await.len()).expect("the test listens");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/x")).await;
    let mut answer = answer_of(response).await.into_body();
    let mut message = Bytes::from(vec![2; MESSAGES * MESSAGE]);
    let sending = async {
        while !message.is_empty() {
            stream.reserve_capacity(message.len());
            let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            let room = room.expect("open").expect("room").min(message.len());
            stream
                .send_data(message.split_to(room), message.is_empty())
                .expect("sent");
        }
    };
    timeout(DEADLINE, sending).await.expect("nothing holds it up");
    let received = timeout(DEADLINE, told.recv()).await.expect("in time");
    assert_eq!(received, Some(MESSAGES * MESSAGE));
    assert_eq!(whole(&mut answer).await.len(), 1 << 20);
}

#[tokio::test]
async fn an_upstream_that_does_not_read_holds_its_client_up() {
    let upstream = H2Upstream::answering(|request, mut respond| async move {
        // The request's window is never given back.
        let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
        drop((request, reset));
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/x")).await;
    let mut sent = 0;
    stream.reserve_capacity(1 << 20);
    let room = std::future::poll_fn(|cx| stream.poll_capacity(cx));
    let mut room = timeout(DEADLINE, room).await.expect("in time");
    while let Some(Ok(bytes)) = room {
        stream.send_data(Bytes::from(vec![0; bytes]), false).expect("sent");
        sent += bytes;
        let more = std::future::poll_fn(|cx| stream.poll_capacity(cx));
        let Ok(more) = timeout(Duration::from_millis(500), more).await else {
            break;
        };
        room = more;
    }
    // Windows of 64 KiB on both sides, and what lies between them.
    assert!((64 * 1024..=512 * 1024).contains(&sent), "{sent}");
    drop((response, stream));
    let in_flight = "gateway_endpoint_requests_in_flight";
    eventually("it is let go", DEADLINE, async || {
        gateway.metric(in_flight).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn messages_of_the_client_keep_a_call_alive() {
    let upstream = H2Upstream::answering(|mut request, mut respond| async move {
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        let heard = whole(request.body_mut()).await.len();
        stream.send_data(format!("{heard}").into(), false).expect("sent");
        stream.send_trailers(grpc_status("0")).expect("sent");
    })
    .await;
    let yaml = yaml(&[upstream.address], "");
    let yaml = yaml.replace("prefix: /raw,", "prefix: /raw, timeout: 0.5,");
    let gateway = Gateway::start(&yaml, &[]).await;
    let (response, mut stream) = open(&gateway, call("/raw/collect")).await;
    let mut body = answer_of(response).await.into_body();
    // The upstream is silent for longer than the route's timeout.
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.send_data(Bytes::from_static(b"m"), false).expect("sent");
    }
    stream.send_data(Bytes::new(), true).expect("sent");
    assert_eq!(whole(&mut body).await, b"12");
    assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("0")));
}

#[tokio::test]
async fn an_endpoint_whose_calls_are_unavailable_is_ejected_and_others_are_asked() {
    let unavailable = H2Upstream::answering(|_, mut respond| async move {
        let mut head = grpc_head();
        head.headers_mut().extend(grpc_status("14"));
        respond.send_response(head, true).expect("sent");
    })
    .await;
    let well = H2Upstream::answering(|_, mut respond| async move {
        let mut stream = respond.send_response(grpc_head(), false).expect("sent");
        stream.send_trailers(grpc_status("0")).expect("sent");
    })
    .await;
    let endpoints = [unavailable.address, well.address];
    let more = "    balancer: round_robin\n    ejection: { consecutive_failures: 3 }\n";
    let gateway = Gateway::start(&yaml(&endpoints, more), &[("WORKERS", "1")]).await;
    // On a route that is idempotent nobody notices.
    for _ in 0..3 {
        let (head, _, trailers) = unary(&gateway, call("/predict"), "x").await;
        assert_eq!((head.status().as_u16(), &trailers), (200, &grpc_status("0")));
    }
    let resent = "gateway_upstream_retries_total{cluster=\"backend:5000\",reason=\"status\"}";
    assert!(gateway.metric(resent).await >= 1.0);
    // On another the client is told, until the endpoint is out.
    let ejections = format!(
        "gateway_endpoint_ejections_total{{cluster=\"backend:5000\",endpoint=\"{}\"}}",
        unavailable.address
    );
    eventually("it is ejected", DEADLINE, async || {
        let (head, _, trailers) = unary(&gateway, call("/raw"), "x").await;
        let told = head.headers().get("grpc-status").or(trailers.get("grpc-status"));
        assert!(["0", "14"].contains(&told.expect("a status").to_str().expect("text")));
        gateway.metric(&ejections).await >= 1.0
    })
    .await;
}

#[tokio::test]
async fn connections_to_a_lone_address_are_used_in_turn() {
    let counts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let counter = Arc::clone(&counts);
    let upstream = H2Upstream::start(server::Builder::new(), move |number, mut connection| {
        let counts = Arc::clone(&counter);
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                counts.lock().expect("unbroken").push(number);
                respond.send_response(head(200), true).expect("sent");
            }
        }
    })
    .await;
    let (gateway, _name, _server) = gateway_behind_name(&upstream, 3).await;
    for _ in 0..12 {
        assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    }
    let counts = counts.lock().expect("unbroken");
    for number in 0..3 {
        assert_eq!(counts.iter().filter(|other| **other == number).count(), 4, "{counts:?}");
    }
}

#[tokio::test]
async fn a_drain_lets_calls_finish() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |_, mut respond| {
        let tell = tell.clone();
        async move {
            let mut stream = respond.send_response(grpc_head(), false).expect("sent");
            let (go, wait) = tokio::sync::oneshot::channel::<()>();
            tell.send(go).expect("the test listens");
            wait.await.expect("told to go on");
            stream.send_data(Bytes::from_static(b"late"), false).expect("sent");
            stream.send_trailers(grpc_status("0")).expect("sent");
        }
    })
    .await;
    let mut gateway = gateway(&[upstream.address]).await;
    let (response, mut stream) = open(&gateway, call("/raw/x")).await;
    stream.send_data(Bytes::from_static(b"x"), true).expect("sent");
    let mut body = answer_of(response).await.into_body();
    let go = told.recv().await.expect("it has begun");
    gateway.process.signal(Signal::TERM);
    gateway.process.log_line("draining: not ready, still accepting").await;
    go.send(()).expect("it waits");
    assert_eq!(whole(&mut body).await, b"late");
    assert_eq!(body.trailers().await.expect("an end"), Some(grpc_status("0")));
    assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 0);
}

#[tokio::test]
async fn behind_one_name_a_retry_goes_over_another_connection() {
    // As behind a Service's address, each connection may lead to another pod: the first one's refuses.
    let upstream = H2Upstream::start(server::Builder::new(), |number, mut connection| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            match number {
                0 => respond.send_reset(Reason::REFUSED_STREAM),
                _ => drop(respond.send_response(head(200), true).expect("sent")),
            }
        }
    })
    .await;
    let (gateway, name, _server) = gateway_behind_name(&upstream, 1).await;
    assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    assert_eq!(upstream.accepted(), 2);
    let refused = format!("gateway_upstream_retries_total{{cluster=\"{name}\",reason=\"refused\"}}");
    assert_eq!(gateway.metric(&refused).await, 1.0);
}

#[tokio::test]
async fn a_connection_that_fell_silent_gets_no_more_requests() {
    let upstream = Upstream::start(async |connection| {
        let number = connection.number;
        let mut frames = Frames::begin(connection).await;
        if number == 0 {
            // It reads on, and says nothing.
            while frames.request().await.is_some() {}
        }
        frames.answer_all().await;
    })
    .await;
    let yaml = yaml(&[upstream.address], "").replace("prefix: /raw,", "prefix: /raw, timeout: 0.3,");
    let gateway = Gateway::start(&yaml, &[("WORKERS", "1")]).await;
    assert_eq!(gateway.post("/raw", "x").await.status(), 504);
    assert_eq!(gateway.post("/raw", "x").await.status(), 200);
    assert_eq!(upstream.accepted(), 2);
    eventually("the first connection is let go", DEADLINE, async || {
        gateway.metric(OPEN).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_deadline_that_passes_during_the_answer_is_told_in_its_trailers() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = H2Upstream::answering(move |_, mut respond| {
        let tell = tell.clone();
        async move {
            let mut stream = respond.send_response(grpc_head(), false).expect("sent");
            stream.send_data(Bytes::from_static(b"first"), false).expect("sent");
            let reset = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
            tell.send(reset.ok()).expect("the test listens");
        }
    })
    .await;
    let gateway = gateway(&[upstream.address]).await;
    let mut request = call("/raw/x");
    let timeout = HeaderValue::from_static("300m");
    request.headers_mut().insert("grpc-timeout", timeout);
    let (head, message, trailers) = unary(&gateway, request, "x").await;
    assert_eq!((head.status().as_u16(), message.as_str()), (200, "first"));
    assert_eq!(trailers["grpc-status"], "4");
    assert_eq!(told.recv().await, Some(Some(Reason::CANCEL)));
    let line = gateway.process.log_line("request").await;
    assert_eq!(
        (&line["status"], &line["grpc_status"]),
        (&200.into(), &4.into()),
        "{line}"
    );
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
async fn a_request_that_waits_for_a_stream_says_nothing_about_its_endpoint() {
    let mut one_stream = server::Builder::new();
    one_stream.max_concurrent_streams(1);
    let upstream = H2Upstream::start(one_stream, |_, mut connection| async move {
        let mut taken = Vec::new();
        while let Some(Ok(request)) = connection.accept().await {
            // Never answered.
            taken.push(request);
        }
    })
    .await;
    let short = "routes:\n  - { prefix: /short, cluster: \"backend:5000\", timeout: 0.3 }";
    let yaml = yaml(&[upstream.address], "    http2: { max_connections: 1 }\n").replace("routes:", short);
    let gateway = Gateway::start(&yaml, &[("WORKERS", "1")]).await;
    let url = gateway.url("/raw");
    let slow = tokio::spawn(gateway.client.get(url).send());
    eventually("the stream is taken", DEADLINE, async || {
        gateway.metric(OPEN).await == 1.0
    })
    .await;
    assert_eq!(gateway.get("/short").await.status(), 504);
    let ejections = "gateway_endpoint_ejections_total{cluster=\"backend:5000\"";
    assert_eq!(gateway.metric(ejections).await, 0.0);
    slow.abort();
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
