//! Which endpoint gets the next request.
//!
//! The first candidate is the next in turn, by weight; the second is any other, by chance; the lighter of the two
//! is chosen, and the one in turn when neither is. Two random choices find a light endpoint almost as well as
//! looking at all of them, at a cost that does not grow with their number. Taking turns keeps equal endpoints
//! equal: where a purely random pair leaves shares that differ by chance, these differ by one request.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::endpoint_set::EndpointSet;
use super::monotonic::MonotonicNanos;
use crate::config::Policy;

/// An endpoint counts as slower only beyond this factor and this difference: smaller differences between equal
/// replicas are noise, and acting on noise would starve one of them until its estimate fades.
const SLOWER_FACTOR: u64 = 2;
const SLOWER_BY: u64 = 1_000_000;

/// Choice of the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// Its place in the endpoint set.
    Endpoint(usize),
    /// Every endpoint that may be used has as many requests in hand as it may have.
    Full,
    /// There is no endpoint at all.
    Nothing,
}

/// One worker's balancer: it shares nothing but what the endpoints themselves know.
#[derive(Debug)]
pub(super) struct Balancer {
    policy: Policy,
    slow_start: Duration,
    cursor: Cell<usize>,
}

impl Balancer {
    pub(super) fn new(policy: Policy, slow_start: Duration, start: usize) -> Self {
        Self {
            policy,
            slow_start,
            cursor: Cell::new(start),
        }
    }

    /// Chooses among the endpoints that are in and were not tried before; when all of those are gone among the ones
    /// that were not tried, in or not; and when all were tried among them all. Each may have
    /// `limit` requests in hand.
    pub(super) fn pick(&self, set: &EndpointSet, tried: &[SocketAddr], limit: u32, now: MonotonicNanos) -> Pick {
        let untried = |endpoint: &Endpoint| !tried.contains(&endpoint.address);
        let pick = self.among(set, limit, now, |endpoint| endpoint.admits(now) && untried(endpoint));
        if pick != Pick::Nothing {
            return pick;
        }
        match self.among(set, limit, now, untried) {
            Pick::Nothing => self.among(set, limit, now, |_| true),
            pick => pick,
        }
    }

    fn among(&self, set: &EndpointSet, limit: u32, now: MonotonicNanos, usable: impl Fn(&Endpoint) -> bool) -> Pick {
        let endpoints = &set.endpoints;
        let fit = |at: usize| usable(&endpoints[at]) && endpoints[at].load().in_flight() < limit;
        let Some(first) = self.next_in_turn(set, now, fit) else {
            let any = endpoints.iter().any(|endpoint| usable(endpoint));
            return if any { Pick::Full } else { Pick::Nothing };
        };
        if self.policy == Policy::RoundRobin || endpoints[first].wants_probe(now) {
            return Pick::Endpoint(first);
        }
        let second = other_than(first, endpoints.len()).find(|at| fit(*at));
        match second {
            Some(second) if self.is_lighter(&endpoints[second], &endpoints[first], now) => Pick::Endpoint(second),
            _ => Pick::Endpoint(first),
        }
    }

    /// The next endpoint that is fit; those with a smaller weight let some of their turns pass.
    fn next_in_turn(&self, set: &EndpointSet, now: MonotonicNanos, fit: impl Fn(usize) -> bool) -> Option<usize> {
        let count = set.endpoints.len();
        let start = self.cursor.get().checked_rem(count)?;
        let mut passed = None;
        let mut in_turn = (start..count).chain(0..start).filter(|at| fit(*at));
        let chosen = in_turn.find(|at| {
            let takes = self.takes_turn(&set.endpoints[*at], set.heaviest, now);
            if !takes && passed.is_none() {
                passed = Some(*at);
            }
            takes
        });
        let chosen = chosen.or(passed)?;
        self.cursor.set(chosen + 1);
        Some(chosen)
    }

    fn takes_turn(&self, endpoint: &Endpoint, heaviest: u32, now: MonotonicNanos) -> bool {
        if self.slow_start.is_zero() && endpoint.weight() == heaviest {
            return true;
        }
        fastrand::f64() * f64::from(heaviest) < endpoint.share(self.slow_start, now)
    }

