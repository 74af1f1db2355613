//! TLS in front of the gateway, by an ingress controller or by the Gateway API.

use std::collections::BTreeMap;

use e2e::binary;
use e2e::manifests::{compose, find, list, text};
use shared::test_util::{DEADLINE, Process};
use yaml_rust2::Yaml;

use crate::{PLACES, of_kind, seconds};

const INGRESS: &str = "deploy/components/ingress";
const GATEWAY_API: &str = "deploy/components/gateway-api";
const NETWORK_POLICY: &str = "deploy/components/network-policy";
const SERVICE: &str = "api-gateway-service";
const TLS_SECRET: &str = "api-gateway-tls";

fn default_of(setting: &str) -> String {
    let settings = gateway::config::PROGRAM.settings.iter();
    let found = settings.clone().find(|candidate| candidate.name == setting);
    found.unwrap_or_else(|| panic!("no {setting}")).default.to_owned()
}

/// Each component on each place, as a kustomization on top of it.
fn fronts() -> Vec<(String, &'static str, Vec<Yaml>)> {
    let mut all = Vec::new();
    for component in [INGRESS, GATEWAY_API] {
        for (place, namespace) in PLACES {
            let objects = compose(&[place], &[component], namespace);
            all.push((format!("{component} on {place}"), namespace, objects));
        }
    }
    all
}

#[test]
fn nothing_goes_round_tls_and_everything_is_in_one_namespace() {
    for (what, namespace, objects) in fronts() {
        for object in objects.iter().filter(|object| text(&object["kind"]) != "Namespace") {
            assert_eq!(text(&object["metadata"]["namespace"]), namespace, "{what}");
        }
        for service in of_kind(&objects, "Service") {
            assert_eq!(text(&service["spec"]["type"]), "ClusterIP", "{what}");
            for port in list(&service["spec"]["ports"]) {
                assert!(port["nodePort"].is_badvalue(), "{what}: a ClusterIP has no node port");
            }
        }
        assert_eq!(of_kind(&objects, "Secret").len(), 0, "{what}: the key is not in git");
    }
}

#[test]
fn the_ingress_leads_to_the_gateways_service_by_tls() {
    for (place, namespace) in PLACES {
        let objects = compose(&[place], &[INGRESS], namespace);
        let ingress = &find(&objects, "Ingress", "api-gateway")["spec"];
        let (rules, tls) = (list(&ingress["rules"]), list(&ingress["tls"]));
        let encrypted: Vec<String> = list(&tls[0]["hosts"]).iter().map(text).collect();
        let hosts: Vec<String> = rules.iter().map(|rule| text(&rule["host"])).collect();
        assert_eq!(hosts, encrypted, "{place}: a host without TLS");
        assert_eq!(text(&tls[0]["secretName"]), TLS_SECRET);
        let backend = &list(&rules[0]["http"]["paths"])[0]["backend"]["service"];
        let service = find(&objects, "Service", &text(&backend["name"]));
        let ports = list(&service["spec"]["ports"]).iter();
        let names: Vec<String> = ports.map(|port| text(&port["name"])).collect();
        assert!(names.contains(&text(&backend["port"]["name"])), "{place}: {names:?}");
    }
}

/// The controller gives up later than the gateway, buffers nothing, and leaves the limit of bodies to it.
#[test]
fn the_ingress_leaves_limits_and_streams_to_the_gateway() {
    let objects = compose(&["deploy/base"], &[INGRESS], "mlops-lab");
    let annotations = &find(&objects, "Ingress", "api-gateway")["metadata"]["annotations"];
    let nginx = |name: &str| &annotations[format!("nginx.ingress.kubernetes.io/{name}").as_str()];
    let longest_silence: f64 = default_of("REQUEST_TIMEOUT").parse().expect("seconds");
    for name in ["proxy-read-timeout", "proxy-send-timeout"] {
        assert!(seconds(nginx(name)) > longest_silence, "{name}");
    }
    for name in ["proxy-buffering", "proxy-request-buffering"] {
        assert_eq!(text(nginx(name)), "off", "{name}");
    }
    assert_eq!(text(nginx("proxy-body-size")), "0");
    // Kubernetes takes texts alone.
    for (name, value) in annotations.as_hash().expect("annotations") {
        assert!(matches!(value, Yaml::String(_)), "{} is no text", text(name));
    }
}

