//! Who may ask whom: what asks the API server has the right to and a way there, and nothing leads to the admin listener.

use std::net::SocketAddr;

use e2e::manifests::{container, find, list, render, text};
use yaml_rust2::{Yaml, YamlLoader};

use crate::{ML_INFERENCE, default_of, lab_files, rendered};

/// The API server gives the gateway its endpoints only when all of these fit together.
#[test]
fn the_gateway_may_watch_the_endpoint_slices_it_is_told_to() {
    for (place, objects) in rendered() {
        let yaml = text(&find(&objects, "ConfigMap", "gateway-config")["data"]["gateway.yaml"]);
        let yaml = &YamlLoader::load_from_str(&yaml).expect("YAML")[0];
        let cluster = &list(&yaml["clusters"])[0];
        assert_eq!(text(&cluster["discovery"]), "kubernetes", "{place}");
        let name = text(&cluster["name"]);
        let service = find(&objects, "Service", name.split(':').next().expect("a name"));
        let ports: Vec<String> = list(&service["spec"]["ports"])
            .iter()
            .map(|port| text(&port["name"]))
            .collect();
        assert!(ports.contains(&text(&cluster["port_name"])), "{place}: {ports:?}");

        let pod = &find(&objects, "Deployment", "api-gateway")["spec"]["template"]["spec"];
        assert_eq!(text(&pod["automountServiceAccountToken"]), "true", "{place}");
        let account = find(&objects, "ServiceAccount", &text(&pod["serviceAccountName"]));
        let bindings = objects.iter().filter(|object| text(&object["kind"]) == "RoleBinding");
        let binds = |binding: &&Yaml| {
            list(&binding["subjects"]).iter().any(|subject| {
                text(&subject["kind"]) == "ServiceAccount"
                    && text(&subject["name"]) == text(&account["metadata"]["name"])
                    && text(&subject["namespace"]) == text(&account["metadata"]["namespace"])
            })
        };
        let bound: Vec<&Yaml> = bindings.filter(binds).collect();
        assert_eq!(bound.len(), 1, "{place}: one RoleBinding of {account:?}");
        assert_eq!(text(&bound[0]["roleRef"]["kind"]), "Role", "{place}");
        let role = find(&objects, "Role", &text(&bound[0]["roleRef"]["name"]));
        for object in [role, bound[0]] {
            let namespace = &object["metadata"]["namespace"];
            assert_eq!(text(namespace), text(&service["metadata"]["namespace"]), "{place}");
        }
        let rules = list(&role["rules"]);
        let texts = |key: &str| list(&rules[0][key]).iter().map(text).collect::<Vec<_>>();
        assert_eq!(rules.len(), 1, "{place}: no right but this");
        assert_eq!(texts("apiGroups"), ["discovery.k8s.io"], "{place}");
        assert_eq!(texts("resources"), ["endpointslices"], "{place}");
        assert_eq!(texts("verbs"), ["get", "list", "watch"], "{place}");
    }
}

/// A policy that lists egress cuts off everything else: the API server too.
#[test]
fn the_network_policy_lets_the_gateway_reach_the_api_server() {
    for overlay in ["deploy/overlays/staging", "deploy/overlays/prod"] {
        let objects = render(overlay);
        let policy = find(&objects, "NetworkPolicy", "api-gateway");
        let to_anyone = list(&policy["spec"]["egress"])
            .iter()
            .filter(|rule| rule["to"].is_badvalue());
        let ports: Vec<String> = to_anyone
            .flat_map(|rule| list(&rule["ports"]))
            .map(|port| text(&port["port"]))
            .collect();
        for port in ["443", "6443"] {
            assert!(
                ports.iter().any(|known| known == port),
                "{overlay}: {port} in {ports:?}"
            );
        }
    }
}

/// Models are loaded and unloaded by who may forward a port to a pod, and by nobody else.
#[test]
fn nothing_leads_to_the_admin_listener_of_ml_inference() {
    let admin: SocketAddr = default_of(&ML_INFERENCE, "ADMIN_ADDRESS").parse().expect("an address");
    assert!(admin.ip().is_loopback(), "{admin}");
    let port = admin.port().to_string();
    for (place, objects) in rendered().into_iter().chain(lab_files()) {
        for object in &objects {
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let ports = match (kind.as_str(), name.as_str()) {
                ("Deployment", "ml-inference") => {
                    let container = container(object);
                    let mut variables = list(&container["env"]).iter();
                    assert!(
                        variables.all(|variable| text(&variable["name"]) != "ADMIN_ADDRESS"),
                        "{place}"
                    );
                    list(&container["ports"])
                }
                ("Service", "ml-inference-service") => list(&object["spec"]["ports"]),
                ("NetworkPolicy", "ml-inference") => {
                    let ingress = list(&object["spec"]["ingress"]);
                    let opens_all = |rule: &Yaml| list(&rule["ports"]).is_empty();
                    assert!(!ingress.iter().any(opens_all), "{place}");
                    assert_eq!(ingress.len(), 1, "{place}");
                    list(&ingress[0]["ports"])
                }
                ("ConfigMap", "shared-config" | "ml-config") => {
                    assert!(object["data"]["ADMIN_ADDRESS"].is_badvalue(), "{place}: {name}");
                    continue;
                }
                _ => continue,
            };
            for opened in ports {
                for key in ["port", "targetPort", "containerPort"] {
                    assert_ne!(text(&opened[key]), port, "{place}: {kind} {name}");
                }
            }
        }
    }
}

/// The lab's steps give no right to ask the API server, so they leave it to DNS.
#[test]
fn what_asks_the_api_server_comes_with_the_right_to() {
    for (place, objects) in lab_files() {
        for object in &objects {
            let yaml = text(&object["data"]["gateway.yaml"]);
            assert!(
                !yaml.contains("discovery: kubernetes"),
                "{place}: and no Role beside it"
            );
        }
    }
}
