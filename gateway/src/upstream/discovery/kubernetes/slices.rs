//! The EndpointSlices of one Service, merged into addresses.
//!
//! A Service has as many slices as its pods need, one family of addresses each, and while the control plane
//! moves a pod from one slice to another it stands in both. Pure, so that it is tested without an API server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointPort, EndpointSlice};

/// Every slice of the Service, by its name, as of one version.
#[derive(Debug, Default)]
pub(super) struct Slices {
    by_name: BTreeMap<String, Slice>,
}

/// The part of a slice that matters here; the rest is not kept.
#[derive(Debug)]
struct Slice {
    ports: Vec<Port>,
    pods: Vec<Pod>,
}

#[derive(Debug)]
struct Port {
    name: String,
    /// Without a number the port is not restricted: then it is the Service's.
    number: Option<u16>,
}

#[derive(Debug)]
struct Pod {
    ip: IpAddr,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Takes new traffic.
    Ready,
    /// Told to end, and still serving: better than nobody.
    Leaving,
}

impl State {
    /// `None` for a pod that serves nobody. A condition that is not there is read as the API says: ready, serving when
    /// it is ready, not terminating.
    fn of(conditions: Option<&EndpointConditions>) -> Option<Self> {
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
        let terminating = conditions
            .and_then(|conditions| conditions.terminating)
            .unwrap_or(false);
        match (ready, serving && terminating) {
            (true, _) => Some(Self::Ready),
            (false, true) => Some(Self::Leaving),
            (false, false) => None,
        }
    }
}

/// The port to connect to cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortError {
    wanted: Option<String>,
    known: BTreeSet<String>,
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<String> = self.known.iter().map(|name| format!("{name:?}")).collect();
        let known = known.join(", ");
        match &self.wanted {
            Some(wanted) if known.is_empty() => write!(f, "its slices have no TCP port, and port_name is {wanted:?}"),
            Some(wanted) => write!(
                f,
                "its slices have no TCP port named {wanted:?} but {known}; correct port_name"
            ),
            None => write!(f, "its slices have several TCP ports: {known}; choose one by port_name"),
        }
    }
}

impl Slices {
    pub(super) fn new(slices: impl IntoIterator<Item = EndpointSlice>) -> Self {
        let mut all = Self::default();
        for slice in slices {
            all.put(slice);
        }
        all
    }

    /// Adds a slice, or puts it in the place of what it was before.
    pub(super) fn put(&mut self, slice: EndpointSlice) {
        let name = slice.metadata.name.clone().unwrap_or_default();
        self.by_name.insert(name, Slice::from(slice));
    }

    pub(super) fn remove(&mut self, slice: &EndpointSlice) {
        self.by_name.remove(slice.metadata.name.as_deref().unwrap_or_default());
    }

    /// Addresses that requests go to: of every ready pod, or, when there is none, of those that are terminating.
    pub(super) fn addresses(&self, port_name: Option<&str>, service_port: u16) -> Result<Vec<SocketAddr>, PortError> {
        let mut ready = BTreeSet::new();
        let mut leaving = BTreeSet::new();
        let mut unmatched = None;
        for slice in self.by_name.values().filter(|slice| !slice.pods.is_empty()) {
            let port = match slice.port(port_name) {
                Ok(port) => port.unwrap_or(service_port),
                Err(error) => {
                    unmatched = Some(error);
                    continue;
                }
            };
            for pod in &slice.pods {
                let set = match pod.state {
                    State::Ready => &mut ready,
                    State::Leaving => &mut leaving,
                };
                set.insert(SocketAddr::new(pod.ip, port));
            }
        }
        let chosen = if ready.is_empty() { leaving } else { ready };
        match unmatched {
            // A slice of before the Service's ports changed has pods that the others will have soon.
            Some(error) if chosen.is_empty() => Err(error),
            _ => Ok(chosen.into_iter().collect()),
        }
    }
}

impl Slice {
    /// The number of the port of this name, or of the only one; `Ok(None)` where the slice does not restrict it.
    fn port(&self, wanted: Option<&str>) -> Result<Option<u16>, PortError> {
        let found = match (wanted, self.ports.as_slice()) {
            // A headless Service may name none.
            (None, []) => return Ok(None),
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(wanted), ports) => ports.iter().find(|port| port.name == wanted),
        };
        found.map(|port| port.number).ok_or_else(|| PortError {
            wanted: wanted.map(str::to_owned),
            known: self.ports.iter().map(|port| port.name.clone()).collect(),
        })
    }
}

