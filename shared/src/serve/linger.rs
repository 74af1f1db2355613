//! What is left of a request that was refused before its body was read.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

/// Closing at once would reset the connection under the client's hands, and most clients then never read
/// the answer. So the rest of the upload is read and thrown away for this long, as RFC 9112 section 9.6
/// asks for.
const LINGER: Duration = Duration::from_secs(2);

/// Whether the client waits for `100 Continue` before it sends its body.
pub fn expects_continue(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}

/// Reads `body` in the background until it, its connection or the time ends. Runs on a local runtime. Not for
/// a client that still waits for `100 Continue`: it has not sent anything and will not.
pub fn linger<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin + 'static,
{
    if body.is_end_stream() {
        return;
    }
    tokio::task::spawn_local(async move {
        let discard = async { while let Some(Ok(_)) = body.frame().await {} };
        // However it ended, nobody waits for it.
        let _ended = timeout(LINGER, discard).await;
    });
}
