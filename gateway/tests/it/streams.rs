//! Answers that stream, token by token: each part passes before the next is made, whatever both sides speak; silence ends
//! them and length does not; a rollout of the upstream and a drain of the gateway let them finish.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::RecvStream;
use http::{HeaderMap, Request, Response};
use shared::test_util::{
    ApiServer, DEADLINE, Mood, NAMESPACE, Pod, SERVICE, Scratch, Signal, Upstream, eventually, slice,
};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use crate::h2c::upstream::H2Upstream;
use crate::harness::{Gateway, yaml};

/// What one side of the gateway speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Http1,
    Http2,
}

use Wire::{Http1, Http2};

const WIRES: [Wire; 2] = [Http1, Http2];
/// Upstream and client.
const PAIRS: [(Wire, Wire); 4] = [(Http1, Http1), (Http1, Http2), (Http2, Http1), (Http2, Http2)];

const EVENTS: &str = "text/event-stream";
const ABORTED: &str = "gateway_responses_aborted_total";

/// An upstream whose answers consist of what the test says, when it says it.
struct Speaker {
    address: SocketAddr,
    speeches: mpsc::UnboundedReceiver<Speech>,
    leave: Arc<Notify>,
    _server: Box<dyn Any>,
}

/// One answer. Dropping it is its end.
type Speech = mpsc::UnboundedSender<Bytes>;

impl Speaker {
    async fn start(wire: Wire, media_type: &'static str) -> Self {
        let (tell, speeches) = mpsc::unbounded_channel();
        let leave = Arc::new(Notify::new());
        let (address, server) = match wire {
            Http1 => by_http1(tell, media_type).await,
            Http2 => by_http2(tell, media_type, Arc::clone(&leave)).await,
        };
        Self {
            address,
            speeches,
            leave,
            _server: server,
        }
    }

    /// The answer that was begun, once there is one.
    async fn speech(&mut self) -> Speech {
        let begun = timeout(DEADLINE, self.speeches.recv()).await;
        begun.expect("asked in time").expect("it serves")
    }

    /// Says GOAWAY where that exists. In HTTP/1.1 a server can only say so with its next answer.
    fn begin_to_leave(&self) {
        self.leave.notify_waiters();
    }
}

async fn by_http1(tell: mpsc::UnboundedSender<Speech>, media_type: &'static str) -> (SocketAddr, Box<dyn Any>) {
    let upstream = Upstream::start(move |mut connection| {
        let tell = tell.clone();
        async move {
            while connection.read_request().await.is_some() {
                let (say, mut said) = mpsc::unbounded_channel::<Bytes>();
                tell.send(say).expect("the test listens");
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n");
                connection.send(head).await;
                while let Some(part) = said.recv().await {
                    let size = format!("{:x}\r\n", part.len());
                    connection.send([size.as_bytes(), &part, b"\r\n"].concat()).await;
                }
                connection.send("0\r\n\r\n").await;
            }
        }
    })
    .await;
    (upstream.address, Box::new(upstream))
}

async fn by_http2(
    tell: mpsc::UnboundedSender<Speech>,
    media_type: &'static str,
    leave: Arc<Notify>,
) -> (SocketAddr, Box<dyn Any>) {
    let upstream = H2Upstream::start(h2::server::Builder::new(), move |_, mut connection| {
        let (tell, leave) = (tell.clone(), Arc::clone(&leave));
        async move {
            let mut answers = tokio::task::JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    accepted = connection.accept() => accepted,
                    () = leave.notified() => {
                        connection.graceful_shutdown();
                        continue;
                    }
                };
                let Some(Ok((_request, mut respond))) = accepted else {
                    return;
                };
                let (say, mut said) = mpsc::unbounded_channel::<Bytes>();
                tell.send(say).expect("the test listens");
                let head = Response::builder().header("content-type", media_type);
                let head = head.body(()).expect("a head");
                answers.spawn(async move {
                    let mut stream = respond.send_response(head, false).expect("sent");
                    while let Some(part) = said.recv().await {
                        if stream.send_data(part, false).is_err() {
                            // Reset: nobody listens any more.
                            return;
                        }
                    }
                    // The same.
                    let _reset = stream.send_data(Bytes::new(), true);
                });
            }
        }
    })
    .await;
    (upstream.address, Box::new(upstream))
}