#[test]
fn each_route_hangs_on_a_listener_and_leads_to_the_gateways_service() {
    for (place, namespace) in PLACES {
        let objects = compose(&[place], &[GATEWAY_API], namespace);
        let gateway = find(&objects, "Gateway", "api-gateway");
        let listeners = list(&gateway["spec"]["listeners"]);
        let port = &list(&find(&objects, "Service", SERVICE)["spec"]["ports"])[0]["port"];
        for route in of_kind(&objects, "HTTPRoute") {
            let parent = &list(&route["spec"]["parentRefs"])[0];
            assert_eq!(text(&parent["name"]), text(&gateway["metadata"]["name"]), "{place}");
            let mut named = listeners.iter();
            let listener = named.find(|listener| text(&listener["name"]) == text(&parent["sectionName"]));
            let listener = listener.unwrap_or_else(|| panic!("{place}: no listener {parent:?}"));
            let hosts: Vec<String> = list(&route["spec"]["hostnames"]).iter().map(text).collect();
            assert_eq!(hosts, [text(&listener["hostname"])], "{place}");
            let is_encrypted = text(&listener["protocol"]) == "HTTPS";
            for rule in list(&route["spec"]["rules"]) {
                let redirect = list(&rule["filters"]).iter();
                let mut schemes = redirect.map(|filter| text(&filter["requestRedirect"]["scheme"]));
                let backends = list(&rule["backendRefs"]);
                assert_eq!(
                    backends.is_empty(),
                    !is_encrypted,
                    "{place}: plain HTTP reaches the gateway"
                );
                assert_eq!(schemes.any(|scheme| scheme == "https"), !is_encrypted, "{place}");
                for backend in backends {
                    assert_eq!((text(&backend["name"]), &backend["port"]), (SERVICE.to_owned(), port));
                }
            }
            if is_encrypted {
                assert_eq!(text(&listener["tls"]["mode"]), "Terminate");
                assert_eq!(text(&list(&listener["tls"]["certificateRefs"])[0]["name"]), TLS_SECRET);
            }
        }
    }
}

/// `timeouts.request` is the whole exchange: what streams has none, and the rest ends after the gateway's own 504.
#[test]
fn a_route_ends_no_stream_and_nothing_before_the_gateway_does() {
    let objects = compose(&["deploy/base"], &[GATEWAY_API], "mlops-lab");
    let longest_silence: f64 = default_of("REQUEST_TIMEOUT").parse().expect("seconds");
    let mut limits = BTreeMap::new();
    for rule in list(&find(&objects, "HTTPRoute", "api-gateway")["spec"]["rules"]) {
        let path = text(&list(&rule["matches"])[0]["path"]["value"]);
        limits.insert(path, seconds(&rule["timeouts"]["request"]));
    }
    assert_eq!(limits["/"], 0.0, "whatever streams");
    assert!(
        limits.values().all(|limit| *limit == 0.0 || *limit > longest_silence),
        "{limits:?}"
    );
}

/// The gateway takes the list, and it is mounted as a file, so that a change of it holds without a restart.
#[tokio::test]
async fn only_the_proxies_networks_are_trusted() {
    for (what, _, objects) in fronts() {
        let shared = &find(&objects, "ConfigMap", "shared-config")["data"];
        let trusted = text(&shared["TRUSTED_PROXIES"]);
        for network in trusted.split(',') {
            let (_, bits) = network.trim().split_once('/').expect("a network");
            let bits: u32 = bits.parse().expect("bits");
            assert!(bits >= 8, "{what}: {network} is nearly everybody");
        }
        let environment = [("TRUSTED_PROXIES", trusted.as_str())];
        let mut check = Process::start_with(binary("gateway"), &["--check"], environment);
        let finished = check.wait_exit(DEADLINE).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (0, "ok\n"), "{what}");
    }
}

/// A pod that could reach the gateway round the proxy could say who its client is.
#[test]
fn with_the_network_policy_only_the_proxy_reaches_the_public_port() {
    for (component, of) in [(INGRESS, "ingress-nginx"), (GATEWAY_API, "envoy-gateway-system")] {
        let bare = compose(&["deploy/base"], &[NETWORK_POLICY, component], "mlops-lab");
        let prod = compose(&["deploy/overlays/prod"], &[component], "mlops-lab-prod");
        for objects in [bare, prod] {
            let policy = find(&objects, "NetworkPolicy", "api-gateway");
            let ingress = list(&policy["spec"]["ingress"]);
            let is_public = |rule: &&Yaml| list(&rule["ports"]).iter().any(|port| text(&port["port"]) == "8080");
            let public: Vec<&Yaml> = ingress.iter().filter(is_public).collect();
            assert_eq!(public.len(), 1, "{component}");
            let from = list(&public[0]["from"]);
            let namespace = &from[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
            assert_eq!((from.len(), text(namespace)), (2, of.to_owned()), "{component}");
            assert!(from[1]["namespaceSelector"].is_badvalue(), "this namespace alone");
            let is_admin = |rule: &&Yaml| list(&rule["ports"]).iter().any(|port| text(&port["port"]) == "9090");
            assert_eq!(
                ingress.iter().filter(is_admin).count(),
                1,
                "Prometheus still reads metrics"
            );
        }
    }
}
