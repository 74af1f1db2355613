//! Who sent a request, where `TRUSTED_PROXIES` says whose word on that counts.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};

use super::peer::Peer;
use shared::config::Networks;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
/// Most addresses of X-Forwarded-For that are looked at; no chain of proxies is that long.
const MOST_PROXIES: usize = 32;

/// The sender of one request.
#[derive(Debug)]
pub(crate) struct Sender {
    /// The peer is a trusted proxy.
    pub(crate) is_proxy: bool,
    /// The client: the peer, or whom the trusted proxies name.
    pub(crate) address: IpAddr,
    /// The address as X-Real-IP carries it.
    pub(crate) header: HeaderValue,
}

impl Sender {
    pub(crate) fn of(peer: &Peer, headers: &HeaderMap, trusted: &Networks) -> Self {
        let is_proxy = trusted.contains(peer.address);
        let address = match is_proxy {
            true => client(peer.address, headers, trusted),
            false => peer.address,
        };
        let header = match address == peer.address {
            true => peer.header.clone(),
            false => HeaderValue::from_str(&address.to_string()).expect("an IP address is a valid header value"),
        };
        Self {
            is_proxy,
            address,
            header,
        }
    }
}

/// The rightmost address of X-Forwarded-For that is no trusted proxy's: each proxy appends whom it heard, so what stands to
/// the left of that is only what the client said. Without such an address it is the last that a trusted proxy said, also
/// where what follows is no address.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let mut client = peer;
    let values = headers.get_all(X_FORWARDED_FOR).iter();
    let entries = values
        .rev()
        .flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries.take(MOST_PROXIES) {
        let Some(address) = parse(entry) else { break };
        client = address;
        if !trusted.contains(address) {
            break;
        }
    }
    client
}

/// An address, which some proxies write with the client's port.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry.trim_ascii()).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = text.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::serve::Takeover;

    const TRUSTED: &str = "10.0.0.0/8, fd00::/8";

    fn address_of(peer: &str, values: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(value).expect("a header value"));
        }
        let peer: IpAddr = peer.parse().expect("an address");
        let peer = Peer::new((peer, 4711).into(), Takeover::default());
        let sender = Sender::of(&peer, &headers, &Networks::parse(TRUSTED).expect("valid"));
        assert_eq!(sender.header, sender.address.to_string());
        sender.address.to_string()
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_no_trusted_proxy_has() {
        for (peer, values, expected) in [
            ("10.0.0.1", &["203.0.113.9"][..], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (
                "10.0.0.1",
                &["1.1.1.1", "203.0.113.9,10.0.0.3", "10.0.0.2"],
                "203.0.113.9",
            ),
            ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            (
                "10.0.0.1",
                &["1.1.1.1, ::ffff:203.0.113.9, ::ffff:10.0.0.2"],
                "203.0.113.9",
            ),
            ("fd00::1", &["2001:db8::1, [fd00::2]:443, [fd00::3]"], "2001:db8::1"),
            ("10.0.0.1", &["203.0.113.9:1234"], "203.0.113.9"),
            // Everyone is a proxy: the first of them is the client.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // What is no address ends the walk.
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["203.0.113.9,"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            // Nobody's word counts but a trusted proxy's.
            ("192.0.2.1", &["203.0.113.9"], "192.0.2.1"),
        ] {
            assert_eq!(address_of(peer, values), expected, "{peer} {values:?}");
        }
    }

    #[test]
    fn a_chain_is_not_walked_for_ever() {
        let chain = |proxies: usize| format!("203.0.113.9{}", ", 10.0.0.2".repeat(proxies));
        assert_eq!(address_of("10.0.0.1", &[&chain(MOST_PROXIES - 1)]), "203.0.113.9");
        assert_eq!(address_of("10.0.0.1", &[&chain(MOST_PROXIES)]), "10.0.0.2");
    }

    fn entry() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => (0..4_u8).prop_map(|last| format!("10.0.0.{last}")),
            2 => (0..4_u8).prop_map(|last| format!("203.0.113.{last}")),
            1 => (0..4_u8).prop_map(|last| format!("::ffff:203.0.113.{last}")),
            1 => (0..4_u8).prop_map(|last| format!("fd00::{last}")),
            1 => prop::sample::select(vec!["", "unknown", "10.0.0", "10.0.0.256", "[fd00::1", "_x"]).prop_map(str::to_owned),
        ]
    }

    proptest! {
        /// However the chain is cut into headers, and whatever a client put before it.
        #[test]
        fn what_a_client_said_never_counts(
            said in prop::collection::vec(entry(), 0..6),
            proxies in prop::collection::vec((0..4_u8).prop_map(|last| format!("10.0.0.{last}")), 0..6),
            cut in 0..12_usize,
        ) {
            let mut chain = said;
            chain.push("198.51.100.1".to_owned());
            chain.extend(proxies);
            let (one, other) = chain.split_at(cut.min(chain.len() - 1));
            let values: Vec<String> = [one, other].iter().filter(|part| !part.is_empty()).map(|part| part.join(", ")).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            prop_assert_eq!(address_of("10.0.0.1", &values), "198.51.100.1");
        }

        /// The rule as it is written down, over the chain as a list.
        #[test]
        fn any_chain_is_walked_by_the_rule(chain in prop::collection::vec(entry(), 0..8)) {
            let read: Vec<Option<IpAddr>> = chain.iter().map(|text| text.parse().ok().map(|address| IpAddr::to_canonical(&address))).collect();
            let trusted = Networks::parse(TRUSTED).expect("valid");
            let valid: Vec<IpAddr> = read.iter().rev().map_while(|address| *address).collect();
            let untrusted = valid.iter().find(|address| !trusted.contains(**address));
            let expected = untrusted.or(valid.last()).copied().unwrap_or(IpAddr::from([10, 0, 0, 1]));
            prop_assert_eq!(address_of("10.0.0.1", &[&chain.join(", ")]), expected.to_string());
        }
    }
}
