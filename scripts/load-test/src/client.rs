//! One connection and the requests on it: one after the other, or over HTTP/2 as many at a time as clients share it. After a
//! failure the next request opens a new one.
//!
//! A server may close a kept-alive connection that has nothing in hand. A request that was about to use it and was not written
//! goes out on a new connection, once, as browsers do; hyper says so by handing it back. A request of which anything may have
//! been written has failed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::failure::{Failure, Kind};
use crate::target::{Protocol, Target, Template};

const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const X_MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");

type Message = Request<Full<Bytes>>;

/// What came of one request.
#[derive(Debug)]
pub struct Outcome {
    pub result: Result<(), Failure>,
    /// Whose answer it was, when there was one.
    pub answer: Option<Answer>,
}

/// Who answered, as the headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub pod: Option<HeaderValue>,
    pub version: Option<HeaderValue>,
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        let answer = None;
        let result = Err(failure);
        Self { result, answer }
    }
}

/// Sends one request at a time.
#[derive(Debug)]
pub struct Client {
    target: Target,
    protocol: Protocol,
    template: Template,
    kept: Kept,
    /// The number of the shared connection that the request is on.
    used: u64,
    connecting: bool,
}

/// Where the connection is between requests.
#[derive(Debug)]
enum Kept {
    Own(Option<http1::SendRequest<Full<Bytes>>>),
    /// Of several clients, each of which has one request in it at a time.
    Shared(Arc<Mutex<Shared>>),
}

#[derive(Debug, Default)]
struct Shared {
    connection: Option<http2::SendRequest<Full<Bytes>>>,
    /// Connections so far: the number of this one.
    opened: u64,
}

/// What a request is sent on.
#[derive(Debug)]
enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// Clients that share one connection over HTTP/2, and have one each otherwise.
    pub fn sharing(clients: u32, target: &Target, protocol: Protocol, template: &Template) -> Vec<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let client = |_| Self {
            target: target.clone(),
            protocol,
            template: template.clone(),
            kept: match protocol {
                Protocol::Http2 => Kept::Shared(Arc::clone(&shared)),
                Protocol::KeepAlive | Protocol::NewConnections => Kept::Own(None),
            },
            used: 0,
            connecting: false,
        };
        (0..clients).map(client).collect()
    }

    /// Opens the connection before there is a request, where requests are to find one open.
    pub async fn prepare(&mut self, patience: Duration) -> Result<(), Failure> {
        let late = |_elapsed| Failure::new(Kind::ConnectTimeout, format!("after {patience:?}"));
        let (connection, _was_kept) = timeout(patience, self.connection()).await.map_err(late)??;
        self.keep(connection);
        Ok(())
    }

    /// Sends the request and reads the whole answer.
    pub async fn exchange(&mut self, patience: Duration) -> Outcome {
        let outcome = match timeout(patience, self.attempt()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(failure)) => failure.into(),
            Err(_elapsed) => {
                let kind = if self.connecting {
                    Kind::ConnectTimeout
                } else {
                    Kind::Timeout
                };
                Failure::new(kind, format!("after {patience:?}")).into()
            }
        };
        let broke = matches!(&outcome.result, Err(failure) if !matches!(failure.kind, Kind::Status(_)));
        if broke {
            self.forget_shared();
        }
        outcome
    }

    /// Takes the connection out; it is put back after an answer, so that a request that is given up leaves none behind.
    async fn attempt(&mut self) -> Result<Outcome, Failure> {
        let (mut connection, was_kept) = self.connection().await?;
        let response = match connection.send(self.template.request()).await {
            Ok(response) => response,
            Err(mut refused) => match refused.take_message() {
                Some(unwritten) if was_kept => {
                    self.forget_shared();
                    (connection, _) = self.connection().await?;
                    let sent = connection.send(unwritten).await;
                    sent.map_err(|error| Failure::of_exchange(error.error()))?
                }
                _ => return Err(Failure::of_exchange(refused.error())),
            },
        };
        let outcome = read(response).await;
        self.keep(connection);
        Ok(outcome)
    }

    /// The kept connection, unless the server closed it or said that it will; otherwise a new one. And which of the two.
    async fn connection(&mut self) -> Result<(Connection, bool), Failure> {
        match &mut self.kept {
            Kept::Own(kept) => {
                if let Some(mut kept) = kept.take()
                    && kept.ready().await.is_ok()
                {
                    return Ok((Connection::Http1(kept), true));
                }
                self.connecting = true;
                let opened = open_http1(&self.target).await?;
                self.connecting = false;
                Ok((Connection::Http1(opened), false))
            }
            Kept::Shared(shared) => {
                // Whoever comes while another opens it waits for the same one.
                self.connecting = true;
                let mut shared = shared.lock().await;
                let was_kept = match &mut shared.connection {
                    Some(kept) => kept.ready().await.is_ok(),
                    None => false,
                };
                if !was_kept {
                    shared.connection = None;
                    shared.connection = Some(open_http2(&self.target).await?);
                    shared.opened += 1;
                }
                self.connecting = false;
                self.used = shared.opened;
                let connection = shared.connection.clone().expect("kept or opened");
                Ok((Connection::Http2(connection), was_kept))
            }
        }
    }

    fn keep(&mut self, connection: Connection) {
        if let (Kept::Own(kept), Connection::Http1(connection), Protocol::KeepAlive) =
            (&mut self.kept, connection, self.protocol)
        {
            *kept = Some(connection);
        }
    }

    /// New requests do not go to the connection that the last one was on. Those of others that are on it stay.
    fn forget_shared(&self) {
        // While it is locked, another one is being opened.
        if let Kept::Shared(shared) = &self.kept
            && let Ok(mut shared) = shared.try_lock()
            && shared.opened == self.used
        {
            shared.connection = None;
        }
    }
}

