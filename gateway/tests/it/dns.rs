//! Names that do not resolve yet, resolve, change, and stop resolving: against a DNS server in the test.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::harness::{Gateway, problem};
use shared::test_util::{DEADLINE, DnsServer, Scratch, eventually, pods};

const NAME: &str = "ml-inference-service.mlops-lab.svc.cluster.local.";

const A: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const B: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);

struct Setup {
    gateway: Gateway,
    server: DnsServer,
    _scratch: Scratch,
}

/// A gateway whose resolv.conf is a pod's and whose cluster is `host` on the port of `upstreams`.
async fn start(host: &str, port: u16, server: DnsServer) -> Setup {
    let scratch = Scratch::new("resolv");
    let resolv_conf = scratch.file(
        "resolv.conf",
        "search mlops-lab.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n",
    );
    let yaml = format!(
        "clusters: [{{ name: \"{host}:{port}\" }}]\nroutes: [{{ prefix: /predict, cluster: \"{host}:{port}\", rewrite: / }}]\n"
    );
    let environment = [
        ("RESOLV_CONF", resolv_conf.to_str().expect("UTF-8")),
        ("DNS_SERVERS", &server.address.to_string()),
        ("DNS_MIN_TTL", "0.05"),
        ("DNS_MAX_TTL", "0.1"),
    ];
    let gateway = Gateway::start(&yaml, &environment).await;
    Setup {
        gateway,
        server,
        _scratch: scratch,
    }
}

async fn answers(gateway: &Gateway) -> String {
    gateway.get("/predict").await.text().await.expect("text")
}

#[tokio::test]
async fn a_name_may_come_later_change_and_fail_without_losing_the_service() {
    let upstreams = pods(&[("a", A), ("b", B)]).await;
    let server = DnsServer::start().await;
    let setup = start("ml-inference-service", upstreams[0].address.port(), server).await;
    let (gateway, server) = (&setup.gateway, &setup.server);

    // Not there yet: the gateway runs, is ready, and says what is missing.
    eventually("it is ready", DEADLINE, async || {
        gateway.admin("/readyz").await.status() == 200
    })
    .await;
    let response = gateway.get("/predict").await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(
        problem(response).await,
        (503, "no endpoint of the upstream service is known yet".to_owned())
    );

    server.set(NAME, &[A]);
    eventually("the name resolves", DEADLINE, async || answers(gateway).await == "a").await;

    // A second pod: both get requests.
    server.set(NAME, &[A, B]);
    eventually("the second pod answers", DEADLINE, async || {
        answers(gateway).await == "b"
    })
    .await;

    // The first one leaves: from some moment on only the second answers.
    server.set(NAME, &[B]);
    let only_b = async || {
        let status: serde_json::Value = gateway.admin("/status.json").await.json().await.expect("JSON");
        status["clusters"][0]["endpoints"]
            .as_array()
            .is_some_and(|endpoints| endpoints.len() == 1)
    };
    eventually("the first pod is gone", DEADLINE, only_b).await;
    for _ in 0..20 {
        assert_eq!(answers(gateway).await, "b");
    }

    // DNS fails: the last good answer stays.
    server.zone().broken = true;
    let failures = "gateway_dns_failures_total";
    let before = gateway.metric(failures).await;
    eventually("a lookup fails", DEADLINE, async || {
        gateway.metric(failures).await > before
    })
    .await;
    assert_eq!(answers(gateway).await, "b");
}

#[tokio::test]
async fn a_short_name_is_looked_up_in_the_pods_own_namespace_first() {
    let upstreams = pods(&[("a", A)]).await;
    let server = DnsServer::start().await;
    server.set(NAME, &[A]);
    let setup = start("ml-inference-service", upstreams[0].address.port(), server).await;
    eventually("the name resolves", DEADLINE, async || {
        answers(&setup.gateway).await == "a"
    })
    .await;
    let asked = setup.server.zone().asked.clone();
    assert!(asked.iter().all(|name| name == NAME), "{asked:?}");
}

#[tokio::test]
async fn a_name_with_a_trailing_dot_is_asked_for_as_it_stands() {
    let upstreams = pods(&[("a", A)]).await;
    let server = DnsServer::start().await;
    server.set("models.example.", &[A]);
    let setup = start("models.example.", upstreams[0].address.port(), server).await;
    eventually("the name resolves", DEADLINE, async || {
        answers(&setup.gateway).await == "a"
    })
    .await;
    let asked = setup.server.zone().asked.clone();
    assert!(asked.iter().all(|name| name == "models.example."), "{asked:?}");
}

#[tokio::test]
async fn a_name_with_dots_is_searched_for_before_it_is_taken_as_absolute() {
    let upstreams = pods(&[("a", A)]).await;
    let server = DnsServer::start().await;
    server.set(NAME, &[A]);
    // Two dots are fewer than ndots:5, so the search domains come first: this finds the Service of another
    // namespace by its short form.
    let setup = start(
        "ml-inference-service.mlops-lab.svc",
        upstreams[0].address.port(),
        server,
    )
    .await;
    eventually("the name resolves", DEADLINE, async || {
        answers(&setup.gateway).await == "a"
    })
    .await;
    let asked = setup.server.zone().asked.clone();
    assert_eq!(
        asked[0],
        "ml-inference-service.mlops-lab.svc.mlops-lab.svc.cluster.local."
    );
    assert!(asked.iter().any(|name| name == NAME), "{asked:?}");
}

#[tokio::test]
async fn one_address_is_a_service_and_gets_several_connections_in_turn() {
    let upstreams = pods(&[("a", A)]).await;
    let server = DnsServer::start().await;
    server.set(NAME, &[A]);
    let setup = start("ml-inference-service", upstreams[0].address.port(), server).await;
    eventually("the name resolves", DEADLINE, async || {
        answers(&setup.gateway).await == "a"
    })
    .await;
    for _ in 0..40 {
        assert_eq!(answers(&setup.gateway).await, "a");
    }
    let accepted = upstreams[0].accepted();
    assert!(
        accepted >= 4,
        "a ClusterIP's pods are reached by several connections: {accepted}"
    );
}

#[tokio::test]
async fn a_server_that_swallows_questions_for_ipv6_does_not_hold_up_ipv4() {
    let upstreams = pods(&[("a", A), ("b", B)]).await;
    let server = DnsServer::start().await;
    server.zone().swallows_v6 = true;
    server.set(NAME, &[A]);
    let setup = start("ml-inference-service", upstreams[0].address.port(), server).await;
    let soon = Duration::from_secs(4);
    eventually("the name resolves", soon, async || answers(&setup.gateway).await == "a").await;
    setup.server.set(NAME, &[B]);
    eventually("the change is seen", soon, async || {
        answers(&setup.gateway).await == "b"
    })
    .await;
}
