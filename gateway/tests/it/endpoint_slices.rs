//! Pods that come, go and fall ill, as the API server tells of them; and an API server that refuses, breaks off, hangs
//! and goes away. Against an API server in the test.

mod lost_watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{BINARY, Gateway, variables};
use serde_json::Value;
use shared::test_util::{
    ApiServer, Asked, DEADLINE, DnsServer, Mood, NAMESPACE, Pod, Process, SERVICE, Scratch, TlsFront, Upstream,
    eventually, pods, slice, slice_with_ports,
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

#[tokio::test]
async fn requests_go_to_the_pods_that_are_ready_in_any_slice() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| {
        api.put("one", slice(port, &[Pod::Ready(A), Pod::Unready(B), Pod::Leaving(C)]));
    })
    .await;
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.answers().await, ["a"]);
    assert_eq!(setup.tier_metric("kubernetes").await, 1.0);
    assert_eq!(setup.tier_metric("dns").await, 0.0);

    // A second slice, which has a pod of the first one too.
    api.put("two", slice(setup.port, &[Pod::Ready(A), Pod::Ready(B)]));
    setup.becomes("kubernetes", &[A, B]).await;
    assert_eq!(setup.answers().await, ["a", "b"]);

    // It leaves the first one, and stays in the second.
    api.put("one", slice(setup.port, &[Pod::Ready(C)]));
    setup.becomes("kubernetes", &[A, B, C]).await;
    assert_eq!(setup.answers().await, ["a", "b", "c"]);

    api.delete("two");
    setup.becomes("kubernetes", &[C]).await;
    assert_eq!(setup.answers().await, ["c"]);

    api.delete("one");
    setup.becomes("kubernetes", &[]).await;
    assert_eq!(api.lists(), 1, "everything else came by the watch");
    // A request without an endpoint is a reason to list again.
    assert_eq!(setup.gateway.get("/predict").await.status(), 503);

    let asked = &api.asked()[0];
    assert_eq!(
        asked.path,
        format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices")
    );
    assert_eq!(
        asked.query["labelSelector"],
        format!("kubernetes.io/service-name={SERVICE}")
    );
    let watch = &api.watches()[0];
    assert_eq!(watch.query["allowWatchBookmarks"], "true");
    assert_eq!(watch.query["timeoutSeconds"], "30");
    assert!(setup.warnings().is_empty(), "{:?}", setup.warnings());
}

#[tokio::test]
async fn pods_that_are_leaving_serve_only_while_none_is_ready() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| {
        api.put("one", slice(port, &[Pod::Leaving(A), Pod::Unready(B), Pod::Gone(C)]));
    })
    .await;
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.answers().await, ["a"]);

    api.put("two", slice(setup.port, &[Pod::Ready(C)]));
    setup.becomes("kubernetes", &[C]).await;

    api.put("two", slice(setup.port, &[Pod::Leaving(C)]));
    setup.becomes("kubernetes", &[A, C]).await;
    assert_eq!(setup.answers().await, ["a", "c"]);
}

#[tokio::test]
async fn a_request_in_flight_outlives_its_pods_place_in_the_slice() {
    let release = std::sync::Arc::new(Notify::new());
    let released = std::sync::Arc::clone(&release);
    let slow = Upstream::start(move |mut connection| {
        let released = std::sync::Arc::clone(&released);
        async move {
            while connection.read_request().await.is_some() {
                released.notified().await;
                connection.answer(200, "slow").await;
            }
        }
    })
    .await;
    let SocketAddr::V4(address) = slow.address else {
        panic!("127.0.0.1")
    };
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |_| {
        api.put("slow", slice(address.port(), &[Pod::Ready(*address.ip())]));
    })
    .await;
    eventually("the pod is known", DEADLINE, async || {
        setup.cluster().await["endpoints"][0]["address"] == address.to_string()
    })
    .await;
    let in_flight = tokio::spawn({
        let request = setup.gateway.client.get(setup.gateway.url("/predict"));
        async move { request.send().await.expect("an answer").text().await.expect("text") }
    });
    eventually("the request is at the pod", DEADLINE, async || slow.accepted() == 1).await;

    api.put("other", slice(setup.port, &[Pod::Ready(B)]));
    api.delete("slow");
    setup.becomes("kubernetes", &[B]).await;
    assert_eq!(setup.answers().await, ["b"]);
    release.notify_one();
    assert_eq!(in_flight.await.expect("it ran"), "slow");
}

