//! The client's side of a connection.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::HeaderValue;
use shared::serve::Takeover;

/// The client's side of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The address as X-Real-IP carries it, made once a connection.
    pub(crate) header: HeaderValue,
    /// Gets its connection, once it is to be another protocol's.
    pub(crate) takeover: Takeover,
}

impl Peer {
    pub(crate) fn new(peer: SocketAddr, takeover: Takeover) -> Rc<Self> {
        // An IPv4 client of a dual-stack listener is an IPv4 client.
        let address = peer.ip().to_canonical();
        let header = HeaderValue::from_str(&address.to_string()).expect("an IP address is a valid header value");
        Rc::new(Self {
            address,
            header,
            takeover,
        })
    }
}
