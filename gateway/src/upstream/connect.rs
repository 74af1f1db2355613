//! A new connection to an endpoint: TCP and HTTP handshake under one deadline.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use crate::body::RequestBody;
use crate::error::ProxyError;

pub(super) async fn connect(
    address: SocketAddr,
    patience: Duration,
    max_header_bytes: usize,
) -> Result<SendRequest<RequestBody>, ProxyError> {
    let connecting = async {
        let stream = TcpStream::connect(address).await.map_err(ProxyError::Connect)?;
        stream.set_nodelay(true).map_err(ProxyError::Connect)?;
        Builder::new()
            .max_buf_size(max_header_bytes)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ProxyError::Upstream)
    };
    let (sender, connection) = timeout(patience, connecting)
        .await
        .map_err(|_elapsed| ProxyError::ConnectTimeout)??;
    // Owned by the sender: the task ends when the sender is dropped or the upstream closes.
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            debug!(%address, %error, "upstream connection ended early");
        }
    });
    Ok(sender)
}
