//! HTTP/2 frame by frame, for what no proper client sends and no proper client tells.

use std::net::SocketAddr;
use std::time::Duration;

use super::raw_client::RawClient;

/// Kinds of frames (RFC 9113 section 6).
pub mod kind {
    #![allow(missing_docs, reason = "the names are those of the RFC")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}

const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// See [`kind`].
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// What follows its head.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// True when its sender ends the stream with it.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }

    /// The number that the payload of a GOAWAY begins with, its last stream.
    pub fn last_stream(&self) -> u32 {
        self.word(0)
    }

    /// The code of a RST_STREAM or a GOAWAY.
    pub fn code(&self) -> u32 {
        self.word(if self.kind == kind::GOAWAY { 4 } else { 0 })
    }

    fn word(&self, at: usize) -> u32 {
        let word = self.payload.get(at..at + 4).expect("four bytes");
        u32::from_be_bytes(word.try_into().expect("four bytes"))
    }
}

/// A client connection of which a test writes and reads each frame.
#[derive(Debug)]
pub struct RawHttp2(RawClient);

impl RawHttp2 {
    /// Connects and begins with these settings, each a number and a value.
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self(RawClient::connect(address).await);
        client.0.send(PREFACE).await;
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(number, value)| [&number.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        client.send(kind::SETTINGS, 0, 0, &settings).await;
        client
    }

    /// Sends a frame.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a length");
        let [_, length @ ..] = length.to_be_bytes();
        let head = [&length[..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.send([&head, payload].concat()).await;
    }

    /// Sends a request's head, of fields as they are, and its end where it has no body.
    pub async fn request(&mut self, stream: u32, fields: &[(&str, &[u8])], has_body: bool) {
        let flags = if has_body {
            END_HEADERS
        } else {
            END_HEADERS | END_STREAM
        };
        self.send(kind::HEADERS, flags, stream, &block(fields)).await;
    }

    /// Sends `GET path`.
    pub async fn get(&mut self, stream: u32, path: &str) {
        self.request(stream, &head("GET", path), false).await;
    }

    /// Sends a part of a body.
    pub async fn data(&mut self, stream: u32, part: &[u8], is_last: bool) {
        self.send(kind::DATA, u8::from(is_last), stream, part).await;
    }

    /// The next frame other than SETTINGS, whose acknowledgement is sent, and WINDOW_UPDATE; `None` at the end of the
    /// connection.
    pub async fn frame(&mut self) -> Option<RawFrame> {
        loop {
            let head = self.0.read_exactly(9).await;
            let &[high, middle, low, kind, flags, ref stream @ ..] = &head[..] else {
                return None;
            };
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            let frame = RawFrame {
                kind,
                flags,
                stream: u32::from_be_bytes((*stream).try_into().expect("four bytes")),
                payload: self.0.read_exactly(length).await,
            };
            match kind {
                kind::SETTINGS if flags & ACK == 0 => self.send(kind::SETTINGS, ACK, 0, &[]).await,
                kind::SETTINGS | kind::WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    /// Reads up to the end of the answer on `stream`: the first byte of its head, which is HPACK's for many statuses, and
    /// its body. Panics at any other frame, as clients do that know no other.
    pub async fn answer(&mut self, stream: u32) -> (u8, Vec<u8>) {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let frame = self.frame().await.expect("the answer before the end of the connection");
            assert_eq!(frame.stream, stream, "{frame:?}");
            match frame.kind {
                kind::HEADERS => status = frame.payload[0],
                kind::DATA => body.extend_from_slice(&frame.payload),
                _ => panic!("the answer of stream {stream} is awaited, and there is {frame:?}"),
            }
            if frame.ends_stream() {
                return (status, body);
            }
        }
    }

    /// True when nothing but SETTINGS and window updates comes for `time`.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.frame()).await.is_err()
    }
}

/// The fields of a request without more.
pub fn head<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a [u8]); 4] {
    [
        (":method", method.as_bytes()),
        (":scheme", b"http"),
        (":authority", b"h"),
        (":path", path.as_bytes()),
    ]
}

/// The fields as HPACK's literals that no table keeps (RFC 7541 section 6.2.2).
fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// A length in HPACK's form for seven bits (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    const MOST: usize = 127;
    if length < MOST {
        block.push(length as u8);
        return;
    }
    block.push(MOST as u8);
    let mut rest = length - MOST;
    while rest > 127 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}
