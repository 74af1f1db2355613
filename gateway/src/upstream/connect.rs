//! A new connection to an endpoint: TCP and HTTP handshake under one deadline.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use shared::serve::SmallWrites;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::body::RequestBody;
use crate::error::ProxyError;

/// What drives a connection's reads and writes when it is polled.
pub(super) type Driver = Connection<SmallWrites<TokioIo<TcpStream>>, RequestBody>;

pub(super) async fn connect(
    address: SocketAddr,
    patience: Duration,
    max_header_bytes: usize,
) -> Result<(SendRequest<RequestBody>, Driver), ProxyError> {
    let connecting = async {
        let stream = TcpStream::connect(address).await.map_err(ProxyError::Connect)?;
        stream.set_nodelay(true).map_err(ProxyError::Connect)?;
        Builder::new()
            .max_header_size(max_header_bytes)
            .max_buf_size(max_header_bytes)
            .handshake(SmallWrites(TokioIo::new(stream)))
            .await
            .map_err(ProxyError::Upstream)
    };
    timeout(patience, connecting)
        .await
        .map_err(|_elapsed| ProxyError::ConnectTimeout)?
}
