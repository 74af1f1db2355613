//! Listening sockets: one per worker on one address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Networks;

/// The length of the accept queue: deep enough for a burst while a worker is busy. nginx's default on Linux is 511.
const BACKLOG: i32 = 1024;

/// A listener that cannot be opened, with a hint for the usual reasons.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{hint}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
    hint: &'static str,
}

/// Listening sockets on one address.
#[derive(Debug)]
pub struct Listeners {
    /// The address, with the port that was taken.
    pub address: SocketAddr,
    pub(super) sockets: Vec<TcpListener>,
    pub(super) proxies: Networks,
}

impl Listeners {
    /// Connections from `proxies` begin with a header of the PROXY protocol (HAProxy's specification, version 1 or 2), and its
    /// source is the peer that their requests have. Those from elsewhere have none.
    #[must_use]
    pub fn behind(self, proxies: Networks) -> Self {
        Self { proxies, ..self }
    }
}

/// Binds `count` sockets to `address`; port 0 takes a free port for all of them.
pub fn bind(address: SocketAddr, count: usize) -> Result<Listeners, BindError> {
    let fault = |source: io::Error| BindError {
        address,
        hint: match source.kind() {
            io::ErrorKind::AddrInUse => " (another process listens there: stop it or choose another port)",
            io::ErrorKind::PermissionDenied => " (ports below 1024 need a privilege)",
            _ => "",
        },
        source,
    };
    // With SO_REUSEPORT a second process would bind without an error and take half of the
    // connections. One bind without the option finds such a neighbour.
    drop(socket(address, false).map_err(fault)?);

    let first = socket(address, true).map_err(fault)?;
    let address = first.local_addr().map_err(fault)?;
    let mut sockets = vec![first];
    while sockets.len() < count {
        sockets.push(socket(address, true).map_err(fault)?);
    }
    Ok(Listeners {
        address,
        sockets,
        proxies: Networks::default(),
    })
}

fn socket(address: SocketAddr, share_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the last process in TIME_WAIT must not keep this one from starting.
    socket.set_reuse_address(true)?;
    if share_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if share_port {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_found_although_reuse_port_would_share_it() {
        let held = bind(([127, 0, 0, 1], 0).into(), 2).expect("binds");
        let error = bind(held.address, 1).expect_err("the port is taken");
        assert!(error.to_string().contains("another process listens there"), "{error}");
    }
}
