//! The ports of 127.0.0.1 that the pair takes.

use std::net::{Ipv4Addr, TcpStream};
use std::ops::RangeInclusive;

/// The admin listener takes the port ten above the gateway's.
pub const HIGHEST_GATEWAY_PORT: u16 = u16::MAX - ADMIN_ABOVE;
const ADMIN_ABOVE: u16 = 10;

#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub gateway: u16,
    /// The first replica's; the others follow.
    pub first_replica: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            gateway: 30080,
            first_replica: 5001,
        }
    }
}

impl Ports {
    pub fn admin(&self) -> u16 {
        self.gateway.saturating_add(ADMIN_ABOVE)
    }

    /// The port of a replica, counted from 1.
    pub fn replica(&self, number: u16) -> u16 {
        self.first_replica.saturating_add(number - 1)
    }

    /// Replicas as a list of gateway.yaml.
    pub fn endpoints(&self, replicas: RangeInclusive<u16>) -> String {
        let list: Vec<String> = replicas
            .map(|number| format!("\"127.0.0.1:{}\"", self.replica(number)))
            .collect();
        list.join(", ")
    }

    /// Every port that a pair of so many replicas takes, with the process that takes it.
    pub(super) fn of_pair(&self, replicas: u16) -> impl Iterator<Item = (u16, String)> {
        let replicas = (1..=replicas).map(|number| (self.replica(number), format!("ml-inference-{number}")));
        let gateway = [
            (self.gateway, "gateway".to_owned()),
            (self.admin(), "the gateway's admin listener".to_owned()),
        ];
        replicas.chain(gateway)
    }
}

/// Gives true when this port of 127.0.0.1 accepts connections.
pub(super) fn is_in_use(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_follow_the_first_and_the_admin_listener_is_ten_above() {
        let ports = Ports::default();
        assert_eq!((ports.admin(), ports.replica(1), ports.replica(3)), (30090, 5001, 5003));
        assert_eq!(ports.endpoints(2..=3), "\"127.0.0.1:5002\", \"127.0.0.1:5003\"");
        assert_eq!(ports.of_pair(2).count(), 4);
    }
}
