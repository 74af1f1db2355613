//! The real gateway with its default routes and settings, and the network its replicas are in.
//!
//! Only what a test has to change is changed: free ports, the name servers, and the port of the cluster's name.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::binary;
use serde_json::Value;
use shared::http_client;
use shared::test_util::{ApiServer, DEADLINE, DnsServer, NAMESPACE, Process, SERVICE, Scratch, eventually};
use tokio::time::sleep;

use crate::load::{Load, request_id};
use crate::machine::waited_for_cpu;
use crate::replica::Replica;
use crate::run::Run;

const DEFAULTS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../gateway/default.yaml"));
const CLUSTER: &str = "ml-inference-service:5000";

/// Requests go out for this long before anything is measured: connections are opened, latencies learnt.
const WARM_UP: Duration = Duration::from_millis(400);
/// What comes later is compared with this time.
const STEADY: Duration = Duration::from_millis(1500);

/// Addresses for pods, all with one port. They are this process's own, so that tests may run beside each other.
pub(crate) struct Network {
    subnet: [u8; 2],
    port: u16,
    pods: Cell<u8>,
}

impl Network {
    pub(crate) fn new() -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let subnet = [64 + high % 64, low];
        let listener = TcpListener::bind((Ipv4Addr::new(127, subnet[0], subnet[1], 1), 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        Self {
            subnet,
            port,
            pods: Cell::new(0),
        }
    }

    /// The name and the address of another pod.
    pub(crate) fn pod(&self) -> (String, SocketAddr) {
        let number = self.pods.get() + 1;
        self.pods.set(number);
        let address = Ipv4Addr::new(127, self.subnet[0], self.subnet[1], 1 + number);
        (format!("pod-{number}"), SocketAddr::new(address.into(), self.port))
    }

    /// One that is no pod's.
    fn beside(&self) -> SocketAddr {
        let address = Ipv4Addr::new(127, self.subnet[0], self.subnet[1], 1);
        SocketAddr::new(address.into(), self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

pub(crate) struct Lab {
    gateway: Process,
    address: SocketAddr,
    admin: SocketAddr,
    dns: DnsServer,
    client: reqwest::Client,
    /// Asked past the gateway.
    beside: Replica,
    _scratch: Scratch,
}

impl Lab {
    /// A gateway that finds `pods` by DNS.
    pub(crate) async fn by_dns(network: &Network, pods: &[SocketAddr]) -> Self {
        let yaml = DEFAULTS.replace(":5000", &format!(":{}", network.port));
        let lab = Self::start(network, &yaml, &[], pods).await;
        lab.knows(pods.len()).await;
        lab
    }

    /// A gateway that finds `count` pods by the EndpointSlices of `api`.
    pub(crate) async fn by_endpoint_slices(network: &Network, api: &ApiServer, count: usize) -> Self {
        let name = format!("- name: {CLUSTER}");
        let yaml = DEFAULTS.replace(&name, &format!("{name}\n    discovery: kubernetes"));
        let yaml = yaml.replace(":5000", &format!(":{}", network.port));
        let api = ("KUBERNETES_API", format!("http://{}", api.address));
        let lab = Self::start(network, &yaml, &[api], &[]).await;
        lab.knows(count).await;
        lab
    }

    async fn start(network: &Network, yaml: &str, settings: &[(&str, String)], named: &[SocketAddr]) -> Self {
        let dns = DnsServer::start().await;
        let scratch = Scratch::new("faults");
        let yaml = scratch.file("gateway.yaml", yaml);
        let search = format!("search {NAMESPACE}.svc.cluster.local svc.cluster.local cluster.local");
        let resolv_conf = scratch.file("resolv.conf", search + "\nnameserver 127.0.0.1\noptions ndots:5\n");
        scratch.file("token", "first");
        scratch.file("namespace", NAMESPACE);
        let mut environment = vec![
            ("CONFIG_FILE", text(&yaml)),
            ("LISTEN_ADDRESS", "127.0.0.1:0".to_owned()),
            ("ADMIN_ADDRESS", "127.0.0.1:0".to_owned()),
            ("DNS_SERVERS", dns.address.to_string()),
            ("RESOLV_CONF", text(&resolv_conf)),
            ("SERVICE_ACCOUNT_DIR", text(scratch.path())),
        ];
        environment.extend_from_slice(settings);
        name(&dns, named);
        let gateway = Process::start(binary("gateway"), environment);
        let address = gateway.listening().await;
        let admin = gateway.address_of("admin listening").await;
        Self {
            gateway,
            address,
            admin,
            dns,
            client: http_client::client(DEADLINE).expect("the client builds"),
            beside: Replica::start("beside", network.beside()).await,
            _scratch: scratch,
        }
    }

    /// What DNS says from now on.
    pub(crate) fn name(&self, pods: &[SocketAddr]) {
        name(&self.dns, pods);
    }

    async fn knows(&self, count: usize) {
        let url = format!("http://{}/status.json", self.admin);
        eventually("the gateway knows its endpoints", DEADLINE, async || {
            let status = self.client.get(&url).send().await.expect("an answer");
            let status: Value = status.json().await.expect("JSON");
            let endpoints = status["clusters"][0]["endpoints"].as_array();
            endpoints.is_some_and(|endpoints| endpoints.len() == count)
        })
        .await;
    }

    /// Waits until a request waits for this pod, for longer than one that is answered would.
    pub(crate) async fn waits_for(&self, pod: SocketAddr) {
        let url = format!("http://{}/metrics", self.admin);
        let mut looks = 0;
        eventually("a request waits for the pod", DEADLINE, async || {
            let metrics = self.client.get(&url).send().await.expect("an answer");
            let metrics = metrics.text().await.expect("text");
            let of_pod = |line: &&str| line.contains("endpoint_requests_in_flight{") && line.contains(&pod.to_string());
            let waits = metrics.lines().find(of_pod).is_some_and(|line| !line.ends_with(" 0"));
            looks = if waits { looks + 1 } else { 0 };
            looks > 3
        })
        .await;
    }

    /// Puts the gateway under load; returns when the steady time is over, with the moment at which it began.
    pub(crate) async fn steady_load(&self) -> (Load, Instant) {
        let load = Load::start(self.address, self.beside.address);
        sleep(WARM_UP).await;
        let began = Instant::now();
        sleep(STEADY).await;
        (load, began)
    }

    /// Ends the load and gathers what it saw; `struck` is when the fault began.
    pub(crate) async fn finish(self, fault: &'static str, load: (Load, Instant), struck: Instant) -> Run {
        let (load, began) = load;
        let (samples, direct) = load.finish().await;
        let waited_for_cpu = waited_for_cpu(self.gateway.id());
        let mut attempts = HashMap::new();
        eventually("every request is in the gateway's log", DEADLINE, async || {
            attempts = self.attempts();
            attempts.len() >= samples.len()
        })
        .await;
        let of_endpoints = |line: &Value| line["level"] == "WARN" && line["target"] == "gateway::upstream::endpoint";
        let warnings = self.gateway.log().into_iter().filter(of_endpoints);
        let warnings = warnings.map(|line| line.to_string()).collect();
        let resent = |number: usize| attempts.get(&request_id(number)).is_some_and(|attempts| *attempts > 1);
        let resent = samples
            .iter()
            .map(|sample| sample.number)
            .filter(|number| resent(*number));
        Run {
            fault,
            began,
            struck,
            resent: resent.collect(),
            samples,
            direct,
            waited_for_cpu,
            warnings,
            diverted: Duration::ZERO,
            met: 0,
            slow: Vec::new(),
        }
    }

    /// How often each request was sent to a replica, by its id.
    fn attempts(&self) -> HashMap<String, u64> {
        let attempts = |line: Value| {
            let id = line["request_id"].as_str()?.to_owned();
            Some((id, line["attempts"].as_u64().unwrap_or(1)))
        };
        self.gateway.log().into_iter().filter_map(attempts).collect()
    }
}

fn name(dns: &DnsServer, pods: &[SocketAddr]) {
    let v4 = |pod: &SocketAddr| match pod.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("a pod at {address}"),
    };
    let addresses: Vec<Ipv4Addr> = pods.iter().map(v4).collect();
    dns.set(&format!("{SERVICE}.{NAMESPACE}.svc.cluster.local."), &addresses);
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}
