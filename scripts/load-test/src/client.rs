//! One connection and the requests on it, one after the other. After a failure the next request opens a new one.
//!
//! A server may close a kept-alive connection that has nothing in hand. A request that was about to use it and was not written
//! goes out on a new connection, once, as browsers do; hyper says so by handing it back. A request of which anything may have
//! been written has failed.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, lookup_host};
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

#[derive(Debug)]
pub struct Client {
    target: Target,
    protocol: Protocol,
    template: Template,
    connection: Option<Connection>,
    connecting: bool,
}

impl Client {
    pub fn new(target: Target, protocol: Protocol, template: Template) -> Self {
        Self {
            target,
            protocol,
            template,
            connection: None,
            connecting: false,
        }
    }

    /// Opens the connection before there is a request, where requests are to find one open.
    pub async fn prepare(&mut self, patience: Duration) -> Result<(), Failure> {
        let connected = timeout(patience, self.connect()).await;
        connected.unwrap_or_else(|_elapsed| Err(Failure::new(Kind::ConnectTimeout, format!("after {patience:?}"))))?;
        if self.protocol == Protocol::NewConnections {
            self.connection = None;
        }
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
        if broke || self.protocol == Protocol::NewConnections {
            self.connection = None;
        }
        outcome
    }

    async fn attempt(&mut self) -> Result<Outcome, Failure> {
        let kept = match self.connection.take() {
            Some(mut connection) => connection.is_ready().await.then_some(connection),
            None => None,
        };
        let was_kept = kept.is_some();
        match kept {
            Some(connection) => self.connection = Some(connection),
            None => self.connect().await?,
        }
        let response = match self.send(self.template.request()).await {
            Ok(response) => response,
            Err(mut refused) => match refused.take_message() {
                Some(unwritten) if was_kept => {
                    self.connect().await?;
                    let sent = self.send(unwritten).await;
                    sent.map_err(|error| Failure::of_exchange(error.error()))?
                }
                _ => return Err(Failure::of_exchange(refused.error())),
            },
        };
        Ok(read(response).await)
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        self.connecting = true;
        self.connection = Some(Connection::open(&self.target, self.protocol).await?);
        self.connecting = false;
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<Response<Incoming>, TrySendError<Message>> {
        match self.connection.as_mut().expect("connected before sending") {
            Connection::Http1(sender) => sender.try_send_request(message).await,
            Connection::Http2(sender) => sender.try_send_request(message).await,
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

#[derive(Debug)]
enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    async fn open(target: &Target, protocol: Protocol) -> Result<Self, Failure> {
        let stream = TokioIo::new(connect(target).await?);
        // A connection's own task ends with it; how it ended is what the request in it is told.
        match protocol {
            Protocol::KeepAlive | Protocol::NewConnections => {
                let handshake = http1::handshake(stream).await;
                let (sender, connection) = handshake.map_err(|error| Failure::of_exchange(&error))?;
                tokio::spawn(connection);
                Ok(Self::Http1(sender))
            }
            Protocol::Http2 => {
                let handshake = http2::handshake(TokioExecutor::new(), stream).await;
                let (sender, connection) = handshake.map_err(|error| Failure::of_exchange(&error))?;
                tokio::spawn(connection);
                Ok(Self::Http2(sender))
            }
        }
    }

    /// Whether another request can be sent on it: not when the server closed it or said that it will.
    async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }
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
