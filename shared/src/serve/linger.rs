//! Reading and throwing away what a refused client still sends.
//!
//! Closing at once would reset the connection under the client's hands, and most clients then never read the
//! answer. RFC 9112 section 9.6 asks a server to read on for a while.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::Body;
use http_body_util::BodyExt;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

const LINGER: Duration = Duration::from_secs(2);

/// True when the client waits for `100 Continue` before it sends its body.
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

/// Sends `last_words`, if any, and closes the connection once the client has, or has had time to read them.
pub(super) async fn close(stream: TcpStream, last_words: &[u8]) {
    let closing = async {
        write_all(&stream, last_words).await?;
        SockRef::from(&stream).shutdown(Shutdown::Write)?;
        discard(&stream).await
    };
    // A client that has gone or does not listen has had its chance.
    let _ended = timeout(LINGER, closing).await;
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn discard(stream: &TcpStream) -> io::Result<()> {
    let mut scrap = vec![0; 16 * 1024];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut scrap) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