#[tokio::test]
async fn a_lone_pod_is_no_service_and_one_connection_does() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    for _ in 0..4 {
        assert_eq!(setup.answers().await, ["a"]);
    }
    assert_eq!(setup._upstreams[0].accepted(), 1);
}

#[tokio::test]
async fn the_port_is_chosen_by_its_name() {
    let api = ApiServer::start(Mood::Well).await;
    let url = format!("http://{}", api.address);
    let setup = Setup::start_with(&url, ", port_name: http", &[], |port| {
        api.put(
            "one",
            slice_with_ports(&[("metrics", 1), ("http", port)], &[Pod::Ready(A)]),
        );
    })
    .await;
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.answers().await, ["a"]);
}

#[tokio::test]
async fn several_ports_and_no_name_are_left_to_dns_and_said() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| {
        api.put(
            "one",
            slice_with_ports(&[("metrics", 1), ("http", port)], &[Pod::Ready(A)]),
        );
    })
    .await;
    setup.becomes("dns", &[CLUSTER_IP]).await;
    let warning = setup.gateway.process.log_line(FELL_BACK).await;
    let reason = "its slices have several TCP ports: \"http\", \"metrics\"; choose one by port_name";
    assert_eq!(warning["failure"], reason);

    // The Service is put right, without a word to the gateway.
    api.put("one", slice(setup.port, &[Pod::Ready(A)]));
    setup.becomes("kubernetes", &[A]).await;
}

/// Refused, with DNS in its place; allowed; refused once more, and allowed again.
async fn falls_back_and_comes_back(refusal: u16) {
    let api = ApiServer::start(Mood::Refusing(refusal)).await;
    let setup = Setup::start(&api, &[], |port| {
        api.put("one", slice(port, &[Pod::Ready(A), Pod::Ready(B)]))
    })
    .await;
    setup.becomes("dns", &[CLUSTER_IP]).await;
    assert_eq!(setup.answers().await, ["service"]);
    eventually("it asks again", DEADLINE, async || api.lists() >= 4).await;
    let warnings = setup.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["message"], FELL_BACK);
    assert_eq!(
        warnings[0]["failure"],
        format!("the API server answers {refusal}: scripted {refusal}")
    );
    assert_eq!(setup.tier_metric("kubernetes").await, 0.0);
    assert_eq!(setup.tier_metric("dns").await, 1.0);
    assert!(setup.gateway.metric("gateway_kubernetes_failures_total").await >= 3.0);

    api.set_mood(Mood::Well);
    setup.becomes("kubernetes", &[A, B]).await;
    assert_eq!(setup.answers().await, ["a", "b"]);
    assert_eq!(setup.tier_metric("kubernetes").await, 1.0);
    assert_eq!(setup.tier_metric("dns").await, 0.0);

    // The right is taken away while a watch runs: the next one is refused.
    api.set_mood(Mood::Refusing(refusal));
    api.cut();
    setup.becomes("dns", &[CLUSTER_IP]).await;
    api.set_mood(Mood::Well);
    setup.becomes("kubernetes", &[A, B]).await;
}

#[tokio::test]
async fn without_the_right_to_watch_dns_serves_until_it_is_given() {
    falls_back_and_comes_back(403).await;
}

#[tokio::test]
async fn without_credentials_that_count_dns_serves_until_they_do() {
    falls_back_and_comes_back(401).await;
}

#[tokio::test]
async fn without_the_api_dns_serves_until_it_is_there() {
    falls_back_and_comes_back(404).await;
}

