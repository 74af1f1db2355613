//! A new connection to an endpoint: TCP and HTTP handshake under one deadline.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::debug;

use crate::body::RequestBody;
use crate::error::ProxyError;

/// A connection and the task that drives it. Whoever holds them ends the task: dropping the sender alone leaves
/// it running for as long as an upstream that stopped reading keeps bytes unsent.
pub(super) struct Opened {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) task: AbortHandle,
}

pub(super) async fn connect(
    address: SocketAddr,
    patience: Duration,
    max_header_bytes: usize,
) -> Result<Opened, ProxyError> {
    let connecting = async {
        let stream = TcpStream::connect(address).await.map_err(ProxyError::Connect)?;
        stream.set_nodelay(true).map_err(ProxyError::Connect)?;
        Builder::new()
            .max_header_size(max_header_bytes)
            .max_buf_size(max_header_bytes)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ProxyError::Upstream)
    };
    let (sender, connection) = timeout(patience, connecting)
        .await
        .map_err(|_elapsed| ProxyError::ConnectTimeout)??;
    let task = tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            debug!(%address, %error, "upstream connection ended early");
        }
    });
    Ok(Opened {
        sender,
        task: task.abort_handle(),
    })
}
