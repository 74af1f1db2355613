//! How a request can fail: the one list of kinds, and how an error becomes one of them.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

/// What a failed request is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Answered with another status than 2xx.
    Status(u16),
    Dns,
    Refused,
    ConnectTimeout,
    /// The connection could not be opened for another reason.
    Connect,
    /// The connection was reset before the answer.
    Reset,
    /// The connection was closed before the answer.
    Closed,
    Timeout,
    /// The answer began and did not end.
    BodyBrokeOff,
    /// What came is no HTTP.
    Invalid,
    /// No connection was free for it in time.
    NotSent,
    /// The load was ended by a second signal before its answer.
    Unfinished,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "status {code}"),
            Self::Dns => f.write_str("dns"),
            Self::Refused => f.write_str("refused"),
            Self::ConnectTimeout => f.write_str("connect timeout"),
            Self::Connect => f.write_str("connect"),
            Self::Reset => f.write_str("reset"),
            Self::Closed => f.write_str("closed"),
            Self::Timeout => f.write_str("timeout"),
            Self::BodyBrokeOff => f.write_str("body broke off"),
            Self::Invalid => f.write_str("invalid answer"),
            Self::NotSent => f.write_str("not sent"),
            Self::Unfinished => f.write_str("unfinished"),
        }
    }
}

/// One failed request: what it is counted as, and what the error said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    pub detail: String,
}

impl Failure {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { kind, detail }
    }

    /// A request for which no connection was free in time.
    pub fn not_sent(waited: Duration) -> Self {
        Self::new(
            Kind::NotSent,
            format!("no connection was free for it for {:.1} s", waited.as_secs_f64()),
        )
    }

    /// Whether no connection came about, so that the next one need not either.
    pub fn is_connect(&self) -> bool {
        matches!(
            self.kind,
            Kind::Dns | Kind::Refused | Kind::ConnectTimeout | Kind::Connect
        )
    }

    /// A connection that did not come about.
    pub fn of_connect(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            io::ErrorKind::TimedOut => Kind::ConnectTimeout,
            _ => Kind::Connect,
        };
        Self::new(kind, error.to_string())
    }

    /// A request that got no answer.
    pub fn of_exchange(error: &hyper::Error) -> Self {
        Self::new(exchange_kind(error), chain(error))
    }

    /// An answer whose body did not come to its end.
    pub fn of_body(error: &hyper::Error) -> Self {
        Self::new(Kind::BodyBrokeOff, chain(error))
    }
}

fn exchange_kind(error: &hyper::Error) -> Kind {
    if error.is_parse() {
        return Kind::Invalid;
    }
    let io_kind = sources(error).find_map(|source| source.downcast_ref::<io::Error>().map(io::Error::kind));
    match io_kind {
        Some(io::ErrorKind::UnexpectedEof) => Kind::Closed,
        Some(_) => Kind::Reset,
        None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => Kind::Closed,
        // HTTP/2: the stream or the connection was reset.
        None => Kind::Reset,
    }
}

fn sources<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let current = next?;
        next = current.source();
        Some(current)
    })
}

/// The error and its causes on one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = sources(error).map(ToString::to_string).collect();
    texts.join(": ")
}
