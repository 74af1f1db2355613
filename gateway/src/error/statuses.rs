//! The statuses that gateway/docs/errors.md lists are those of the code.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use shared::problem::Problem;
use shared::samples;
use shared::serve::Refusal;
use shared::test_util::docs::{Table, check_page, code};
use tokio::io::{AsyncWriteExt, duplex};
use tokio::sync::mpsc;

use super::ProxyError;
use crate::upstream::{ConnectError, UpstreamError};

const MEND: &str = "cargo test -p gateway --lib error::statuses";
const LIMIT: usize = 1024;

/// What a body gives whose client goes away in the middle of it.
async fn broken_body() -> hyper::Error {
    let (mut client, server) = duplex(LIMIT);
    let (failed, mut failures) = mpsc::channel(1);
    let service = service_fn(move |request: Request<Incoming>| {
        let failed = failed.clone();
        async move {
            let body = request.into_body().collect().await;
            failed
                .send(body.expect_err("it is cut"))
                .await
                .expect("it is waited for");
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc";
    client.write_all(head).await.expect("there is room");
    drop(client);
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    // How the connection ends is not what is looked for.
    let (_ended, failure) = tokio::join!(connection, failures.recv());
    failure.expect("the body breaks off")
}

/// What a request gets that an upstream refuses without having looked at it.
async fn refused_stream() -> UpstreamError {
    let (client, server) = duplex(LIMIT);
    let refuse = async {
        let mut connection = h2::server::handshake(server).await.expect("HTTP/2");
        while let Some(Ok((_request, mut answer))) = connection.accept().await {
            answer.send_reset(Reason::REFUSED_STREAM);
        }
    };
    let ask = async {
        let (mut requests, connection) = h2::client::handshake(client).await.expect("HTTP/2");
        let request = Request::get("http://a/").body(()).expect("a request");
        let (answer, _stream) = requests.send_request(request, true).expect("there is room");
        tokio::select! {
            refused = answer => refused.expect_err("it is refused"),
            ended = connection => panic!("the connection ended first: {ended:?}"),
        }
    };
    tokio::select! {
        error = ask => error.into(),
        () = refuse => panic!("the upstream ended first"),
    }
}

async fn errors() -> Vec<ProxyError> {
    let mut errors = samples!(ProxyError:
        ProxyError::NoRoute => ProxyError::NoRoute,
        ProxyError::UnsafePath => ProxyError::UnsafePath,
        ProxyError::Host => ProxyError::Host,
        ProxyError::Tunnel => ProxyError::Tunnel,
        ProxyError::MethodNotAllowed(_) => ProxyError::MethodNotAllowed("GET, HEAD"),
        ProxyError::ApiKeyMissing => ProxyError::ApiKeyMissing,
        ProxyError::ApiKeyWrong => ProxyError::ApiKeyWrong,
        ProxyError::OriginNotPermitted => ProxyError::OriginNotPermitted,
        ProxyError::BodyTooLarge(_) => ProxyError::BodyTooLarge(LIMIT as u64),
        ProxyError::TrailersTooLarge(_) => ProxyError::TrailersTooLarge(LIMIT),
        ProxyError::RequestBodyTimeout => ProxyError::RequestBodyTimeout,
        ProxyError::RequestBody(_) => ProxyError::RequestBody(broken_body().await),
        ProxyError::TimeoutHeader(_) => ProxyError::TimeoutHeader("x-request-timeout-ms"),
        ProxyError::DeadlineExceeded => ProxyError::DeadlineExceeded,
        ProxyError::Connect(_) => ConnectError::NoEndpointYet.into(),
        ProxyError::Upstream(_) => ProxyError::Upstream(refused_stream().await),
        ProxyError::UnexpectedUpgrade => ProxyError::UnexpectedUpgrade,
        ProxyError::UpstreamTimeout => ProxyError::UpstreamTimeout,
    );
    let connecting = samples!(ConnectError:
        ConnectError::NoEndpointYet => ConnectError::NoEndpointYet,
        ConnectError::NoEndpointLeft => ConnectError::NoEndpointLeft,
        ConnectError::Unreachable => ConnectError::Unreachable,
        ConnectError::QueueFull(_) => ConnectError::QueueFull(LIMIT),
        ConnectError::Overloaded(_) => ConnectError::Overloaded(Duration::from_secs(3)),
        ConnectError::Io(_) => ConnectError::Io(std::io::ErrorKind::ConnectionRefused.into()),
        ConnectError::Timeout => ConnectError::Timeout,
    );
    errors.extend(connecting.into_iter().map(ProxyError::from));
    let upstream = samples!(UpstreamError:
        UpstreamError::Closed => UpstreamError::Closed,
        UpstreamError::Io(_) => UpstreamError::Io(std::io::ErrorKind::ConnectionReset.into()),
        UpstreamError::Invalid(_) => UpstreamError::Invalid("a status line"),
        UpstreamError::HeadTooLarge(_) => UpstreamError::HeadTooLarge(LIMIT),
        UpstreamError::TrailersTooLarge(_) => UpstreamError::TrailersTooLarge(LIMIT),
        UpstreamError::Upload => UpstreamError::Upload,
        UpstreamError::Http2(_) => h2::Error::from(Reason::CANCEL).into(),
        UpstreamError::NoStream => UpstreamError::NoStream,
        UpstreamError::Host => UpstreamError::Host,
    );
    errors.extend(upstream.into_iter().map(ProxyError::Upstream));
    errors
}

fn refusals() -> Vec<Refusal> {
    samples!(Refusal:
        Refusal::RequestLine => Refusal::RequestLine,
        Refusal::Method => Refusal::Method,
        Refusal::Target => Refusal::Target,
        Refusal::Version => Refusal::Version,
        Refusal::VersionNotSupported => Refusal::VersionNotSupported,
        Refusal::LineBreak => Refusal::LineBreak,
        Refusal::ControlByte => Refusal::ControlByte,
        Refusal::HeaderName => Refusal::HeaderName,
        Refusal::SpaceBeforeColon => Refusal::SpaceBeforeColon,
        Refusal::HeaderValue => Refusal::HeaderValue,
        Refusal::Folding => Refusal::Folding,
        Refusal::ContentLength => Refusal::ContentLength,
        Refusal::TransferEncoding => Refusal::TransferEncoding,
        Refusal::LengthAndEncoding => Refusal::LengthAndEncoding,
        Refusal::HostMissing => Refusal::HostMissing,
        Refusal::HostRepeated => Refusal::HostRepeated,
        Refusal::Host => Refusal::Host,
        Refusal::ChunkSize => Refusal::ChunkSize,
        Refusal::ChunkExtension => Refusal::ChunkExtension,
        Refusal::ChunkEnd => Refusal::ChunkEnd,
        Refusal::Trailer => Refusal::Trailer,
        Refusal::RequestLineTooLong(_) => Refusal::RequestLineTooLong(LIMIT),
        Refusal::HeaderLineTooLong(_) => Refusal::HeaderLineTooLong(LIMIT),
        Refusal::HeadTooLarge(_) => Refusal::HeadTooLarge(LIMIT),
        Refusal::TooManyHeaders(_) => Refusal::TooManyHeaders(LIMIT),
        Refusal::HeadTimeout => Refusal::HeadTimeout,
    )
}

fn retry_after(problem: Problem) -> String {
    let response: Response<Bytes> = problem.into_response();
    let value = response.headers().get(http::header::RETRY_AFTER);
    value.map_or_else(String::new, |value| code(value.to_str().expect("a number")))
}

#[tokio::test]
async fn the_page_of_errors_lists_every_status() {
    let mut rows: Vec<[String; 4]> = Vec::new();
    for error in errors().await {
        let problem = error.problem();
        rows.push([
            problem.status().as_u16().to_string(),
            problem.detail().to_owned(),
            error.to_string(),
            retry_after(problem),
        ]);
    }
    rows.sort();
    rows.dedup();
    let mut statuses = Table::new([
        "Status",
        "`detail` of the answer",
        "`error` in the log",
        "`Retry-After`",
    ]);
    rows.into_iter().for_each(|row| statuses.row(row));

    let mut malformed = Table::new(["`reason`", "Status", "`field`", "`detail` of the answer"]);
    for refusal in refusals() {
        let body: serde_json::Value = serde_json::from_slice(&refusal.problem().body()).expect("JSON");
        malformed.row([
            code(refusal.reason()),
            refusal.status().as_u16().to_string(),
            code(body["field"].as_str().expect("a text")),
            refusal.to_string(),
        ]);
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    check_page(
        &page,
        MEND,
        &[("statuses", &statuses), ("malformed requests", &malformed)],
    );
}
