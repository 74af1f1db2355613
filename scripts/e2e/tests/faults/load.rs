//! A steady load on the gateway: requests go out at times that were fixed beforehand, however long the ones before
//! take. A gateway that lets requests wait meets the same load as one that does not, and every wait is seen.
//!
//! At the same time the same kind of requests goes straight to a replica of its own, past the gateway. What those wait is the
//! machine's doing, which must not be taken for the gateway's.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep_until, timeout};

/// Requests a second: the rate that nginx's figures on a cluster were taken at.
const RATE: u32 = 150;
/// And those that go past the gateway: enough to see what the machine does, few enough to leave it alone.
const DIRECT_RATE: u32 = 75;
/// Connections that are kept and used in turn; more are opened while all of them wait.
const KEPT_CONNECTIONS: usize = 16;
/// One request in so many comes on a connection of its own, as from a new client.
const NEW_CLIENT_EVERY: usize = 4;
/// One request in so many is a POST.
const POST_EVERY: usize = 3;
/// Longer than the gateway lets anything take that could be asked of another replica.
const PATIENCE: Duration = Duration::from_secs(10);

/// One request and what came of it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) number: usize,
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
    /// Who gave the right answer.
    pub(crate) outcome: Result<String, Failed>,
}

impl Sample {
    pub(crate) fn took(&self) -> Duration {
        self.answered - self.sent
    }

    pub(crate) fn is_by(&self, replicas: &[&str]) -> bool {
        self.outcome.as_ref().is_ok_and(|by| replicas.contains(&by.as_str()))
    }
}

/// Anything but the right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    Status(u16, String),
    Wrong(String),
    Broke(String),
}

/// Runs until it is finished or dropped.
pub(crate) struct Load {
    through_gateway: Stream,
    direct: Stream,
}

/// Requests to one address at one rate.
struct Stream {
    clients: Arc<Clients>,
    task: JoinHandle<()>,
}

/// The connections of one stream and what came of its requests.
struct Clients {
    address: SocketAddr,
    idle: Mutex<VecDeque<Connection>>,
    opened: AtomicUsize,
    samples: Mutex<Vec<Sample>>,
    over: AtomicBool,
}

impl Load {
    pub(crate) fn start(gateway: SocketAddr, replica: SocketAddr) -> Self {
        Self {
            through_gateway: Stream::start(gateway, RATE),
            direct: Stream::start(replica, DIRECT_RATE),
        }
    }

    /// Whether `replica` answered a request that was sent after `since`.
    pub(crate) fn answered_by(&self, replica: &str, since: Instant) -> bool {
        let samples = lock(&self.through_gateway.clients.samples);
        let mut latest = samples.iter().rev();
        latest.any(|sample| sample.sent > since && sample.is_by(&[replica]))
    }

    /// Stops asking and waits for the last answers; what came through the gateway, and what came past it.
    pub(crate) async fn finish(self) -> (Vec<Sample>, Vec<Sample>) {
        (self.through_gateway.finish().await, self.direct.finish().await)
    }
}

