//! One request over a connection of its own: a health check of an upstream that speaks nothing else.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, StatusCode};
use prometheus::IntGauge;
use tokio::time::Instant;

use super::session::Session;
use super::stream::Stream;
use crate::upstream::error::UpstreamError;
use crate::upstream::injected_headers::InjectedHeaders;
use crate::upstream::request_body::RequestBody;

const MAX_HEADER_BYTES: usize = 16 * 1024;

/// The status of the answer. Runs on a local runtime.
pub(in crate::upstream) async fn status(
    address: SocketAddr,
    request: Request<()>,
    connections: &IntGauge,
) -> Result<StatusCode, UpstreamError> {
    let session = Rc::new(Session::connect(address, MAX_HEADER_BYTES, connections).await?);
    let mut stream = Stream::new(&session, Instant::now());
    let (head, ()) = request.into_parts();
    stream
        .request
        .start(&head, &InjectedHeaders::default(), &RequestBody::Whole(Bytes::new()));
    let answer = poll_fn(|cx| stream.request.poll_answer(cx)).await?;
    Ok(answer.status())
}
