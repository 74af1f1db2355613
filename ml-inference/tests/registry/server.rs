//! A registry: files by HTTP, as a web server or as S3 serves them, with the failures that a test asks for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ml_inference::registry::Sha256;
use shared::test_util::{Upstream, UpstreamConnection};

use crate::signature;

pub(crate) const USER: &str = "reader";
pub(crate) const PASSWORD: &str = "hunter2";

/// What the server has and does; a test may change it at any time.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// By path, from the root.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) access: Access,
    pub(crate) tags: Tags,
    /// Ends the connection after so many bytes of a body that is longer, this once.
    pub(crate) cut_once: Option<usize>,
    /// Says no more after so many bytes of a body that is longer.
    pub(crate) stall_after: Option<usize>,
    pub(crate) ignores_ranges: bool,
    /// Says nothing of a body's length, and ends it by closing.
    pub(crate) hides_length: bool,
    /// Answers everything by sending elsewhere.
    pub(crate) redirect: Option<String>,
    pub(crate) asked: Vec<Asked>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Access {
    #[default]
    Open,
    Basic {
        password: &'static str,
    },
    S3 {
        secret: &'static str,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tags {
    #[default]
    Strong,
    Weak,
    None,
}

/// A request that came, and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) status: u16,
}

/// It listens until it is dropped.
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    _upstream: Upstream,
}

impl Registry {
    pub(crate) async fn start(shelf: Shelf) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), Arc::new(Mutex::new(shelf))).await
    }

    async fn start_at(address: SocketAddr, shelf: Arc<Mutex<Shelf>>) -> Self {
        let shared = Arc::clone(&shelf);
        let upstream = Upstream::start_at(address, move |connection| serve(connection, Arc::clone(&shared))).await;
        Self {
            address: upstream.address,
            shelf,
            _upstream: upstream,
        }
    }

    /// Ends it and all its connections; the address and what it has are for [`Down::up`].
    pub(crate) fn down(self) -> Down {
        Down {
            address: self.address,
            shelf: self.shelf,
        }
    }

    pub(crate) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The requests for a file so far.
    pub(crate) fn asked_for(&self, file: &str) -> Vec<Asked> {
        let asked = &self.shelf().asked;
        asked
            .iter()
            .filter(|asked| asked.path.ends_with(file))
            .cloned()
            .collect()
    }
}

/// A server that is not there.
pub(crate) struct Down {
    pub(crate) address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

impl Down {
    pub(crate) async fn up(self) -> Registry {
        Registry::start_at(self.address, self.shelf).await
    }
}

impl Shelf {
    /// Has these files of a model at `directory`, and the index of them.
    pub(crate) fn with(directory: &str, files: &[(&str, &[u8])]) -> Self {
        let mut shelf = Self::default();
        shelf.publish(directory, files);
        shelf
    }

    pub(crate) fn publish(&mut self, directory: &str, files: &[(&str, &[u8])]) {
        let prefix = format!("/{directory}/");
        self.files.retain(|path, _| !path.starts_with(&prefix));
        for (path, bytes) in files {
            self.files.insert(format!("{prefix}{path}"), bytes.to_vec());
        }
        self.files
            .insert(format!("{prefix}SHA256SUMS"), index(files).into_bytes());
    }
}

/// As `sha256sum` writes it.
pub(crate) fn index(files: &[(&str, &[u8])]) -> String {
    let lines = files
        .iter()
        .map(|(path, bytes)| format!("{}  {path}\n", Sha256::of(bytes)));
    lines.collect()
}

/// So many bytes that no two ranges of them are the same.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let words = (0_u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes());
    words.take(length).collect()
}

/// A test that panicked while it held the shelf has left it whole.
fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut connection: UpstreamConnection, shelf: Arc<Mutex<Shelf>>) {
    while let Some(head) = connection.read_head().await {
        let answer = lock(&shelf).answer(&head);
        connection.send(answer.head).await;
        connection.send(answer.body).await;
        match answer.then {
            Then::GoOn => {}
            Then::Hang => return connection.hang().await,
            Then::Close => return,
        }
    }
}

