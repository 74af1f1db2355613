//! Lists of networks, such as those of trusted proxies.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

/// Bits before the IPv4 address in an IPv4-mapped IPv6 address.
const MAPPED_PREFIX: u8 = 96;

/// Networks that addresses are looked for in; empty: there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Arc<[IpNet]>);

impl Networks {
    /// More would be no list that a person looks after, and each costs a comparison for each address.
    const MOST: usize = 64;

    /// Networks and addresses with commas between them.
    pub fn parse(text: &str) -> Option<Self> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let networks: Vec<IpNet> = items.map(network).collect::<Option<_>>()?;
        (networks.len() <= Self::MOST).then(|| Self(networks.into()))
    }

    /// True for a list without a network.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether `address`, an IPv4 address written as one, is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address, or a network in CIDR notation whose address has no bits behind the prefix: `10.1.2.3/8` may be a slip.
fn network(text: &str) -> Option<IpNet> {
    let network: IpNet = match text.parse() {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    if network.addr() != network.network() {
        return None;
    }
    // IPv4 clients of a dual-stack listener are IPv4 clients, so their networks are IPv4 networks.
    match (
        network.addr().to_canonical(),
        network.prefix_len().checked_sub(MAPPED_PREFIX),
    ) {
        (IpAddr::V4(address), Some(prefix)) if matches!(network, IpNet::V6(_)) => {
            Some(Ipv4Net::new(address, prefix).ok()?.into())
        }
        _ => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(list: &str, address: &str) -> bool {
        let networks = Networks::parse(list).expect(list);
        networks.contains(address.parse::<IpAddr>().expect("an address").to_canonical())
    }

    #[test]
    fn networks_hold_their_addresses_in_either_form() {
        for (list, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            (" 192.0.2.7 , fd00::/8,", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "10.0.0.1", false),
            ("", "127.0.0.1", false),
        ] {
            assert_eq!(contains(list, address), expected, "{address} in {list:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "10.0.0.0/33",
            "10.0.0",
            "10.1.2.3/8",
            "localhost",
            "10.0.0.0/8 fd00::/8",
            "::1%lo",
            "*",
        ] {
            assert_eq!(Networks::parse(bad), None, "{bad:?}");
        }
        let one_too_many = "10.0.0.1,".repeat(Networks::MOST + 1);
        assert_eq!(Networks::parse(&one_too_many), None);
    }
}
