//! HTTP/1.1 byte by byte, for what no proper client sends.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::waiting::DEADLINE;

/// A connection on which a test writes bytes and reads responses.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    /// Read, but part of the next response.
    ahead: Vec<u8>,
}

/// One response with a Content-Length, or whose body ended with the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawResponse {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl RawResponse {
    /// The first header called `name`, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl RawClient {
    /// Connects to `address`.
    pub async fn connect(address: SocketAddr) -> Self {
        let connected = timeout(DEADLINE, TcpStream::connect(address)).await;
        let stream = connected
            .expect("connects in time")
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    /// Sends `bytes` as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the peer reads");
    }

    /// Ends this side's half of the connection.
    pub async fn finish_sending(&mut self) {
        self.stream.shutdown().await.expect("the connection is open");
    }

    /// The next response.
    ///
    /// # Panics
    /// When the connection ends before it, or nothing comes in time.
    pub async fn response(&mut self) -> RawResponse {
        timeout(DEADLINE, self.read_response(true))
            .await
            .expect("a response in time")
    }

    /// Sends as much of `bytes` as the peer takes until its response is there.
    pub async fn response_while_sending(&mut self, bytes: Vec<u8>) -> RawResponse {
        let mut sent = 0;
        let answered = async {
            loop {
                tokio::select! {
                    biased;
                    readable = self.stream.readable() => break readable,
                    writable = self.stream.writable(), if sent < bytes.len() => {
                        writable?;
                        match self.stream.try_write(&bytes[sent..]) {
                            Ok(count) => sent += count,
                            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                            Err(error) => break Err(error),
                        }
                    }
                }
            }
        };
        let answered = timeout(DEADLINE, answered).await.expect("a response in time");
        answered.expect("the connection is whole");
        self.response().await
    }

    /// The next response to a HEAD, which has no body whatever its headers say.
    pub async fn response_to_head(&mut self) -> RawResponse {
        timeout(DEADLINE, self.read_response(false))
            .await
            .expect("a response in time")
    }

    /// Waits until the peer has closed the connection, and gives what it sent before.
    pub async fn closed(&mut self) -> Vec<u8> {
        let read = async {
            while self.read_more().await {}
            std::mem::take(&mut self.ahead)
        };
        timeout(DEADLINE, read).await.expect("the peer closes in time")
    }

    /// Waits until the peer has ended the connection; true when it was by a reset.
    pub async fn is_reset(&mut self) -> bool {
        let read = async {
            loop {
                match self.stream.read_buf(&mut self.ahead).await {
                    Ok(0) => break false,
                    Ok(_) => {}
                    Err(error) => break error.kind() == std::io::ErrorKind::ConnectionReset,
                }
            }
        };
        timeout(DEADLINE, read).await.expect("the peer ends in time")
    }

    /// The next `length` bytes, whatever they are; fewer when the peer ended before.
    pub async fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let read = async { while self.ahead.len() < length && self.read_more().await {} };
        timeout(DEADLINE, read).await.expect("something comes in time");
        self.ahead.drain(..length.min(self.ahead.len())).collect()
    }

    /// Ends the connection with RST instead of FIN.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a TCP socket can linger");
    }

    /// Reads up to `most` bytes of whatever comes next, and gives their number; 0 at the end.
    pub async fn read_some(&mut self, most: usize) -> usize {
        let mut bytes = vec![0; most];
        let read = timeout(DEADLINE, self.stream.read(&mut bytes)).await;
        read.expect("something comes in time").expect("the connection is whole")
    }

    /// True when the peer sends nothing and keeps the connection open for `time`.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.ahead.is_empty() && timeout(time, self.read_more()).await.is_err()
    }

    async fn read_response(&mut self, has_body: bool) -> RawResponse {
        let head_length = loop {
            let end = self.ahead.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(at) = end {
                break at + 4;
            }
            let sent = String::from_utf8_lossy(&self.ahead).into_owned();
            assert!(self.read_more().await, "closed before the end of a head: {sent:?}");
        };
        let head: Vec<u8> = self.ahead.drain(..head_length).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let mut response = RawResponse {
            status: status.unwrap_or_else(|| panic!("no status line: {head:?}")),
            headers: lines.filter_map(header).collect(),
            body: String::new(),
        };
        if !has_body {
            return response;
        }
        let length = response.header("content-length").and_then(|text| text.parse().ok());
        let length: usize = length.unwrap_or(usize::MAX);
        while self.ahead.len() < length && self.read_more().await {}
        let body: Vec<u8> = self.ahead.drain(..length.min(self.ahead.len())).collect();
        response.body = String::from_utf8_lossy(&body).into_owned();
        response
    }

    /// False at the end of the connection.
    async fn read_more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.ahead).await, Ok(1..))
    }
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
}
