//! The backend behind every peer: 200 and 79 bytes of JSON to whatever is asked, request bodies read and thrown away.
//!
//! It does just enough HTTP/1.1 to be much cheaper than any proxy in front of it: the proxy has to be what is measured.

use std::io;
use std::net::SocketAddr;

use bench_peers::{argument, run_local};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const KEPT_OPEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 79\r\n\r\n\
    {\"predictions\": [2.5, 3.0, 4.5], \"model\": \"half_plus_two\", \"version\": \"1.0.0\"}\n";
const CLOSED: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 79\r\nconnection: close\r\n\r\n\
    {\"predictions\": [2.5, 3.0, 4.5], \"model\": \"half_plus_two\", \"version\": \"1.0.0\"}\n";

/// Holds any request head of the benchmark; a body passes through it in pieces.
const BUFFER: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let listen: SocketAddr = argument(1, "LISTEN_ADDRESS")?;
    run_local(async move {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (stream, client) = listener.accept().await?;
            // It listens on every address to be many endpoints at once, not to be reached from elsewhere.
            if !client.ip().is_loopback() {
                continue;
            }
            tokio::task::spawn_local(async move {
                match serve(stream).await {
                    // Proxies drop idle connections as they like.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                    Err(error) => eprintln!("backend: {error}"),
                    Ok(()) => {}
                }
            });
        }
    })
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        let head_end = loop {
            if let Some(at) = find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if buffer.len() == BUFFER {
                return Err(invalid("request head is too large"));
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let request = Request::parse(&buffer[..head_end])?;
        let body_here = request.body.min(buffer.len() - head_end);
        buffer.drain(..head_end + body_here);
        discard(&mut stream, &mut buffer, request.body - body_here).await?;
        if !request.keep_alive {
            return stream.write_all(CLOSED).await;
        }
        stream.write_all(KEPT_OPEN).await?;
    }
}

/// Reads the rest of a body; `buffer` is empty unless `left` is 0.
async fn discard(stream: &mut TcpStream, buffer: &mut Vec<u8>, mut left: usize) -> io::Result<()> {
    while left > 0 {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let here = left.min(buffer.len());
        buffer.drain(..here);
        left -= here;
    }
    Ok(())
}

struct Request {
    body: usize,
    keep_alive: bool,
}

impl Request {
    fn parse(head: &[u8]) -> io::Result<Self> {
        let head = std::str::from_utf8(head).map_err(|_| invalid("request head is not UTF-8"))?;
        let mut lines = head.split("\r\n");
        let mut request = Self {
            body: 0,
            keep_alive: lines.next().is_some_and(|line| line.ends_with("HTTP/1.1")),
        };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                request.body = value.parse().map_err(|_| invalid("Content-Length is no number"))?;
            } else if name.eq_ignore_ascii_case("connection") {
                request.keep_alive &= !value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(invalid("chunked bodies are not part of the benchmark"));
            }
        }
        Ok(request)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
