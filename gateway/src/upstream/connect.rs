//! A new connection to an endpoint, under a deadline.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::ConnectError;
use super::http1::Http1;

pub(super) async fn connect(
    address: SocketAddr,
    patience: Duration,
    max_header_bytes: usize,
) -> Result<Http1, ConnectError> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Http1::new(stream, max_header_bytes))
    };
    timeout(patience, connecting)
        .await
        .map_err(|_elapsed| ConnectError::Timeout)?
        .map_err(ConnectError::Io)
}
