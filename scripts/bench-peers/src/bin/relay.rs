//! The floor: a TCP relay that looks at nothing. Whatever a proxy costs above it is the price of understanding HTTP.
//!
//! One thread, one upstream connection for each client connection.

use std::io;
use std::net::SocketAddr;

use bench_peers::{argument, run_local};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

/// Large, so that bodies of 1 MiB show the floor too.
const BUFFER: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let listen: SocketAddr = argument(1, "LISTEN_ADDRESS")?;
    let upstream: SocketAddr = argument(2, "UPSTREAM_ADDRESS")?;
    run_local(async move {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::task::spawn_local(async move {
                if let Err(error) = relay(client, upstream).await {
                    eprintln!("relay: {error}");
                }
            });
        }
    })
}

async fn relay(mut client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
    let mut upstream = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await?;
    Ok(())
}
