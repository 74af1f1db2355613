//! Which endpoint gets the next request: round robin over those that are not resting.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Endpoint;

/// The next endpoint after `cursor`: one that is neither resting nor in `avoid`, else one that is not in
/// `avoid`, else any. `None` only when there is no endpoint at all.
pub fn pick<'a>(
    endpoints: &'a [Arc<Endpoint>],
    cursor: &Cell<usize>,
    avoid: &[SocketAddr],
) -> Option<&'a Arc<Endpoint>> {
    let count = endpoints.len();
    if count == 0 {
        return None;
    }
    let first = cursor.get() % count;
    let in_turn = || endpoints[first..].iter().chain(&endpoints[..first]);
    let untried = |endpoint: &&Arc<Endpoint>| !avoid.contains(&endpoint.address);
    let chosen = in_turn()
        .filter(untried)
        .find(|endpoint| !endpoint.is_resting())
        .or_else(|| in_turn().find(untried))
        .or_else(|| in_turn().next())?;
    let position = endpoints.iter().position(|endpoint| Arc::ptr_eq(endpoint, chosen));
    cursor.set(position.unwrap_or(first).wrapping_add(1));
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        (1..=count)
            .map(|port| Arc::new(Endpoint::new(([127, 0, 0, 1], port).into())))
            .collect()
    }

    fn picked_ports(endpoints: &[Arc<Endpoint>], cursor: &Cell<usize>, times: usize) -> Vec<u16> {
        let pick_one = |_| {
            pick(endpoints, cursor, &[])
                .expect("there are endpoints")
                .address
                .port()
        };
        (0..times).map(pick_one).collect()
    }

    #[test]
    fn a_resting_endpoint_is_passed_over_and_a_lone_one_is_not() {
        let two = endpoints(2);
        two[0].note_failure();
        assert_eq!(picked_ports(&two, &Cell::new(0), 3), [2, 2, 2]);
        two[1].note_failure();
        assert_eq!(picked_ports(&two, &Cell::new(0), 2), [1, 2]);
    }

    #[test]
    fn no_endpoint_is_no_choice() {
        assert!(pick(&[], &Cell::new(7), &[]).is_none());
    }

    proptest! {
        #[test]
        fn every_endpoint_gets_the_same_share(count in 1u16..20, rounds in 1usize..10, start: usize) {
            let all = endpoints(count);
            let ports = picked_ports(&all, &Cell::new(start), rounds * usize::from(count));
            for port in 1..=count {
                prop_assert_eq!(ports.iter().filter(|picked| **picked == port).count(), rounds);
            }
        }

        #[test]
        fn what_is_avoided_is_chosen_only_when_nothing_else_is_left(count in 1u16..10, avoided in prop::collection::vec(1u16..10, 0..10)) {
            let all = endpoints(count);
            let avoid: Vec<SocketAddr> = avoided.iter().map(|port| ([127, 0, 0, 1], *port).into()).collect();
            let chosen = pick(&all, &Cell::new(0), &avoid).expect("there are endpoints");
            let all_avoided = all.iter().all(|endpoint| avoid.contains(&endpoint.address));
            prop_assert_eq!(avoid.contains(&chosen.address), all_avoided);
        }
    }
}