/// A gateway, of one worker, in front of one of them.
async fn in_front_of(speaker: &Speaker, wire: Wire, environment: &[(&str, &str)]) -> Gateway {
    let yaml = yaml(&[speaker.address]).replace("routes:", &format!("{}routes:", protocol(wire)));
    let environment = [&[("WORKERS", "1")], environment].concat();
    Gateway::start(&yaml, &environment).await
}

fn protocol(upstream: Wire) -> &'static str {
    match upstream {
        Http1 => "",
        Http2 => "    protocol: h2c\n",
    }
}

/// An answer at its client.
struct Listener {
    headers: HeaderMap,
    body: ListenerBody,
}

enum ListenerBody {
    Http1(reqwest::Response),
    Http2(RecvStream),
}

/// The end of an answer.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

impl Listener {
    /// Asks on a connection of its own, and waits for the head.
    async fn ask(gateway: &Gateway, wire: Wire) -> Self {
        match wire {
            Http1 => {
                let client = shared::http_client::client(10 * DEADLINE).expect("the client builds");
                let answer = client.post(gateway.url("/raw")).body("{}").send();
                let answer = timeout(DEADLINE, answer).await.expect("a head in time");
                let answer = answer.expect("an answer");
                Self {
                    headers: answer.headers().clone(),
                    body: ListenerBody::Http1(answer),
                }
            }
            Http2 => {
                let stream = TcpStream::connect(gateway.address).await.expect("connects");
                let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
                tokio::spawn(connection);
                let mut sender = sender.ready().await.expect("ready");
                let request = Request::post("http://h/raw").body(()).expect("a request");
                let (answer, mut upload) = sender.send_request(request, false).expect("sent");
                upload.send_data(Bytes::from_static(b"{}"), true).expect("sent");
                let answer = timeout(DEADLINE, answer).await.expect("a head in time");
                let (head, body) = answer.expect("an answer").into_parts();
                Self {
                    headers: head.headers,
                    body: ListenerBody::Http2(body),
                }
            }
        }
    }

    /// What comes next.
    async fn part(&mut self) -> Result<Bytes, End> {
        let part = async {
            match &mut self.body {
                ListenerBody::Http1(answer) => match answer.chunk().await {
                    Ok(part) => part.ok_or(End::Whole),
                    Err(_) => Err(End::Broken),
                },
                ListenerBody::Http2(body) => match body.data().await {
                    Some(Ok(part)) => {
                        body.flow_control().release_capacity(part.len()).expect("open");
                        Ok(part)
                    }
                    None => Err(End::Whole),
                    Some(Err(_)) => Err(End::Broken),
                },
            }
        };
        timeout(DEADLINE, part).await.expect("a part in time")
    }

    /// Reads exactly this.
    async fn hears(&mut self, expected: &[u8]) {
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            match self.part().await {
                Ok(part) => heard.extend_from_slice(&part),
                Err(end) => panic!("{end:?} after {:?}", String::from_utf8_lossy(&heard)),
            }
        }
        assert_eq!(heard, expected, "{:?}", String::from_utf8_lossy(&heard));
    }

    async fn end(&mut self) -> End {
        loop {
            match self.part().await {
                Ok(part) => assert!(part.is_empty(), "{part:?}"),
                Err(end) => return end,
            }
        }
    }
}

/// An answer under way: who gives it and who reads it.
struct UnderWay {
    speech: Speech,
    listener: Listener,
    said: usize,
}

impl UnderWay {
    async fn begin(gateway: &Gateway, client: Wire, speaker: &mut Speaker) -> Self {
        let listener = Listener::ask(gateway, client).await;
        Self {
            speech: speaker.speech().await,
            listener,
            said: 0,
        }
    }

    /// Passes one more token, and gives how long it took.
    async fn passes(&mut self) -> Duration {
        let token = event(self.said);
        self.said += 1;
        let said = Instant::now();
        self.speech.send(token.clone().into()).expect("the upstream is there");
        self.listener.hears(token.as_bytes()).await;
        said.elapsed()
    }

    async fn ends(self) -> End {
        let Self {
            speech, mut listener, ..
        } = self;
        drop(speech);
        listener.end().await
    }
}

/// Writes the token of this number.
type Token = fn(usize) -> String;