struct Answer {
    head: String,
    body: Vec<u8>,
    then: Then,
}

enum Then {
    GoOn,
    Hang,
    Close,
}

impl Shelf {
    fn answer(&mut self, head: &str) -> Answer {
        let request = Request::parse(head);
        let (status, headers, body) = self.judge(&request, head);
        self.asked.push(Asked {
            path: request.path.to_owned(),
            range: request.header("range").map(str::to_owned),
            authorization: request.header("authorization").map(str::to_owned),
            status,
        });
        let length = body.len();
        let mut then = Then::GoOn;
        let mut sent = body;
        if self.cut_once.is_some_and(|cut| cut < length) {
            sent.truncate(self.cut_once.take().unwrap_or_default());
            then = Then::Close;
        } else if let Some(stall) = self.stall_after.filter(|stall| *stall < length) {
            sent.truncate(stall);
            then = Then::Hang;
        }
        let length = match self.hides_length {
            true => {
                then = Then::Close;
                String::new()
            }
            false => format!("content-length: {length}\r\n"),
        };
        Answer {
            head: format!("HTTP/1.1 {status} Scripted\r\n{length}{headers}\r\n"),
            body: sent,
            then,
        }
    }

    fn judge(&self, request: &Request<'_>, head: &str) -> (u16, String, Vec<u8>) {
        if let Some(elsewhere) = &self.redirect {
            return (302, format!("location: {elsewhere}{}\r\n", request.path), Vec::new());
        }
        let authorization = request.header("authorization").unwrap_or_default();
        match self.access {
            Access::Open => {}
            Access::Basic { password } if authorization == basic(USER, password) => {}
            Access::Basic { .. } => {
                return (
                    401,
                    "www-authenticate: Basic realm=\"models\"\r\n".to_owned(),
                    Vec::new(),
                );
            }
            Access::S3 { secret } => {
                if let Err(code) = signature::check(head, USER, secret) {
                    return (403, String::new(), s3_error(code));
                }
            }
        }
        let Some(bytes) = self.files.get(request.path) else {
            return (404, String::new(), s3_error("NoSuchKey"));
        };
        let tag = format!("\"{}\"", &Sha256::of(bytes).to_string()[..16]);
        let headers = match self.tags {
            Tags::Strong => format!("etag: {tag}\r\n"),
            Tags::Weak => format!("etag: W/{tag}\r\n"),
            Tags::None => String::new(),
        };
        if request.header("if-none-match") == Some(&tag) {
            return (304, headers, Vec::new());
        }
        if request.header("if-match").is_some_and(|asked| asked != tag) {
            return (412, headers, Vec::new());
        }
        let is_same = request.header("if-range").is_none_or(|asked| asked == tag);
        let start = request.header("range").filter(|_| is_same && !self.ignores_ranges);
        let Some(start) = start.map(range_start) else {
            return (200, headers, bytes.clone());
        };
        if start >= bytes.len() {
            return (416, format!("content-range: bytes */{}\r\n", bytes.len()), Vec::new());
        }
        let range = format!("content-range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len());
        (206, headers + &range, bytes[start..].to_vec())
    }
}

fn range_start(range: &str) -> usize {
    let start = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
    let start = start.and_then(|start| start.parse().ok());
    start.unwrap_or_else(|| panic!("a range from somewhere to the end, not {range:?}"))
}

fn s3_error(code: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No.</Message></Error>").into_bytes()
}

/// RFC 7617.
pub(crate) fn basic(user: &str, password: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = "Basic ".to_owned();
    for three in format!("{user}:{password}").as_bytes().chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

struct Request<'a> {
    path: &'a str,
    head: &'a str,
}

impl<'a> Request<'a> {
    fn parse(head: &'a str) -> Self {
        let path = head.split(' ').nth(1).expect("a request line");
        Self { path, head }
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}
