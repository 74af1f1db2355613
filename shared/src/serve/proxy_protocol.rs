//! The header of the PROXY protocol (HAProxy's specification, versions 1 and 2), with which a load balancer that does not speak
//! HTTP names the client ahead of the connection's first byte.
//!
//! Whether a connection begins with a header is told by where it comes from, never guessed from its bytes (section 2 of the
//! specification): otherwise any client could name another.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info};

use super::connections::{Connections, WakerSlot};

/// The reason in the log and in the metrics.
const REASON: &str = "proxy_header";
/// Longest header of version 1, with its line break.
const LONGEST_V1: usize = 107;
/// Longest header of version 2 that is read. The addresses take 52 bytes; what load balancers add to them, such as the subject of a
/// client's certificate, has hundreds.
const LONGEST: usize = 4096;
/// Bytes looked at in one go: any header of version 1, and most of version 2.
const CHUNK: usize = 256;

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_LOCAL: u8 = 0x20;
/// Signature, version with command, family, and the length of the rest.
const V2_FIXED: usize = 16;

/// Why a connection ends before its first request.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// A load balancer's check of the port.
    #[error("the connection ended before its first byte")]
    Unused,
    #[error("the connection ended within the header")]
    Cut,
    #[error("no header of the PROXY protocol, version 1 or 2, for TCP")]
    Malformed,
    #[error("the header is longer than {LONGEST} bytes")]
    TooLong,
    #[error("the header did not arrive in time")]
    TimedOut,
    #[error("the process ends")]
    Closing,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the header of a connection that `peer` opened, to its last byte and no further, within the time that a request's head has.
/// Gives the client: whom the header names, or `peer` where it names nobody. `None` ends the connection.
pub(super) async fn client(
    stream: &mut TcpStream,
    peer: SocketAddr,
    connections: &Rc<Connections>,
) -> Option<SocketAddr> {
    let mut slot = WakerSlot::new(connections);
    let mut header = pin!(timeout(connections.limits.header_timeout, read(stream)));
    let header = std::future::poll_fn(|cx| {
        slot.register(cx);
        match header.as_mut().poll(cx) {
            Poll::Ready(Ok(header)) => Poll::Ready(header),
            Poll::Ready(Err(_elapsed)) => Poll::Ready(Err(Fault::TimedOut)),
            Poll::Pending if connections.grace_over.get() => Poll::Ready(Err(Fault::Closing)),
            Poll::Pending => Poll::Pending,
        }
    });
    match header.await {
        Ok(named) => Some(named.unwrap_or(peer)),
        Err(fault) => {
            note(&fault, peer.ip().to_canonical(), connections);
            None
        }
    }
}

fn note(fault: &Fault, peer: IpAddr, connections: &Connections) {
    if matches!(fault, Fault::Unused | Fault::Closing) {
        return debug!(%peer, %fault, "connection ended early");
    }
    connections.metrics.refused.with_label_values(&[REASON]).inc();
    match connections.limits.log_refusals {
        true => info!(%peer, reason = REASON, %fault, "refused"),
        false => debug!(%peer, reason = REASON, %fault, "refused"),
    }
}

/// What follows the header stays in the socket: bytes are taken out only when they are known to be the header's.
async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Fault> {
    let mut chunk = [0; CHUNK];
    let mut header = Vec::new();
    loop {
        let known = header.len();
        let peeked = stream.peek(&mut chunk).await?;
        if peeked == 0 {
            return Err(if known == 0 { Fault::Unused } else { Fault::Cut });
        }
        header.extend_from_slice(&chunk[..peeked]);
        let parsed = parse(&header)?;
        // All that was looked at belongs to a header that is not over yet.
        let end = parsed.as_ref().map_or(header.len(), |parsed| parsed.length);
        stream.read_exact(&mut chunk[..end - known]).await?;
        if let Some(parsed) = parsed {
            return Ok(parsed.client);
        }
    }
}

#[derive(Debug, PartialEq)]
struct Parsed {
    client: Option<SocketAddr>,
    length: usize,
}

/// The header that `bytes` begin with; `None` while it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<Parsed>, Fault> {
    if !bytes.starts_with(V2_SIGNATURE) {
        return named(&bytes[..bytes.len().min(LONGEST_V1)], could_become_one(bytes));
    }
    let Some(fixed) = bytes.get(..V2_FIXED) else {
        return Ok(None);
    };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > LONGEST {
        return Err(Fault::TooLong);
    }
    match bytes.get(..length) {
        None => Ok(None),
        // A connection of the balancer's own. What it says besides is to be ignored, which the parser does not.
        Some(_) if fixed[12] == V2_LOCAL => Ok(Some(Parsed { client: None, length })),
        Some(header) => named(header, false),
    }
}

/// Whom a header names, unless it goes on.
fn named(header: &[u8], may_go_on: bool) -> Result<Option<Parsed>, Fault> {
    let (header, length) = match ProxyHeader::parse(header, ParseConfig::default()) {
        Ok(parsed) => parsed,
        Err(Error::BufferTooShort) if may_go_on => return Ok(None),
        Err(_) => return Err(Fault::Malformed),
    };
    let client = match header.proxied_address() {
        None => None,
        Some(named) if named.protocol == Protocol::Stream => Some(named.source),
        // UDP's clients do not come over TCP.
        Some(_) => return Err(Fault::Malformed),
    };
    Ok(Some(Parsed { client, length }))
}

/// The parser asks for more bytes before it looks at the few that there are.
fn could_become_one(bytes: &[u8]) -> bool {
    let begins = |header: &[u8]| bytes.iter().zip(header).all(|(byte, expected)| byte == expected);
    begins(V2_SIGNATURE) || begins(b"PROXY ")
}

#[cfg(test)]
mod tests;
