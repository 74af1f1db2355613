//! Ports and probes lead to where something listens.

use e2e::Pair;
use e2e::manifests::{container, find, list, render, text};

use crate::{GATEWAY, ML_INFERENCE, container_port, default_of, deployments, program_of};

#[test]
fn ports_are_the_same_in_services_containers_and_defaults() {
    let base = render("deploy/base");
    let ml = container(find(&base, "Deployment", "ml-inference"));
    let gateway = container(find(&base, "Deployment", "api-gateway"));
    assert_eq!(text(&ml["name"]), "ml-model");
    assert_eq!(text(&gateway["name"]), "gateway");
    assert_eq!(container_port(ml, "http"), default_of(&ML_INFERENCE, "SERVICE_PORT"));
    let listen = default_of(&GATEWAY, "LISTEN_ADDRESS");
    let admin = default_of(&GATEWAY, "ADMIN_ADDRESS");
    assert_eq!(format!("0.0.0.0:{}", container_port(gateway, "http")), listen);
    assert_eq!(format!("0.0.0.0:{}", container_port(gateway, "admin")), admin);

    let service = find(&base, "Service", "ml-inference-service");
    let port = &list(&service["spec"]["ports"])[0];
    assert_eq!(text(&service["spec"]["type"]), "ClusterIP");
    assert_eq!(
        (text(&port["name"]), text(&port["port"])),
        ("http".to_owned(), "5000".to_owned())
    );
    assert!(["5000", "http"].contains(&text(&port["targetPort"]).as_str()));
    let cluster = format!("{}:{}", text(&service["metadata"]["name"]), text(&port["port"]));
    assert!(
        GATEWAY.default_document.contains(&format!("- name: {cluster}\n")),
        "the gateway forwards to {cluster}"
    );

    let service = find(&base, "Service", "api-gateway-service");
    let port = &list(&service["spec"]["ports"])[0];
    assert_eq!(text(&service["spec"]["type"]), "NodePort");
    assert_eq!(
        (text(&port["port"]), text(&port["nodePort"])),
        ("80".to_owned(), "30080".to_owned())
    );
    assert!(["8080", "http"].contains(&text(&port["targetPort"]).as_str()));
    for (service, deployment) in [
        ("ml-inference-service", "ml-inference"),
        ("api-gateway-service", "api-gateway"),
    ] {
        let selector = text(&find(&base, "Service", service)["spec"]["selector"]["app"]);
        let labels = &find(&base, "Deployment", deployment)["spec"]["template"]["metadata"]["labels"];
        assert_eq!(selector, text(&labels["app"]));
    }
}

#[tokio::test]
async fn every_probe_asks_for_a_path_that_answers() {
    let pair = Pair::start(1).await;
    let admin = pair.gateway.address_of("admin listening").await;
    for (place, deployment) in deployments() {
        let container = container(&deployment);
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let get = &container[probe]["httpGet"];
            if get.is_badvalue() {
                continue;
            }
            let address = match (
                program_of(&deployment).expect("one of ours").name,
                text(&get["port"]).as_str(),
            ) {
                ("gateway", "admin" | "9090") => admin,
                ("gateway", "http" | "8080") => pair.address,
                ("ml-inference", "http" | "5000" | "5001") => pair.replicas[0].address,
                (name, port) => panic!("{place}: {name} does not listen on {port}"),
            };
            let url = format!("http://{address}{}", text(&get["path"]));
            let answer = pair.client.get(&url).send().await.expect("an answer");
            assert_eq!(answer.status(), 200, "{place}: {probe} {url}");
        }
    }
}
