//! A server that does what the test says, byte by byte.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Accepts until it is dropped. Each connection runs the script in a task of its own.
#[derive(Debug)]
pub struct Upstream {
    /// The address it listens on.
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start<F, S>(script: F) -> Self
    where
        F: Fn(UpstreamConnection) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(any_port, script).await
    }

    /// The same on an address of the test's choice, such as one that was free a moment ago.
    pub async fn start_at<F, S>(address: SocketAddr, script: F) -> Self
    where
        F: Fn(UpstreamConnection) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut scripts = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                scripts.spawn(script(UpstreamConnection {
                    number,
                    stream,
                    ahead: Vec::new(),
                }));
            }
        });
        Self {
            address,
            accepted,
            task,
        }
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    /// Closes the listener and every connection.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One accepted connection.
#[derive(Debug)]
pub struct UpstreamConnection {
    /// 0 for the first connection of its upstream.
    pub number: usize,
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl UpstreamConnection {
    /// The next request's head with its blank line; `None` when the client closed instead.
    pub async fn read_head(&mut self) -> Option<String> {
        loop {
            let end = self.ahead.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(at) = end {
                let head: Vec<u8> = self.ahead.drain(..at + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    /// The next `length` bytes, fewer when the client closed before.
    pub async fn read_body(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length && self.read_more().await {}
        let length = length.min(self.ahead.len());
        self.ahead.drain(..length).collect()
    }

    /// The next request with a body as long as its Content-Length says, or with its chunks as they came.
    pub async fn read_request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.read_head().await?;
        if head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked\r\n") {
            let body = self.read_chunks().await;
            return Some((head, body));
        }
        let length = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let named = name.eq_ignore_ascii_case("content-length");
            named.then(|| value.trim().parse().ok()).flatten()
        });
        let body = self.read_body(length.unwrap_or(0)).await;
        Some((head, body))
    }

    /// Everything up to the end of a chunked body without trailers.
    async fn read_chunks(&mut self) -> Vec<u8> {
        let mut chunks = Vec::new();
        while !chunks.ends_with(b"0\r\n\r\n") {
            let byte = self.read_body(1).await;
            if byte.is_empty() {
                break;
            }
            chunks.extend(byte);
        }
        chunks
    }

    /// Sends bytes as they are. A client that has gone is its own affair.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _gone = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Ends this side's half of the connection.
    pub async fn finish_sending(&mut self) {
        let _gone = self.stream.shutdown().await;
    }

    /// Sends back what comes, until the client ends its half.
    pub async fn echo(&mut self) {
        loop {
            let bytes = std::mem::take(&mut self.ahead);
            if !bytes.is_empty() {
                self.send(bytes).await;
            } else if !self.read_more().await {
                return;
            }
        }
    }

    /// Sends a whole response that keeps the connection open.
    pub async fn answer(&mut self, status: u16, body: &str) {
        let length = body.len();
        let response = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {length}\r\n\r\n{body}");
        self.send(response).await;
    }

    /// Answers every request with 200 and `body` until the client closes.
    pub async fn answer_all(&mut self, body: &str) {
        while self.read_request().await.is_some() {
            self.answer(200, body).await;
        }
    }

    /// Does nothing more, and keeps the connection open.
    pub async fn hang(self) {
        std::future::pending().await
    }

    /// Ends the connection with RST instead of FIN.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a TCP socket can linger");
    }

    /// False at the end of the connection.
    async fn read_more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.ahead).await, Ok(1..))
    }
}