#[tokio::test]
async fn outside_of_a_pod_dns_serves() {
    let setup = Setup::start_with("", "", &[], |_| {}).await;
    setup.becomes("dns", &[CLUSTER_IP]).await;
    assert_eq!(setup.answers().await, ["service"]);
    let warnings = setup.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let reason = "this is no pod: neither KUBERNETES_SERVICE_HOST nor KUBERNETES_API is set";
    assert_eq!(warnings[0]["failure"], reason);
}

#[tokio::test]
async fn a_pod_without_its_service_account_is_served_by_dns() {
    let settings = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("SERVICE_ACCOUNT_DIR", "/nonexistent"),
    ];
    let setup = Setup::start_with("", "", &settings, |_| {}).await;
    setup.becomes("dns", &[CLUSTER_IP]).await;
    let warning = setup.gateway.process.log_line(FELL_BACK).await;
    let reason = "cannot read /nonexistent/namespace: No such file or directory (os error 2)";
    assert_eq!(warning["failure"], reason);
}

#[tokio::test]
async fn only_a_server_that_the_clusters_authority_vouches_for_is_believed() {
    let api = ApiServer::start(Mood::Well).await;
    let (server, stranger) = (TlsFront::start(api.address).await, TlsFront::start(api.address).await);
    let port = server.address.port().to_string();
    let settings = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", &port),
    ];
    let setup = Setup::start_with("", "", &settings, |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.service_account.file("ca.crt", "no certificate");
    setup.becomes("dns", &[CLUSTER_IP]).await;
    setup.service_account.file("ca.crt", &stranger.ca);
    let failures = "gateway_kubernetes_failures_total";
    let before = setup.gateway.metric(failures).await;
    eventually("it tries again", DEADLINE, async || {
        setup.gateway.metric(failures).await >= before + 2.0
    })
    .await;
    assert!(api.asked().is_empty(), "no token goes to a stranger: {:?}", api.asked());

    // The authority is read anew, as it must be when it is rotated.
    setup.service_account.file("ca.crt", &server.ca);
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.answers().await, ["a"]);
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    setup.becomes("kubernetes", &[B]).await;
}

#[tokio::test]
async fn dns_serves_while_the_first_list_is_late() {
    let api = ApiServer::start(Mood::Hanging).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    eventually("it is ready", DEADLINE, async || {
        setup.gateway.admin("/readyz").await.status() == 200
    })
    .await;
    // Ready means that nobody is told that there are no endpoints only because nobody has looked yet.
    assert_eq!(setup.answers().await, ["service"]);
    setup.becomes("dns", &[CLUSTER_IP]).await;
    // A log line passes through a pipe: the status may be read before it has come.
    eventually("it warns", DEADLINE, async || !setup.warnings().is_empty()).await;
    api.set_mood(Mood::Well);
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.warnings().len(), 1, "{:?}", setup.warnings());
}

#[tokio::test]
async fn a_watch_that_breaks_goes_on_from_the_version_it_had_reached() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    setup.becomes("kubernetes", &[B]).await;
    api.cut();
    // What happens while nobody watches comes with the next watch.
    api.put("one", slice(setup.port, &[Pod::Ready(B), Pod::Ready(C)]));
    setup.becomes("kubernetes", &[B, C]).await;
    api.bookmark(600);
    // The event behind the bookmark shows that the bookmark has come.
    api.put("two", slice(setup.port, &[Pod::Ready(A)]));
    setup.becomes("kubernetes", &[A, B, C]).await;
    let reached = api.version();
    let before = api.watches().len();
    api.cut();
    eventually("it watches again", DEADLINE, async || api.watches().len() > before).await;
    let last = api.watches().pop().expect("a watch");
    assert_eq!(last.query["resourceVersion"], reached.to_string());
    assert_eq!(api.lists(), 1, "no list but the first: {:?}", api.asked());
}

#[tokio::test]
async fn a_bookmark_moves_the_version_on() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[("KUBERNETES_WATCH_TIMEOUT", "1")], |port| {
        api.put("one", slice(port, &[Pod::Ready(A)]));
    })
    .await;
    setup.becomes("kubernetes", &[A]).await;
    api.bookmark(700);
    let from_bookmark = |asked: &Asked| asked.query["resourceVersion"] == "700";
    eventually("a watch from the bookmark on", DEADLINE, async || {
        api.watches().iter().any(from_bookmark)
    })
    .await;
    assert_eq!(api.lists(), 1);
    assert!(setup.warnings().is_empty(), "{:?}", setup.warnings());
}