fn event(number: usize) -> String {
    format!("event: token\ndata: {{\"token\": {number}}}\n\n")
}

#[tokio::test]
async fn each_token_passes_before_the_next_is_made() {
    const TOKENS: usize = 30;
    // An event, a line, and a part of a line; nothing tells the gateway that any of them is complete.
    let forms: [(&str, Token); 3] = [
        (EVENTS, event),
        ("application/x-ndjson", |number| format!("{{\"token\": {number}}}\n")),
        ("application/json", |number| format!("{{\"token\": {number}}}, ")),
    ];
    for (media_type, token) in forms {
        for (upstream, client) in PAIRS {
            let mut speaker = Speaker::start(upstream, media_type).await;
            let gateway = in_front_of(&speaker, upstream, &[]).await;
            let UnderWay {
                speech, mut listener, ..
            } = UnderWay::begin(&gateway, client, &mut speaker).await;
            assert_eq!(listener.headers["content-type"], media_type);
            let mut waits = Vec::new();
            for number in 0..TOKENS {
                let token = token(number);
                let said = Instant::now();
                speech.send(token.clone().into()).expect("the upstream is there");
                listener.hears(token.as_bytes()).await;
                waits.push(said.elapsed());
            }
            drop(speech);
            assert_eq!(listener.end().await, End::Whole, "{upstream:?} to {client:?}");
            waits.sort_unstable();
            // Half of the 40 ms for which Nagle's algorithm and a delayed ACK hold a small write back.
            let most = Duration::from_millis(20);
            assert!(waits[TOKENS / 2] < most, "{upstream:?} to {client:?}: {waits:?}");
        }
    }
}

#[tokio::test]
async fn silence_ends_a_stream_and_length_does_not() {
    const SILENCE: Duration = Duration::from_secs(1);
    let pairs = PAIRS.map(|(upstream, client)| async move {
        let mut speaker = Speaker::start(upstream, EVENTS).await;
        let gateway = in_front_of(&speaker, upstream, &[("REQUEST_TIMEOUT", "1")]).await;
        let mut stream = UnderWay::begin(&gateway, client, &mut speaker).await;
        let began = Instant::now();
        while began.elapsed() < 3 * SILENCE {
            sleep(SILENCE / 4).await;
            stream.passes().await;
        }
        let last = Instant::now();
        stream.passes().await;
        assert_eq!(stream.listener.end().await, End::Broken, "{upstream:?} to {client:?}");
        let silent = last.elapsed();
        assert!(
            (SILENCE..3 * SILENCE).contains(&silent),
            "{upstream:?} to {client:?}: cut after {silent:?}"
        );
        let cut = gateway
            .process
            .log_line_where("the request", |line| line["aborted"] == true)
            .await;
        assert!(cut["broke"].as_str().expect("text").contains("stalled"), "{cut}");
    });
    join_all(pairs).await;
}

/// The pod of a speaker, in a slice of its own.
fn pod_of(speaker: &Speaker, pod: fn(std::net::Ipv4Addr) -> Pod) -> serde_json::Value {
    let SocketAddr::V4(address) = speaker.address else {
        panic!("127.0.0.1")
    };
    slice(address.port(), &[pod(*address.ip())])
}

