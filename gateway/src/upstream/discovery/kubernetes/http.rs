//! One GET to the API server, over a connection of its own.
//!
//! There is about one a minute, so nothing is pooled: each reads the token and the CA as they are now, because both
//! are rotated, and none meets a connection that died in silence.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hickory_resolver::TokioResolver;
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use shared::http_client::tls_config;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::debug;

/// For TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the head of an answer, and for a body that is read whole.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest line of a body: the API server stores no object over 1.5 MiB.
const LONGEST_LINE: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error("{path} holds {problem}")]
    Unusable { path: String, problem: &'static str },
    #[error("cannot find the API server {host}: {problem}")]
    Unknown { host: String, problem: String },
    #[error("cannot connect to the API server {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("the API server does not answer within {} s", .0.as_secs())]
    TooLate(Duration),
    #[error("the API server broke off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the API server answers more than {0} bytes at once")]
    TooLong(usize),
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
}

/// Address of the API server, and the credentials for it.
pub(super) struct Server {
    pub(super) url: Uri,
    pub(super) service_account: PathBuf,
    pub(super) resolver: TokioResolver,
}

/// An answer whose body is still to come. Dropping it closes the connection.
pub(super) struct ApiAnswer {
    pub(super) status: StatusCode,
    body: Incoming,
    /// Read, but part of the next line.
    ahead: BytesMut,
    _connection: JoinSet<()>,
}

impl Server {
    /// Sends a GET for `target`, a path with its query.
    pub(super) async fn get(&self, target: &Uri) -> Result<ApiAnswer, HttpError> {
        let request = self.request(target)?;
        let tls = self.tls()?;
        let (address, stream) = in_time(CONNECT_TIMEOUT, self.connect()).await?;
        let Some((tls, name)) = tls else {
            return in_time(ANSWER_TIMEOUT, exchange(stream, request)).await;
        };
        let greeting = async {
            let greeted = tls.connect(name, stream).await;
            greeted.map_err(|source| HttpError::Connect { address, source })
        };
        let stream = in_time(CONNECT_TIMEOUT, greeting).await?;
        in_time(ANSWER_TIMEOUT, exchange(stream, request)).await
    }

    fn request(&self, target: &Uri) -> Result<Request<Empty<Bytes>>, HttpError> {
        let authority = self.url.authority().map_or("", http::uri::Authority::as_str);
        let mut request = Request::get(target.clone())
            .header(HOST, authority)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("gateway/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())?;
        if let Some(token) = self.token()? {
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        Ok(request)
    }

    /// The namespace of the pod.
    pub(super) fn own_namespace(&self) -> Result<String, HttpError> {
        let namespace = String::from_utf8(self.read("namespace")?);
        let namespace = namespace.map_err(|_| self.unusable("namespace", "no name"))?;
        Ok(namespace.trim().to_owned())
    }

    /// Without TLS a token may be missing: `kubectl proxy` has its own.
    fn token(&self) -> Result<Option<HeaderValue>, HttpError> {
        let token = match self.read("token") {
            Ok(token) => token,
            Err(_) if !self.is_encrypted() => return Ok(None),
            Err(error) => return Err(error),
        };
        let header = HeaderValue::from_bytes(&[b"Bearer ", token.trim_ascii()].concat());
        let mut header = header.map_err(|_| self.unusable("token", "no token"))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    /// The CA of the cluster, and the name that the server's certificate must have. `None` for plain HTTP.
    fn tls(&self) -> Result<Option<(TlsConnector, ServerName<'static>)>, HttpError> {
        if !self.is_encrypted() {
            return Ok(None);
        }
        let pem = self.read("ca.crt")?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        if roots.is_empty() {
            return Err(self.unusable("ca.crt", "no certificate"));
        }
        let name = ServerName::try_from(self.host().to_owned()).map_err(|error| HttpError::Unknown {
            host: self.host().to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Some((TlsConnector::from(Arc::new(tls_config(roots))), name)))
    }

    async fn connect(&self) -> Result<(SocketAddr, TcpStream), HttpError> {
        let host = self.host();
        let port = self
            .url
            .port_u16()
            .unwrap_or(if self.is_encrypted() { 443 } else { 80 });
        let ip: IpAddr = match host.parse() {
            Ok(ip) => ip,
            Err(_name) => self.resolve(host).await.map_err(|problem| HttpError::Unknown {
                host: host.to_owned(),
                problem,
            })?,
        };
        let address = SocketAddr::new(ip, port);
        let connected = TcpStream::connect(address).await;
        let stream = connected.map_err(|source| HttpError::Connect { address, source })?;
        Ok((address, stream))
    }

    async fn resolve(&self, host: &str) -> Result<IpAddr, String> {
        let found = self.resolver.lookup_ip(host).await.map_err(|error| error.to_string())?;
        found
            .iter()
            .next()
            .ok_or_else(|| "the answer holds no address".to_owned())
    }

    /// An IPv6 address without its brackets.
    fn host(&self) -> &str {
        let host = self.url.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    fn is_encrypted(&self) -> bool {
        self.url.scheme_str() == Some("https")
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, HttpError> {
        let path = self.service_account.join(name);
        std::fs::read(&path).map_err(|source| HttpError::Unreadable {
            path: path.display().to_string(),
            source,
        })
    }

    fn unusable(&self, name: &str, problem: &'static str) -> HttpError {
        let path = self.service_account.join(name).display().to_string();
        HttpError::Unusable { path, problem }
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, HttpError>>) -> Result<T, HttpError> {
    timeout(limit, work).await.unwrap_or(Err(HttpError::TooLate(limit)))
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<ApiAnswer, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut task = JoinSet::new();
    task.spawn_local(async move {
        if let Err(error) = connection.await {
            debug!(%error, "the connection to the API server ended early");
        }
    });
    let response = sender.send_request(request).await?;
    Ok(ApiAnswer {
        status: response.status(),
        body: response.into_body(),
        ahead: BytesMut::new(),
        _connection: task,
    })
}

impl ApiAnswer {
    /// The body, which must be no longer than `limit`.
    pub(super) async fn whole(self, limit: usize) -> Result<Bytes, HttpError> {
        // The connection is driven until the body is there.
        let Self { body, _connection, .. } = self;
        let reading = async {
            let read = Limited::new(body, limit).collect().await;
            read.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => HttpError::Broken(*error),
                Err(_limit) => HttpError::TooLong(limit),
            })
        };
        Ok(in_time(ANSWER_TIMEOUT, reading).await?.to_bytes())
    }

    /// The next line of the body; `None` at its end.
    pub(super) async fn line(&mut self) -> Result<Option<Bytes>, HttpError> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.ahead[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.ahead.split_to(searched + at + 1);
                return Ok(Some(line.freeze()));
            }
            searched = self.ahead.len();
            if searched > LONGEST_LINE {
                return Err(HttpError::TooLong(LONGEST_LINE));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Ok(data) = frame?.into_data() {
                self.ahead.extend_from_slice(&data);
            }
        }
    }
}