    /// Tells whether `other` is a better choice than `one`, whose turn it is.
    fn is_lighter(&self, other: &Endpoint, one: &Endpoint, now: MonotonicNanos) -> bool {
        let weigh = |endpoint: &Endpoint| Weighed {
            in_flight: f64::from(endpoint.in_flight(now)),
            latency: match self.policy {
                Policy::PeakEwma => endpoint.load().latency(now),
                Policy::LeastRequest | Policy::RoundRobin => 0,
            },
            share: endpoint.share(self.slow_start, now),
        };
        weigh(other).is_lighter_than(&weigh(one))
    }
}

/// The places of the others, from one by chance onwards.
fn other_than(place: usize, count: usize) -> impl Iterator<Item = usize> {
    let others = count - 1;
    let first = if others > 1 { fastrand::usize(..others) } else { 0 };
    (0..others).map(move |step| (place + 1 + (first + step) % others) % count)
}

#[derive(Debug)]
struct Weighed {
    in_flight: f64,
    /// Expected nanoseconds to an answer; 0 when unknown.
    latency: u64,
    share: f64,
}

impl Weighed {
    fn is_lighter_than(&self, other: &Self) -> bool {
        if is_slower(self.latency, other.latency) || is_slower(other.latency, self.latency) {
            // What the request would wait for: those before it and itself, each taking as long as expected.
            let wait = |weighed: &Self| weighed.latency as f64 * (weighed.in_flight + 1.0);
            return wait(self) * other.share < wait(other) * self.share;
        }
        self.in_flight * other.share < other.in_flight * self.share
    }
}

