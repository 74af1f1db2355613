//! Who may reach whom, by the components network-policy.

use e2e::manifests::{compose, list, text};
use yaml_rust2::Yaml;

use crate::of_kind;

const DEFAULT: &str = "deploy/components/network-policy";
const WITH_RAG: &str = "deploy/rag/components/network-policy";

/// True if a pod of `from` may open a connection to `port` of a pod of `to`, both by the label `app`, in the same namespace.
/// Only what the policies of these components use is understood.
fn may_reach(objects: &[Yaml], from: &str, to: &str, port: i64) -> bool {
    permits(objects, from, "Egress", to, port) && permits(objects, to, "Ingress", from, port)
}

/// What the policies that select `pod` say of its connections with `peer`. A pod that none selects may do everything.
fn permits(objects: &[Yaml], pod: &str, direction: &str, peer: &str, port: i64) -> bool {
    let (rules, peers) = match direction {
        "Egress" => ("egress", "to"),
        _ => ("ingress", "from"),
    };
    let policies = of_kind(objects, "NetworkPolicy")
        .into_iter()
        .map(|policy| &policy["spec"]);
    let mut of_pod = policies
        .filter(|spec| text(&spec["podSelector"]["matchLabels"]["app"]) == pod)
        .filter(|spec| list(&spec["policyTypes"]).iter().any(|kind| text(kind) == direction))
        .peekable();
    if of_pod.peek().is_none() {
        return true;
    }
    let is_peer = |rule: &Yaml| {
        let named = list(&rule[peers]);
        let is_it = |named: &Yaml| {
            named["namespaceSelector"].is_badvalue() && text(&named["podSelector"]["matchLabels"]["app"]) == peer
        };
        named.is_empty() || named.iter().any(is_it)
    };
    let is_port = |rule: &Yaml| {
        list(&rule["ports"])
            .iter()
            .any(|named| named["port"].as_i64() == Some(port))
    };
    of_pod.any(|spec| list(&spec[rules]).iter().any(|rule| is_peer(rule) && is_port(rule)))
}

/// A selector that selects nobody would leave a pod open, and the rules above unused.
fn expect_selected(objects: &[Yaml]) {
    for policy in of_kind(objects, "NetworkPolicy") {
        let app = &policy["spec"]["podSelector"]["matchLabels"]["app"];
        let is_it = |deployment: &&&Yaml| deployment["spec"]["template"]["metadata"]["labels"]["app"] == *app;
        assert!(
            of_kind(objects, "Deployment")
                .iter()
                .any(|deployment| is_it(&deployment)),
            "{}",
            text(app)
        );
    }
}

#[test]
fn what_has_to_reach_each_other_may_and_nothing_else() {
    let base = compose(&["deploy/base"], &[DEFAULT], "mlops-lab");
    let rag = compose(&["deploy/rag"], &[WITH_RAG], "mlops-lab");
    let two_versions = compose(&["deploy/base"], &[DEFAULT, "deploy/components/ab"], "mlops-lab");
    for (what, objects, expected) in [
        (
            "ab",
            &two_versions,
            &[
                ("api-gateway", "ml-inference", 5000, true),
                ("api-gateway", "ml-inference-b", 5000, true),
                ("debug", "ml-inference-b", 5000, false),
                ("ml-inference", "ml-inference-b", 5000, false),
            ][..],
        ),
        ("base", &base, &[("api-gateway", "ml-inference", 5000, true)]),
        (
            "rag",
            &rag,
            &[
                ("api-gateway", "ml-inference", 5000, true),
                ("api-gateway", "rag-api", 8000, true),
                ("rag-api", "ml-inference", 5000, true),
                ("ml-inference", "rag-api", 8000, false),
                ("debug", "rag-api", 8000, false),
                ("rag-api", "api-gateway", 8080, false),
            ],
        ),
    ] {
        expect_selected(objects);
        let always = [
            ("debug", "ml-inference", 5000, false),
            ("debug", "api-gateway", 8080, true),
            ("debug", "api-gateway", 9090, false),
            ("api-gateway", "ml-inference", 9091, false),
            ("ml-inference", "api-gateway", 8080, false),
        ];
        for (from, to, port, may) in expected.iter().chain(&always) {
            assert_eq!(
                may_reach(objects, from, to, *port),
                *may,
                "{what}: {from} to {to}:{port}"
            );
        }
    }
    // Without the patches of its own component, rag-api would be cut off.
    let cut_off = compose(&["deploy/rag"], &[DEFAULT], "mlops-lab");
    assert!(!may_reach(&cut_off, "rag-api", "ml-inference", 5000));
    assert!(!may_reach(&cut_off, "api-gateway", "rag-api", 8000));
}