impl Connection {
    async fn send(&mut self, message: Message) -> Result<Response<Incoming>, TrySendError<Message>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(message).await,
            Self::Http2(sender) => sender.try_send_request(message).await,
        }
    }
}

/// Reads the answer to its end. A status that is a failure stays one, whatever becomes of the body.
async fn read(response: Response<Incoming>) -> Outcome {
    let (mut head, mut body) = response.into_parts();
    let answer = Some(Answer {
        pod: head.headers.remove(X_SERVED_BY),
        version: head.headers.remove(X_MODEL_VERSION),
    });
    let broke = loop {
        match body.frame().await {
            Some(Ok(_frame)) => {}
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    let result = match broke {
        _ if !head.status.is_success() => Err(Failure::new(Kind::Status(head.status.as_u16()), "")),
        Some(error) => Err(Failure::of_body(&error)),
        None => Ok(()),
    };
    Outcome { result, answer }
}

/// The connection's own task ends with it; how it ended is what the requests in it are told.
async fn open_http1(target: &Target) -> Result<http1::SendRequest<Full<Bytes>>, Failure> {
    let stream = TokioIo::new(connect(target).await?);
    let handshake = http1::handshake(stream).await;
    let (sender, connection) = handshake.map_err(|error| Failure::of_exchange(&error))?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn open_http2(target: &Target) -> Result<http2::SendRequest<Full<Bytes>>, Failure> {
    let stream = TokioIo::new(connect(target).await?);
    let handshake = http2::handshake(TokioExecutor::new(), stream).await;
    let (sender, connection) = handshake.map_err(|error| Failure::of_exchange(&error))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The first of the host's addresses that takes the connection. A name is asked for anew each time, as by new clients.
async fn connect(target: &Target) -> Result<TcpStream, Failure> {
    let dns = |error: &io::Error| Failure::new(Kind::Dns, error.to_string());
    let addresses = lookup_host((target.host(), target.port()))
        .await
        .map_err(|error| dns(&error))?;
    let mut last = Failure::new(Kind::Dns, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(|error| Failure::of_connect(&error))?;
                return Ok(stream);
            }
            Err(error) => last = Failure::of_connect(&error),
        }
    }
    Err(last)
}