fn is_slower(latency: u64, other: u64) -> bool {
    other != 0 && latency > other.saturating_mul(SLOWER_FACTOR).saturating_add(SLOWER_BY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EjectionConfig;
    use crate::upstream::endpoint::Outcome;
    use crate::upstream::endpoint_set::AddressKind;
    use proptest::prelude::*;
    use std::sync::Arc;

    const MILLI: u64 = 1_000_000;
    const EJECTION: EjectionConfig = EjectionConfig {
        consecutive_failures: 7,
        success_percent: 80,
        minimum_requests: 5,
        first_penalty: Duration::from_secs(1),
        longest_penalty: Duration::from_secs(60),
    };

    fn at(millis: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(millis * MILLI)
    }

    fn set(weights: &[u32]) -> EndpointSet {
        let endpoint =
            |(port, weight): (u16, &u32)| Arc::new(Endpoint::new(([127, 0, 0, 1], port).into(), *weight, 0, at(0)));
        EndpointSet::new(1, AddressKind::Pod, (1..).zip(weights).map(endpoint).collect())
    }

    fn balancer(policy: Policy) -> Balancer {
        Balancer::new(policy, Duration::ZERO, 0)
    }

    fn chosen(balancer: &Balancer, set: &EndpointSet, tried: &[SocketAddr], now: MonotonicNanos) -> usize {
        match balancer.pick(set, tried, u32::MAX, now) {
            Pick::Endpoint(place) => place,
            pick => panic!("{pick:?}"),
        }
    }

    /// Runs `clients` that ask again as soon as they are answered, for `millis` of simulated time, where the endpoint at
    /// place n takes `services[n]` microseconds; counts what each endpoint answered.
    fn simulate(policy: Policy, services: &[u64], clients: usize, millis: u64) -> Vec<usize> {
        let set = set(&vec![1; services.len()]);
        let balancer = balancer(policy);
        let mut answered = vec![0; services.len()];
        // When each request is answered, at which place, and when it was sent.
        let mut under_way: Vec<(u64, usize, u64)> = Vec::new();
        let send = |micros: u64, under_way: &mut Vec<(u64, usize, u64)>| {
            let now = MonotonicNanos::from_nanos(micros * 1000);
            let place = chosen(&balancer, &set, &[], now);
            assert!(set.endpoints[place].load().begin(u32::MAX, now));
            under_way.push((
                micros + services[place] + fastrand::u64(..=services[place] / 4),
                place,
                micros,
            ));
        };
        for client in 0..clients {
            send(client as u64, &mut under_way);
        }
        while let Some(next) = (0..under_way.len()).min_by_key(|at| under_way[*at].0) {
            let (micros, place, sent) = under_way.swap_remove(next);
            if micros > millis * 1000 {
                break;
            }
            let endpoint = &set.endpoints[place];
            let (sent, now) = (
                MonotonicNanos::from_nanos(sent * 1000),
                MonotonicNanos::from_nanos(micros * 1000),
            );
            endpoint.note(Outcome::Success, sent, now, &EJECTION);
            endpoint.load().ended();
            answered[place] += 1;
            send(micros, &mut under_way);
        }
        answered
    }

    #[test]
    fn no_endpoint_is_no_choice() {
        assert_eq!(balancer(Policy::PeakEwma).pick(&set(&[]), &[], 1, at(0)), Pick::Nothing);
    }

    #[test]
    fn equal_endpoints_get_equal_shares() {
        for policy in [Policy::PeakEwma, Policy::LeastRequest, Policy::RoundRobin] {
            let answered = simulate(policy, &[2_000, 2_000, 2_000], 32, 10_000);
            let mean = answered.iter().sum::<usize>() as f64 / 3.0;
            for share in &answered {
                let off = (*share as f64 - mean).abs() / mean;
                assert!(off < 0.02, "{policy:?}: {answered:?}");
            }
        }
    }

    #[test]
    fn a_slow_endpoint_gets_what_it_can_do_and_almost_nothing_when_nobody_has_to_wait() {
        let answered = simulate(Policy::PeakEwma, &[2_000, 2_000, 40_000], 4, 20_000);
        assert!(answered[2] * 100 < answered.iter().sum::<usize>(), "{answered:?}");
        // Round robin is held up by it: its clients spend their time there.
        let in_turn = simulate(Policy::RoundRobin, &[2_000, 2_000, 40_000], 4, 20_000);
        assert!(in_turn[2] * 4 > in_turn.iter().sum::<usize>(), "{in_turn:?}");
    }

    #[test]
    fn an_endpoint_that_stopped_answering_is_avoided_before_any_timeout() {
        let set = set(&[1, 1, 1]);
        let balancer = balancer(Policy::PeakEwma);
        for turn in 0..300 {
            let endpoint = &set.endpoints[turn % 3];
            endpoint.load().begin(u32::MAX, at(0));
            endpoint.note(Outcome::Success, at(0), at(2), &EJECTION);
            endpoint.load().ended();
        }
        set.endpoints[0].load().begin(u32::MAX, at(2));
        let places: Vec<usize> = (0..100).map(|_| chosen(&balancer, &set, &[], at(20))).collect();
        assert!(!places.contains(&0), "{places:?}");
    }

    #[test]
    fn weights_are_shares() {
        for policy in [Policy::PeakEwma, Policy::RoundRobin] {
            let set = set(&[1, 3]);
            let balancer = balancer(policy);
            let heavy = (0..10_000).filter(|_| chosen(&balancer, &set, &[], at(0)) == 1).count();
            assert!((7_200..7_800).contains(&heavy), "{policy:?}: {heavy}");
        }
    }

    #[test]
    fn a_new_endpoint_starts_slowly() {
        let mut endpoints = set(&[1, 1]).endpoints;
        endpoints[1] = Arc::new(Endpoint::new(([127, 0, 0, 1], 9).into(), 1, 0, at(100_000)));
        let set = EndpointSet::new(1, AddressKind::Pod, endpoints);
        let balancer = Balancer::new(Policy::PeakEwma, Duration::from_secs(10), 0);
        let share = |millis: u64| {
            (0..10_000)
                .filter(|_| chosen(&balancer, &set, &[], at(millis)) == 1)
                .count()
        };
        let (first, half, full) = (share(100_000), share(105_000), share(110_000));
        assert!((700..1_200).contains(&first), "{first}");
        assert!((3_000..3_700).contains(&half), "{half}");
        assert_eq!(full, 5_000);
    }

    #[test]
    fn the_backends_own_word_counts_while_it_is_fresh() {
        let set = set(&[1, 1]);
        let balancer = balancer(Policy::LeastRequest);
        set.endpoints[0].note_hint(50, at(0));
        assert!((0..10).all(|_| chosen(&balancer, &set, &[], at(900)) == 1));
        assert!((0..10).any(|_| chosen(&balancer, &set, &[], at(1_100)) == 0));
    }

    #[test]
    fn ejected_endpoints_are_passed_over_and_all_ejected_are_all_used() {
        let set = set(&[1, 1, 1]);
        let balancer = balancer(Policy::PeakEwma);
        set.endpoints[0].note_unreachable(&EJECTION, at(0));
        assert!((0..50).all(|_| chosen(&balancer, &set, &[], at(500)) != 0));
        set.endpoints[1].note_unreachable(&EJECTION, at(0));
        set.endpoints[2].set_healthy(false, at(0));
        let places: Vec<usize> = (0..50).map(|_| chosen(&balancer, &set, &[], at(500))).collect();
        assert!((0..3).all(|place| places.contains(&place)), "{places:?}");
    }

    #[test]
    fn an_endpoint_due_for_its_probe_is_chosen_until_somebody_claims_it() {
        let set = set(&[1, 1]);
        let balancer = balancer(Policy::PeakEwma);
        set.endpoints[0].note_unreachable(&EJECTION, at(0));
        let places: Vec<usize> = (0..4).map(|_| chosen(&balancer, &set, &[], at(2_000))).collect();
        assert!(places.contains(&0));
        assert!(set.endpoints[0].claim_probe(at(2_000)));
        assert!((0..20).all(|_| chosen(&balancer, &set, &[], at(2_000)) == 1));
    }

    #[test]
    fn a_full_endpoint_is_no_choice() {
        let set = set(&[1, 1]);
        let balancer = Balancer::new(Policy::PeakEwma, Duration::ZERO, 0);
        assert!(set.endpoints[0].load().begin(1, at(0)));
        assert_eq!(chosen(&balancer, &set, &[], at(0)), 1);
        assert!(set.endpoints[1].load().begin(1, at(0)));
        assert_eq!(balancer.pick(&set, &[], 1, at(0)), Pick::Full);
    }

    proptest! {
        #[test]
        fn in_turn_every_endpoint_gets_the_same_share(count in 1usize..20, rounds in 1usize..10, start: usize) {
            let set = set(&vec![1; count]);
            let balancer = Balancer::new(Policy::RoundRobin, Duration::ZERO, start);
            let places: Vec<usize> = (0..rounds * count).map(|_| chosen(&balancer, &set, &[], at(0))).collect();
            for place in 0..count {
                prop_assert_eq!(places.iter().filter(|chosen| **chosen == place).count(), rounds);
            }
        }

        #[test]
        fn what_was_tried_is_chosen_only_when_nothing_else_is_left(
            count in 1usize..10,
            tried in prop::collection::vec(1u16..10, 0..10),
            ejected in prop::collection::vec(0usize..10, 0..10),
        ) {
            let set = set(&vec![1; count]);
            for place in ejected.iter().filter(|place| **place < count) {
                set.endpoints[*place].note_unreachable(&EJECTION, at(0));
            }
            let tried: Vec<SocketAddr> = tried.iter().map(|port| ([127, 0, 0, 1], *port).into()).collect();
            let was_tried = |place: usize| tried.contains(&set.endpoints[place].address);
            let place = chosen(&balancer(Policy::PeakEwma), &set, &tried, at(500));
            prop_assert_eq!(was_tried(place), (0..count).all(was_tried));
            let could = |place: usize| !was_tried(place) && !ejected.contains(&place);
            prop_assert_eq!(could(place), (0..count).any(could));
        }

        #[test]
        fn of_two_at_most_one_is_lighter(
            one in (0u32..100, 0u64..1_000_000_000, 1u32..10),
            other in (0u32..100, 0u64..1_000_000_000, 1u32..10),
        ) {
            let weighed = |(in_flight, latency, share): (u32, u64, u32)| Weighed {
                in_flight: f64::from(in_flight),
                latency,
                share: f64::from(share),
            };
            let (one, other) = (weighed(one), weighed(other));
            prop_assert!(!(one.is_lighter_than(&other) && other.is_lighter_than(&one)));
        }

        #[test]
        fn the_others_are_each_named_once(count in 1usize..50, place: prop::sample::Index) {
            let place = place.index(count);
            let mut others: Vec<usize> = other_than(place, count).collect();
            others.push(place);
            others.sort_unstable();
            prop_assert_eq!(others, (0..count).collect::<Vec<_>>());
        }
    }
}