impl From<EndpointSlice> for Slice {
    fn from(slice: EndpointSlice) -> Self {
        let is_tcp = |port: &EndpointPort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        let ports = slice.ports.unwrap_or_default();
        let ports = ports.into_iter().filter(is_tcp).map(|port| Port {
            name: port.name.unwrap_or_default(),
            number: port.port.and_then(|number| u16::try_from(number).ok()),
        });
        let pods = slice.endpoints.into_iter().filter_map(|endpoint| {
            // The first address stands for all. It is no IP in slices of names (`addressType: FQDN`).
            let ip = endpoint.addresses.first()?.parse().ok()?;
            let state = State::of(endpoint.conditions.as_ref())?;
            Some(Pod { ip, state })
        });
        Self {
            ports: ports.collect(),
            pods: pods.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::discovery::v1::Endpoint;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use proptest::prelude::*;

    use super::*;

    fn slice(name: &str, ports: &[(&str, i32)], endpoints: &[([u8; 4], EndpointConditions)]) -> EndpointSlice {
        let ports = ports.iter().map(|(name, number)| EndpointPort {
            name: Some((*name).to_owned()),
            port: Some(*number),
            ..EndpointPort::default()
        });
        let endpoints = endpoints.iter().map(|(address, conditions)| Endpoint {
            addresses: vec![IpAddr::from(*address).to_string()],
            conditions: Some(conditions.clone()),
            ..Endpoint::default()
        });
        EndpointSlice {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            address_type: "IPv4".to_owned(),
            ports: Some(ports.collect()),
            endpoints: endpoints.collect(),
        }
    }

    fn conditions(ready: Option<bool>, serving: Option<bool>, terminating: Option<bool>) -> EndpointConditions {
        EndpointConditions {
            ready,
            serving,
            terminating,
        }
    }

    fn ready() -> EndpointConditions {
        conditions(Some(true), Some(true), Some(false))
    }

    fn leaving() -> EndpointConditions {
        conditions(Some(false), Some(true), Some(true))
    }

    fn addresses(slices: &Slices) -> Vec<String> {
        let merged = slices.addresses(None, 5000).expect("the port is clear");
        merged.iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn conditions_that_are_not_there_are_read_as_the_api_says() {
        let state = |ready, serving, terminating| State::of(Some(&conditions(ready, serving, terminating)));
        assert_eq!(State::of(None), Some(State::Ready));
        assert_eq!(state(None, None, None), Some(State::Ready));
        assert_eq!(state(Some(false), None, None), None);
        assert_eq!(state(Some(false), None, Some(true)), None);
        assert_eq!(state(Some(false), Some(true), None), None);
        assert_eq!(state(Some(false), Some(true), Some(true)), Some(State::Leaving));
        assert_eq!(state(Some(false), Some(false), Some(true)), None);
        // publishNotReadyAddresses: ready to the end.
        assert_eq!(state(Some(true), Some(true), Some(true)), Some(State::Ready));
    }

    #[test]
    fn both_families_and_every_slice_count_and_no_pod_counts_twice() {
        let mut v6 = slice("v6", &[("http", 8080)], &[]);
        v6.endpoints = vec![Endpoint {
            addresses: vec!["fd00::1".to_owned()],
            ..Endpoint::default()
        }];
        let a = slice(
            "a",
            &[("http", 8080)],
            &[([10, 0, 0, 1], ready()), ([10, 0, 0, 2], ready())],
        );
        let b = slice("b", &[("http", 8080)], &[([10, 0, 0, 2], ready())]);
        assert_eq!(
            addresses(&Slices::new([a, b, v6])),
            ["10.0.0.1:8080", "10.0.0.2:8080", "[fd00::1]:8080"]
        );
    }

    #[test]
    fn a_slice_replaced_or_removed_takes_its_pods_with_it() {
        let mut slices = Slices::new([
            slice("a", &[("http", 80)], &[([10, 0, 0, 1], ready())]),
            slice("b", &[("http", 80)], &[([10, 0, 0, 2], ready())]),
        ]);
        slices.put(slice("a", &[("http", 80)], &[([10, 0, 0, 3], ready())]));
        assert_eq!(addresses(&slices), ["10.0.0.2:80", "10.0.0.3:80"]);
        slices.remove(&slice("b", &[], &[]));
        assert_eq!(addresses(&slices), ["10.0.0.3:80"]);
        slices.remove(&slice("a", &[], &[]));
        assert!(addresses(&slices).is_empty());
    }

    #[test]
    fn the_port_is_the_named_one_the_only_one_or_a_clear_error() {
        let pods = [([10, 0, 0, 1], ready())];
        let two = Slices::new([slice("a", &[("http", 8080), ("metrics", 9090)], &pods)]);
        let named = |name| two.addresses(Some(name), 5000).map_err(|error| error.to_string());
        assert_eq!(named("metrics"), Ok(vec![([10, 0, 0, 1], 9090).into()]));
        assert_eq!(
            named("grpc"),
            Err("its slices have no TCP port named \"grpc\" but \"http\", \"metrics\"; correct port_name".to_owned())
        );
        assert_eq!(
            two.addresses(None, 5000).expect_err("two ports").to_string(),
            "its slices have several TCP ports: \"http\", \"metrics\"; choose one by port_name"
        );
        // Numbers differ between slices where the Service names a port that pods have under different numbers.
        let moved = Slices::new([
            slice("a", &[("http", 8080)], &pods),
            slice("b", &[("http", 8081)], &[([10, 0, 0, 2], ready())]),
        ]);
        assert_eq!(addresses(&moved), ["10.0.0.1:8080", "10.0.0.2:8081"]);
        let none = Slices::new([slice("a", &[], &pods)]);
        assert_eq!(addresses(&none), ["10.0.0.1:5000"]);
        let mut udp = slice("a", &[("dns", 53), ("http", 8080)], &pods);
        udp.ports.as_mut().expect("it has ports")[0].protocol = Some("UDP".to_owned());
        assert_eq!(addresses(&Slices::new([udp])), ["10.0.0.1:8080"]);
        // Nobody to send to is no question of ports.
        let empty = Slices::new([slice("a", &[("http", 8080), ("metrics", 9090)], &[])]);
        assert!(addresses(&empty).is_empty());
    }

    fn any_conditions() -> impl Strategy<Value = EndpointConditions> {
        let condition = || prop::option::of(any::<bool>());
        (condition(), condition(), condition())
            .prop_map(|(ready, serving, terminating)| conditions(ready, serving, terminating))
    }

    prop_compose! {
        fn any_slice()(name in 0u8..4, endpoints in prop::collection::vec((0u8..6, any_conditions()), 0..6)) -> EndpointSlice {
            let endpoints: Vec<_> = endpoints.into_iter().map(|(last, conditions)| ([10, 0, 0, last], conditions)).collect();
            slice(&name.to_string(), &[("http", 80)], &endpoints)
        }
    }

    proptest! {
        #[test]
        fn leaving_pods_are_used_only_when_none_is_ready(slices in prop::collection::vec(any_slice(), 0..6)) {
            let all = Slices::new(slices.clone());
            let merged = all.addresses(None, 80).expect("one port");
            // What counts of slices with one name is the last.
            let last = |slice: &&EndpointSlice| {
                let same = slices.iter().rfind(|other| other.metadata.name == slice.metadata.name);
                same.is_some_and(|same| std::ptr::eq(same, *slice))
            };
            let pods: Vec<(String, Option<State>)> = slices
                .iter()
                .filter(last)
                .flat_map(|slice| &slice.endpoints)
                .map(|endpoint| (format!("{}:80", endpoint.addresses[0]), State::of(endpoint.conditions.as_ref())))
                .collect();
            let in_state = |wanted| -> BTreeSet<String> {
                pods.iter().filter(|(_, state)| *state == Some(wanted)).map(|(address, _)| address.clone()).collect()
            };
            let (ready, leaving) = (in_state(State::Ready), in_state(State::Leaving));
            let expected = if ready.is_empty() { leaving } else { ready };
            let found: Vec<String> = merged.iter().map(SocketAddr::to_string).collect();
            prop_assert_eq!(found.len(), expected.len());
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        }

        #[test]
        fn the_order_in_which_slices_come_does_not_matter(slices in prop::collection::vec(any_slice(), 0..6)) {
            let mut named: BTreeMap<Option<String>, EndpointSlice> = BTreeMap::new();
            for slice in slices {
                named.insert(slice.metadata.name.clone(), slice);
            }
            let forward = Slices::new(named.values().cloned()).addresses(None, 80);
            let backward = Slices::new(named.into_values().rev()).addresses(None, 80);
            prop_assert_eq!(forward, backward);
        }
    }

    #[test]
    fn only_ready_pods_while_there_are_any() {
        let slices = Slices::new([slice(
            "a",
            &[("http", 80)],
            &[([10, 0, 0, 1], leaving()), ([10, 0, 0, 2], ready())],
        )]);
        assert_eq!(addresses(&slices), ["10.0.0.2:80"]);
    }
}
