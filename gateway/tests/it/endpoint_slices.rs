//! Pods that come, go and fall ill, as the API server tells of them; and an API server that refuses, breaks off, hangs
//! and goes away. Against an API server in the test.
//!
//! ```text
//! fallback.rs    DNS in the place of an API server that cannot be asked
//! lost_watch.rs  a watch that no longer tells of the pods
//! ready_pods.rs  which pods get the requests
//! settings.rs    what is asked for, and what is refused at the start
//! watch.rs       a watch that breaks, ends, hangs or is refused
//! ```

mod fallback;
mod lost_watch;
mod ready_pods;
mod settings;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::Gateway;
use serde_json::Value;
use shared::test_util::{
    ApiServer, DEADLINE, DnsServer, Mood, NAMESPACE, Pod, SERVICE, Scratch, Upstream, eventually, pods, slice,
};
use tokio::sync::Notify;

const A: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 2);
const C: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 3);
/// What DNS says: the Service's own address.
const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 10);
const FELL_BACK: &str = "cannot list EndpointSlices; resolving by DNS until it succeeds";

struct Setup {
    gateway: Gateway,
    service_account: Scratch,
    /// Of the pods and of the Service.
    port: u16,
    _upstreams: Vec<Upstream>,
    _dns: DnsServer,
    _resolv: Scratch,
}

impl Setup {
    /// A gateway as in a pod, before pods at A, B and C and a Service address that DNS knows. Each answers with its name.
    async fn start(api: &ApiServer, settings: &[(&str, &str)], fill: impl FnOnce(u16)) -> Self {
        Self::start_with(&format!("http://{}", api.address), "", settings, fill).await
    }

    async fn start_with(api: &str, cluster_keys: &str, settings: &[(&str, &str)], fill: impl FnOnce(u16)) -> Self {
        let upstreams = pods(&[("a", A), ("b", B), ("c", C), ("service", CLUSTER_IP)]).await;
        let port = upstreams[0].address.port();
        fill(port);
        let dns = DnsServer::start().await;
        dns.set(&format!("{SERVICE}.{NAMESPACE}.svc.cluster.local."), &[CLUSTER_IP]);
        let resolv = Scratch::new("resolv");
        let resolv_conf = resolv.file(
            "resolv.conf",
            format!("search {NAMESPACE}.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n"),
        );
        let service_account = Scratch::new("serviceaccount");
        service_account.file("token", "first");
        service_account.file("namespace", NAMESPACE);
        let cluster = format!("{SERVICE}:{port}");
        let yaml = format!(
            "clusters: [{{ name: \"{cluster}\", discovery: kubernetes {cluster_keys} }}]\n\
             routes: [{{ prefix: /predict, cluster: \"{cluster}\", rewrite: / }}]\n"
        );
        let name_server = dns.address.to_string();
        let mut environment = vec![
            ("KUBERNETES_API", api),
            ("SERVICE_ACCOUNT_DIR", text(service_account.path())),
            ("KUBERNETES_RETRY", "0.2"),
            ("KUBERNETES_WATCH_TIMEOUT", "30"),
            ("RESOLV_CONF", text(&resolv_conf)),
            ("DNS_SERVERS", &name_server),
            ("DNS_MAX_TTL", "0.1"),
            ("DNS_MIN_TTL", "0.05"),
            ("WORKERS", "1"),
        ];
        environment.extend(settings);
        let gateway = Gateway::start(&yaml, &environment).await;
        Self {
            gateway,
            service_account,
            port,
            _upstreams: upstreams,
            _dns: dns,
            _resolv: resolv,
        }
    }

    async fn cluster(&self) -> Value {
        let status: Value = self.gateway.admin("/status.json").await.json().await.expect("JSON");
        status["clusters"][0].clone()
    }

    /// Waits until the cluster consists of these addresses, found in this tier.
    async fn becomes(&self, tier: &str, addresses: &[Ipv4Addr]) {
        let expected: Vec<String> = addresses
            .iter()
            .map(|address| format!("{address}:{}", self.port))
            .collect();
        eventually(&format!("{addresses:?} by {tier}"), DEADLINE, async || {
            let cluster = self.cluster().await;
            let endpoints = cluster["endpoints"].as_array().expect("a list");
            let found = endpoints
                .iter()
                .map(|endpoint| endpoint["address"].as_str().unwrap_or(""));
            cluster["discovery"] == tier && found.eq(expected.iter().map(String::as_str))
        })
        .await;
    }

    /// Who answers twelve requests, each once.
    async fn answers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..12 {
            names.push(self.gateway.get("/predict").await.text().await.expect("text"));
        }
        names.sort();
        names.dedup();
        names
    }

    /// Those of discovery: a request that fails has its own.
    fn warnings(&self) -> Vec<Value> {
        let of_discovery = |line: &Value| {
            let target = line["target"].as_str().unwrap_or("");
            line["level"] == "WARN" && target.starts_with("gateway::upstream::discovery")
        };
        self.gateway.process.log().into_iter().filter(of_discovery).collect()
    }

    async fn tier_metric(&self, tier: &str) -> f64 {
        let series = format!(
            "gateway_cluster_discovery{{cluster=\"{SERVICE}:{}\",tier=\"{tier}\"}}",
            self.port
        );
        self.gateway.metric(&series).await
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
