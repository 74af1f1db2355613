//! Requests to the gateway, sent again while that may help.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use shared::backoff::{Backoff, jittered};
use shared::http_client::{self, Dns};
use tokio::sync::watch;
use tokio::time::Instant;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Added at most to the time that `Retry-After` names, so that the requests that got it do not return as one.
const SPREAD: Duration = Duration::from_millis(200);
/// An answer is larger than the rows by what a model makes of them.
const LARGEST_ANSWER: usize = 256 << 20;
/// Of an error's body that is no problem document.
const LONGEST_REASON: usize = 300;

/// How long and how often a request is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For one attempt.
    pub timeout: Duration,
    pub max_attempts: u32,
    /// From the first attempt to the beginning of the last.
    pub max_retry_time: Duration,
}

/// An answer that decides about the rows.
#[derive(Debug)]
pub enum Reply {
    Answered {
        headers: HeaderMap,
        body: Bytes,
    },
    /// 400, 413 or 422, and why: something is wrong with the rows.
    Refused(String),
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url}: {reason}, after {attempts} attempts in {seconds:.1} s")]
    Unavailable {
        url: String,
        reason: String,
        attempts: u32,
        seconds: f64,
    },
    #[error("{url}: {reason}")]
    Refused { url: String, reason: String },
    /// The run ends, and this request waited for another attempt.
    #[error("ended by a signal")]
    Stopped,
    #[error("cannot make the HTTP client: {0}")]
    Setup(reqwest::Error),
}

#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    patience: Patience,
    stop: watch::Receiver<bool>,
    retries: Cell<u64>,
    last_failure: RefCell<String>,
}

/// An attempt that failed and may be followed by another.
struct Failure {
    reason: String,
    retry_after: Option<Duration>,
}

enum Attempt {
    Done(Reply),
    Failed(Failure),
    /// Another attempt would end in the same way.
    Final(String),
}

impl Client {
    /// A client that gives up waiting once `stop` is true.
    pub fn new(patience: Patience, key: Option<HeaderValue>, stop: watch::Receiver<bool>) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = key {
            headers.insert(X_API_KEY, key);
        }
        let http = http_client::builder(http_client::public_roots())
            .dns_resolver(Arc::new(Dns::of_system(patience.timeout)))
            .default_headers(headers)
            .timeout(patience.timeout)
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self {
            http,
            patience,
            stop,
            retries: Cell::new(0),
            last_failure: RefCell::default(),
        })
    }

    /// The attempts that followed a failed one, and the last failure.
    pub fn retries(&self) -> (u64, String) {
        (self.retries.get(), self.last_failure.borrow().clone())
    }

    /// Sends a request until there is an answer that another attempt would not change.
    pub async fn send(&self, method: Method, url: &str, body: Bytes) -> Result<Reply, ClientError> {
        let begun = Instant::now();
        let mut backoff = Backoff::new(FIRST_PAUSE);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let failure = match self.attempt(method.clone(), url, body.clone()).await {
                Attempt::Done(reply) => return Ok(reply),
                Attempt::Final(reason) => {
                    let url = url.to_owned();
                    return Err(ClientError::Refused { url, reason });
                }
                Attempt::Failed(failure) => failure,
            };
            let pause = match failure.retry_after {
                Some(wanted) => wanted + jittered(SPREAD, 0.0),
                None => jittered(backoff.pause(LONGEST_PAUSE), 0.5),
            };
            let is_over = begun.elapsed() + pause > self.patience.max_retry_time;
            if is_over || attempts >= self.patience.max_attempts {
                return Err(ClientError::Unavailable {
                    url: url.to_owned(),
                    reason: failure.reason,
                    attempts,
                    seconds: begun.elapsed().as_secs_f64(),
                });
            }
            self.last_failure.replace(failure.reason);
            let mut stop = self.stop.clone();
            tokio::select! {
                // An error: nobody will say stop any more.
                Ok(_) = stop.wait_for(|stop| *stop) => return Err(ClientError::Stopped),
                () = tokio::time::sleep(pause) => {}
            }
            self.retries.set(self.retries.get() + 1);
        }
    }

    async fn attempt(&self, method: Method, url: &str, body: Bytes) -> Attempt {
        let answer = match self.http.request(method, url).body(body).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_builder() => return Attempt::Final(chain(&error)),
            Err(error) => return failed(chain(&error)),
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = match read(answer).await {
            Ok(body) => body,
            Err(attempt) => return attempt,
        };
        match status {
            StatusCode::OK => Attempt::Done(Reply::Answered { headers, body }),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Attempt::Done(Reply::Refused(reason(status, &body)))
            }
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Attempt::Failed(Failure {
                reason: reason(status, &body),
                retry_after: headers
                    .get(RETRY_AFTER)
                    .and_then(|value| retry_after(value, Timestamp::now())),
            }),
            _ => Attempt::Final(reason(status, &body)),
        }
    }
}

fn failed(reason: String) -> Attempt {
    let retry_after = None;
    Attempt::Failed(Failure { reason, retry_after })
}

async fn read(mut answer: reqwest::Response) -> Result<Bytes, Attempt> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(chain(&error)))? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            let reason = format!("the answer has more than {LARGEST_ANSWER} bytes; see --rows-per-request");
            return Err(Attempt::Final(reason));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The status with what the body says about it.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let named = json
        .as_ref()
        .and_then(|json| json["error"].as_str().or(json["detail"].as_str()));
    let text: String = named.unwrap_or(&text).chars().take(LONGEST_REASON).collect();
    match text.trim() {
        "" => format!("status {}", status.as_u16()),
        text => format!("status {}: {text}", status.as_u16()),
    }
}

/// Seconds, or a date.
fn retry_after(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// The error and its causes on one line.
fn chain(error: &reqwest::Error) -> String {
    // Its own text begins with the URL, which is named anyway.
    let mut text = match (error.is_timeout(), error.is_connect()) {
        (true, _) => "no answer in time".to_owned(),
        (_, true) => "cannot connect".to_owned(),
        _ => "the connection failed".to_owned(),
    };
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-30T08:00:00Z".parse().expect("a time");
        let read = |text: &'static str| retry_after(&HeaderValue::from_static(text), now);
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Mon, 30 Nov 2026 08:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Mon, 30 Nov 2026 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!((read("soon"), read("-1"), read("")), (None, None, None));
    }

    #[test]
    fn a_reason_is_what_the_answer_says() {
        let problem = br#"{"status":400,"detail":"instances[0]: expected a number"}"#;
        assert_eq!(
            reason(StatusCode::BAD_REQUEST, problem),
            "status 400: instances[0]: expected a number"
        );
        assert_eq!(reason(StatusCode::BAD_GATEWAY, b"<html>\n"), "status 502: <html>");
        assert_eq!(reason(StatusCode::NOT_FOUND, b""), "status 404");
        assert!(reason(StatusCode::NOT_FOUND, "ä".repeat(1000).as_bytes()).len() < 700);
    }
}
