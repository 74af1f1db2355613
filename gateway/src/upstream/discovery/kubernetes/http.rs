//! One GET to the API server, over a connection of its own.
//!
//! There are a few a minute, so nothing is pooled: each reads the token and the CA as they are now, because both
//! are rotated, and none meets a connection that died in silence.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hickory_resolver::TokioResolver;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, StatusCode, Uri};
use rustls::RootCertStore;
use shared::http_client::{self, CaFileError, Dns};
use tokio::time::timeout;

/// Longest time to connect, TLS included; and for the API server's name.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the head of an answer, and for a body that is read whole.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which TCP asks whether the API server is still there, and the pause before it asks again. A watch sends
/// nothing itself, so a connection that a firewall or a node has forgotten would live on.
const KEEPALIVE: Duration = Duration::from_secs(3);
const KEEPALIVE_PROBES: u32 = 3;
/// The connection ends when what was sent is not acknowledged for this long.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest line of a body: the API server stores no object over 1.5 MiB.
const LONGEST_LINE: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error("{path} holds {problem}")]
    Unusable { path: String, problem: &'static str },
    #[error("{path} {source}")]
    Ca { path: String, source: CaFileError },
    #[error("cannot connect to the API server: {0}")]
    Connect(String),
    #[error("the API server does not answer within {} s", .0.as_secs())]
    TooLate(Duration),
    #[error("the API server broke off: {0}")]
    Broken(String),
    #[error("the API server answers more than {0} bytes at once")]
    TooLong(usize),
}

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        let cause = root_cause(&error);
        match error {
            error if error.is_timeout() && error.is_connect() => Self::TooLate(CONNECT_TIMEOUT),
            error if error.is_connect() => Self::Connect(cause),
            _ => Self::Broken(cause),
        }
    }
}

/// The innermost error: those around it repeat the URL.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
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
    response: reqwest::Response,
    /// Read, but part of the next line.
    ahead: BytesMut,
}

impl Server {
    /// Sends a GET for `target`, a path with its query.
    pub(super) async fn get(&self, target: &Uri) -> Result<ApiAnswer, HttpError> {
        let base = self.url.to_string();
        let mut request = self
            .client()?
            .get(format!("{}{target}", base.trim_end_matches('/')))
            .header(ACCEPT, "application/json");
        if let Some(token) = self.token()? {
            request = request.header(AUTHORIZATION, token);
        }
        let response = in_time(async { Ok(request.send().await?) }).await?;
        Ok(ApiAnswer {
            status: response.status(),
            response,
            ahead: BytesMut::new(),
        })
    }

    /// A client for one request, which trusts the CA of the cluster and no other.
    fn client(&self) -> Result<reqwest::Client, HttpError> {
        let mut roots = RootCertStore::empty();
        if self.is_encrypted() {
            let path = self.service_account.join("ca.crt");
            http_client::trust_file(&mut roots, &path).map_err(|source| HttpError::Ca {
                path: path.display().to_string(),
                source,
            })?;
        }
        let client = http_client::builder(roots)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE)
            .tcp_keepalive_retries(KEEPALIVE_PROBES)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("gateway/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Dns::of(self.resolver.clone(), CONNECT_TIMEOUT));
        #[cfg(target_os = "linux")]
        let client = client.tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT);
        Ok(client.build()?)
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

async fn in_time<T>(work: impl Future<Output = Result<T, HttpError>>) -> Result<T, HttpError> {
    let answered = timeout(ANSWER_TIMEOUT, work).await;
    answered.unwrap_or(Err(HttpError::TooLate(ANSWER_TIMEOUT)))
}

impl ApiAnswer {
    /// The body, which must be no longer than `limit`.
    pub(super) async fn whole(mut self, limit: usize) -> Result<Bytes, HttpError> {
        in_time(async {
            while let Some(part) = self.response.chunk().await? {
                if self.ahead.len() + part.len() > limit {
                    return Err(HttpError::TooLong(limit));
                }
                self.ahead.extend_from_slice(&part);
            }
            Ok(self.ahead.freeze())
        })
        .await
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
            let Some(part) = self.response.chunk().await? else {
                return Ok(None);
            };
            self.ahead.extend_from_slice(&part);
        }
    }
}