#[tokio::test]
async fn a_rollout_of_the_upstream_lets_streams_finish_and_begins_new_ones_at_new_pods() {
    for wire in WIRES {
        let (mut old, mut new) = (Speaker::start(wire, EVENTS).await, Speaker::start(wire, EVENTS).await);
        let api = ApiServer::start(Mood::Well).await;
        api.put("old", pod_of(&old, Pod::Ready));
        let account = Scratch::new("serviceaccount");
        account.file("token", "first");
        account.file("namespace", NAMESPACE);
        let cluster = format!("{SERVICE}:5000");
        let yaml = format!(
            "clusters:\n  - name: {cluster}\n    discovery: kubernetes\n{}routes: [{{ prefix: /raw, cluster: \"{cluster}\" }}]\n",
            protocol(wire)
        );
        let url = format!("http://{}", api.address);
        let environment = [
            ("KUBERNETES_API", url.as_str()),
            ("SERVICE_ACCOUNT_DIR", account.path().to_str().expect("UTF-8")),
            ("WORKERS", "1"),
        ];
        let gateway = Gateway::start(&yaml, &environment).await;
        let consists_of = async |speaker: &Speaker| {
            eventually("the slices are taken over", DEADLINE, async || {
                let status: serde_json::Value = gateway.admin("/status.json").await.json().await.expect("JSON");
                let endpoints = status["clusters"][0]["endpoints"].as_array().expect("a list").clone();
                endpoints.len() == 1 && endpoints[0]["address"] == speaker.address.to_string()
            })
            .await;
        };
        consists_of(&old).await;
        let mut streams = Vec::new();
        for client in WIRES {
            streams.push(UnderWay::begin(&gateway, client, &mut old).await);
        }
        for stream in &mut streams {
            stream.passes().await;
        }

        // The new pod is ready, the old one gets SIGTERM, and a while later it is no endpoint at all.
        api.put("new", pod_of(&new, Pod::Ready));
        api.put("old", pod_of(&old, Pod::Leaving));
        consists_of(&new).await;
        old.begin_to_leave();
        for client in WIRES {
            streams.push(UnderWay::begin(&gateway, client, &mut new).await);
        }
        api.delete("old");
        for _ in 0..5 {
            for stream in &mut streams {
                stream.passes().await;
            }
        }
        assert!(old.speeches.is_empty(), "nothing began at the old pod any more");
        for stream in streams {
            assert_eq!(stream.ends().await, End::Whole, "{wire:?}");
        }
        assert_eq!(gateway.metric(ABORTED).await, 0.0, "{wire:?}");
    }
}

#[tokio::test]
async fn a_drain_of_the_gateway_lets_streams_finish() {
    for upstream in WIRES {
        let mut speaker = Speaker::start(upstream, EVENTS).await;
        let environment = [("DRAIN_WINDOW", "2"), ("DRAIN_TIMEOUT", "60")];
        let mut gateway = in_front_of(&speaker, upstream, &environment).await;
        let mut streams = Vec::new();
        for client in WIRES {
            streams.push(UnderWay::begin(&gateway, client, &mut speaker).await);
        }
        gateway.process.signal(Signal::TERM);
        gateway.process.log_line("draining: not ready, still accepting").await;
        // The window takes new ones.
        for client in WIRES {
            streams.push(UnderWay::begin(&gateway, client, &mut speaker).await);
        }
        for stream in &mut streams {
            stream.passes().await;
        }
        gateway
            .process
            .log_line("closing the listener, finishing requests")
            .await;
        for _ in 0..5 {
            for stream in &mut streams {
                stream.passes().await;
            }
        }
        for stream in streams {
            assert_eq!(stream.ends().await, End::Whole, "{upstream:?}");
        }
        let finished = gateway.process.wait_exit(DEADLINE).await;
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.stdout.contains("\"drained\""), "{finished:?}");
    }
}

#[tokio::test]
async fn the_drain_timeout_cuts_a_stream_and_nothing_does_before() {
    const WINDOW: Duration = Duration::from_millis(300);
    const TIMEOUT: Duration = Duration::from_millis(1500);
    let pairs = PAIRS.map(|(upstream, client)| async move {
        let mut speaker = Speaker::start(upstream, EVENTS).await;
        let environment = [("DRAIN_WINDOW", "0.3"), ("DRAIN_TIMEOUT", "1.5")];
        let mut gateway = in_front_of(&speaker, upstream, &environment).await;
        let mut stream = UnderWay::begin(&gateway, client, &mut speaker).await;
        let asked_to_end = Instant::now();
        gateway.process.signal(Signal::TERM);
        let end = loop {
            // A token that is being sent when the time is over may be lost.
            let said = stream.speech.send(event(stream.said).into());
            assert!(said.is_ok() || asked_to_end.elapsed() >= WINDOW + TIMEOUT);
            match stream.listener.part().await {
                Ok(_) => sleep(Duration::from_millis(50)).await,
                Err(end) => break end,
            }
        };
        let lasted = asked_to_end.elapsed();
        assert_eq!(end, End::Broken, "{upstream:?} to {client:?}");
        assert!(lasted >= WINDOW + TIMEOUT, "{upstream:?} to {client:?}: {lasted:?}");
        assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 0);
    });
    join_all(pairs).await;
}