#[tokio::test]
async fn a_version_that_is_too_old_means_a_new_list() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| {
        api.put("one", slice(port, &[Pod::Ready(A)]));
        api.put("two", slice(port, &[Pod::Ready(B)]));
    })
    .await;
    setup.becomes("kubernetes", &[A, B]).await;
    // As an event of a running watch.
    api.expire(|slices| {
        slices.remove("one");
    });
    setup.becomes("kubernetes", &[B]).await;
    assert_eq!(api.lists(), 2);

    // As the answer to a watch.
    api.set_mood(Mood::RefusingWatches(410));
    api.cut();
    eventually("a third list", DEADLINE, async || api.lists() >= 3).await;
    assert_eq!(setup.answers().await, ["b"]);
    api.set_mood(Mood::Well);
    api.put("three", slice(setup.port, &[Pod::Ready(C)]));
    setup.becomes("kubernetes", &[B, C]).await;
    let fell_back = |line: &Value| line["message"] == FELL_BACK;
    assert!(!setup.warnings().iter().any(fell_back), "{:?}", setup.warnings());
}

#[tokio::test]
async fn an_api_server_that_goes_away_leaves_the_last_endpoints() {
    let api = ApiServer::start(Mood::Well).await;
    let address = api.address;
    let setup = Setup::start(&api, &[], |port| {
        api.put("one", slice(port, &[Pod::Ready(A), Pod::Ready(B)]))
    })
    .await;
    setup.becomes("kubernetes", &[A, B]).await;
    drop(api);
    let failures = "gateway_kubernetes_failures_total";
    eventually("it asks in vain, again and again", DEADLINE, async || {
        setup.gateway.metric(failures).await >= 4.0
    })
    .await;
    assert_eq!(setup.answers().await, ["a", "b"]);
    setup.becomes("kubernetes", &[A, B]).await;
    let warnings = setup.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        warnings[0]["message"],
        "cannot watch EndpointSlices; keeping the last endpoints"
    );

    let api = ApiServer::start_at(address, Mood::Well, 200).await;
    api.put("one", slice(setup.port, &[Pod::Ready(C)]));
    setup.becomes("kubernetes", &[C]).await;
    setup
        .gateway
        .process
        .log_line("watch of EndpointSlices recovered")
        .await;
}

#[tokio::test]
async fn an_api_server_in_trouble_is_not_stormed() {
    for trouble in [Mood::RefusingWatches(500), Mood::EndingWatches] {
        let api = ApiServer::start(Mood::Well).await;
        let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
        setup.becomes("kubernetes", &[A]).await;
        api.set_mood(trouble);
        let began = Instant::now();
        api.cut();
        eventually("it asks again", DEADLINE, async || api.watches().len() > 8).await;
        // Half of KUBERNETES_RETRY at least lies between two questions.
        assert!(
            began.elapsed() >= Duration::from_millis(7 * 100),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(setup.answers().await, ["a"], "{trouble:?}");
        assert_eq!(setup.warnings().len(), 1, "{:?}", setup.warnings());
        assert_eq!(api.lists(), 1);

        api.set_mood(Mood::Well);
        api.put("one", slice(setup.port, &[Pod::Ready(B)]));
        setup.becomes("kubernetes", &[B]).await;
    }
}

#[tokio::test]
async fn a_watch_that_has_gone_silent_is_given_up() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[("KUBERNETES_WATCH_TIMEOUT", "2")], |port| {
        api.put("one", slice(port, &[Pod::Ready(A)]));
    })
    .await;
    setup.becomes("kubernetes", &[A]).await;
    eventually("it watches", DEADLINE, async || !api.watches().is_empty()).await;
    // The connection stays, and nothing comes over it any more: not even the end.
    api.set_mood(Mood::Silent);
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    let silence = setup
        .gateway
        .process
        .log_line("watch of EndpointSlices broke; retrying")
        .await;
    assert_eq!(silence["failure"], "the watch did not end within 2.5 s");
    assert_eq!(setup.answers().await, ["a"]);
    api.set_mood(Mood::Well);
    setup.becomes("kubernetes", &[B]).await;
}