impl Stream {
    fn start(address: SocketAddr, rate: u32) -> Self {
        let clients = Arc::new(Clients {
            address,
            idle: Mutex::default(),
            opened: AtomicUsize::new(0),
            samples: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let task = tokio::spawn(generate(Arc::clone(&clients), rate));
        Self { clients, task }
    }

    async fn finish(self) -> Vec<Sample> {
        self.clients.over.store(true, Ordering::Relaxed);
        self.task.await.expect("the load does not panic");
        let mut samples = std::mem::take(&mut *lock(&self.clients.samples));
        samples.sort_unstable_by_key(|sample| sample.number);
        samples
    }
}

async fn generate(clients: Arc<Clients>, rate: u32) {
    let started = tokio::time::Instant::now();
    let mut requests = JoinSet::new();
    for number in 0.. {
        sleep_until(started + Duration::from_secs(1) * number / rate).await;
        if clients.over.load(Ordering::Relaxed) {
            break;
        }
        // A task each: none waits for another. When this loop is late itself, it is the machine that is, and the
        // request counts from when it really went out.
        requests.spawn(ask(Arc::clone(&clients), number as usize));
    }
    requests.join_all().await;
}

async fn ask(clients: Arc<Clients>, number: usize) {
    let sent = Instant::now();
    let exchanged = timeout(PATIENCE, clients.exchange(number)).await;
    let outcome = exchanged.unwrap_or_else(|_elapsed| Err(Failed::Broke(format!("no answer within {PATIENCE:?}"))));
    let answered = Instant::now();
    lock(&clients.samples).push(Sample {
        number,
        sent,
        answered,
        outcome,
    });
}

impl Clients {
    async fn exchange(&self, number: usize) -> Result<String, Failed> {
        let new_client = number.is_multiple_of(NEW_CLIENT_EVERY);
        let mut connection = match new_client {
            true => Connection::open(self.address).await?,
            false => self.kept_connection().await?,
        };
        let (request, expected) = request(number, new_client);
        let answer = connection.exchange(&request).await?;
        if !new_client && !answer.closes {
            lock(&self.idle).push_back(connection);
        }
        answer.check(&expected)
    }

    /// The one that is idle for longest, so that all of them are used; or a new one.
    async fn kept_connection(&self) -> Result<Connection, Failed> {
        let enough = self.opened.load(Ordering::Relaxed) >= KEPT_CONNECTIONS;
        let idle = enough.then(|| lock(&self.idle).pop_front()).flatten();
        if let Some(idle) = idle {
            return Ok(idle);
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        Connection::open(self.address).await
    }
}

/// The id that request `number` has in the gateway's log.
pub(crate) fn request_id(number: usize) -> String {
    format!("load-{number}")
}

/// The request's bytes and the predictions it must come to: each POST has its own, so that no answer passes for another's.
fn request(number: usize, new_client: bool) -> (String, Vec<f64>) {
    let id = request_id(number);
    let connection = if new_client { "connection: close\r\n" } else { "" };
    let headers = format!("host: lab\r\nx-request-id: {id}\r\n{connection}");
    if !number.is_multiple_of(POST_EVERY) {
        return (format!("GET /predict HTTP/1.1\r\n{headers}\r\n"), vec![2.5, 3.0, 4.5]);
    }
    let body = format!("{{\"instances\": [{number}]}}");
    let length = body.len();
    let request = format!("POST /predict HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n{body}");
    (request, vec![number as f64 / 2.0 + 2.0])
}

/// A connection that reports what goes wrong instead of ending the test.
struct Connection {
    stream: TcpStream,
    ahead: Vec<u8>,
}

struct Answer {
    status: u16,
    served_by: String,
    closes: bool,
    body: String,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, Failed> {
        let stream = TcpStream::connect(address).await.map_err(broke)?;
        stream.set_nodelay(true).map_err(broke)?;
        Ok(Self {
            stream,
            ahead: Vec::new(),
        })
    }

    async fn exchange(&mut self, request: &str) -> Result<Answer, Failed> {
        self.stream.write_all(request.as_bytes()).await.map_err(broke)?;
        let head_length = loop {
            let end = self.ahead.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(at) = end {
                break at + 4;
            }
            self.read_more().await?;
        };
        let head: Vec<u8> = self.ahead.drain(..head_length).collect();
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines
                .filter(|(known, _)| *known == name)
                .map(|(_, value)| value.trim())
                .next()
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length: Option<usize> = header("content-length").and_then(|length| length.parse().ok());
        let (Some(status), Some(length)) = (status, length) else {
            return Err(Failed::Wrong(head));
        };
        while self.ahead.len() < length {
            self.read_more().await?;
        }
        let body: Vec<u8> = self.ahead.drain(..length).collect();
        Ok(Answer {
            status,
            served_by: header("x-served-by").unwrap_or_default().to_owned(),
            closes: header("connection") == Some("close"),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    async fn read_more(&mut self) -> Result<(), Failed> {
        match self.stream.read_buf(&mut self.ahead).await {
            Ok(0) => Err(Failed::Broke("closed before the end of an answer".to_owned())),
            Ok(_) => Ok(()),
            Err(error) => Err(broke(error)),
        }
    }
}

impl Answer {
    fn check(self, expected: &[f64]) -> Result<String, Failed> {
        if self.status != 200 {
            return Err(Failed::Status(self.status, self.body));
        }
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        match body["predictions"] == Value::from(expected) {
            true => Ok(self.served_by),
            false => Err(Failed::Wrong(self.body)),
        }
    }
}

fn broke(error: std::io::Error) -> Failed {
    Failed::Broke(error.to_string())
}

/// Whoever panicked with it has left a list, which is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
