//! What a cluster's name says is asked for, and what cannot be discovered is refused at the start.

use super::*;
use crate::harness::{BINARY, variables};
use shared::test_util::Process;

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