#[tokio::test]
async fn a_token_that_was_rotated_is_used() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    // Until then the old token may be on its way.
    eventually("it watches", DEADLINE, async || !api.watches().is_empty()).await;
    setup.service_account.file("token", "second");
    api.expect_token("second");
    api.cut();
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    setup.becomes("kubernetes", &[B]).await;
    let tokens: Vec<String> = api.asked().into_iter().map(|asked| asked.token).collect();
    assert_eq!(tokens.first().map(String::as_str), Some("first"));
    assert_eq!(tokens.last().map(String::as_str), Some("second"));
    assert!(setup.warnings().is_empty(), "{:?}", setup.warnings());
}

#[tokio::test]
async fn a_namespace_in_the_name_is_the_one_that_is_asked() {
    let api = ApiServer::start(Mood::Well).await;
    let url = format!("http://{}", api.address);
    let yaml = "clusters: [{ name: \"models.other.svc.cluster.local:80\", discovery: kubernetes }]\n\
                routes: [{ prefix: /, cluster: \"models.other.svc.cluster.local:80\" }]\n";
    let resolv = Scratch::new("resolv");
    let resolv_conf = resolv.file("resolv.conf", "nameserver 127.0.0.1\n");
    let environment = [("KUBERNETES_API", url.as_str()), ("RESOLV_CONF", text(&resolv_conf))];
    let _gateway = Gateway::start(yaml, &environment).await;
    eventually("it asks", DEADLINE, async || !api.asked().is_empty()).await;
    let asked = &api.asked()[0];
    assert_eq!(asked.path, "/apis/discovery.k8s.io/v1/namespaces/other/endpointslices");
    assert_eq!(asked.query["labelSelector"], "kubernetes.io/service-name=models");
}

#[tokio::test]
async fn what_cannot_be_discovered_is_refused_at_the_start() {
    let yaml = "clusters:
  - { name: \"a:1\", discovery: consul }
  - { name: \"b:1\", port_name: http }
  - { name: \"c:1\", discovery: kubernetes, endpoints: [\"127.0.0.1:1\"] }
  - { name: \"www.example.com:1\", discovery: kubernetes }
  - { name: \"e:1\", discovery: kubernetes, port_name: HTTP }
";
    let scratch = Scratch::new("gateway");
    let file = scratch.file("gateway.yaml", yaml);
    let settings = [("KUBERNETES_API", "127.0.0.1:6443"), ("KUBERNETES_WATCH_TIMEOUT", "0")];
    let mut check = Process::start_with(BINARY, &["--check"], variables(&file, &settings));
    let finished = check.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 78, "{finished:?}");
    for (setting, problem) in [
        ("clusters[0].discovery", "expected dns or kubernetes, found \"consul\""),
        (
            "clusters[1].port_name",
            "needs `discovery: kubernetes`: DNS knows no names of ports",
        ),
        (
            "clusters[2].discovery",
            "cannot stand beside `endpoints`, a fixed list; leave one of the two out",
        ),
        (
            "clusters[3].discovery",
            "needs the name of a Service, service, service.namespace or \
         service.namespace.svc.cluster.local; found \"www.example.com\"",
        ),
        (
            "clusters[4].port_name",
            "expected a port's name: lower-case letters, digits and '-', found \"HTTP\"",
        ),
        (
            "KUBERNETES_API",
            "expected an http or https URL without a path, found \"127.0.0.1:6443\"",
        ),
        (
            "KUBERNETES_WATCH_TIMEOUT",
            "expected a whole number from 1 to 290, found \"0\"",
        ),
    ] {
        let is_it = |line: &str| line.contains(&format!(" {setting}")) && line.ends_with(problem);
        assert!(
            finished.stderr.lines().any(is_it),
            "{setting}: {problem} in\n{}",
            finished.stderr
        );
    }
}
