//! deploy.sh

use e2e::is_missing;

use crate::stage::Stage;

#[tokio::test]
async fn base_on_kind_in_order_namespace_secrets_everything_both_rollouts() {
    if is_missing("curl") {
        return;
    }
    let stage = Stage::new();
    let port = stage.read("node-port");
    let ran = stage.run("deploy.sh", &[]).await;
    ran.ends_with(0).says(&[
        &format!("the gateway answers at http://127.0.0.1:{port}"),
        &format!("curl http://127.0.0.1:{port}/predict"),
        "whether the images are in the cluster was not checked",
    ]);
    stage.expect_calls(
        "kubectl config current-context
         kubectl --context kind-mlops-lab get --raw /version --request-timeout 10s
         kubectl kustomize ROOT/deploy/base
         kubectl --context kind-mlops-lab apply --server-side --force-conflicts --field-manager deploy.sh -f -
         kubectl config get-contexts kind-mlops-lab -o name
         kubectl --context kind-mlops-lab get --raw /version --request-timeout 10s
         kubectl --context kind-mlops-lab get namespace mlops-lab --ignore-not-found -o name
         kubectl --context kind-mlops-lab --namespace mlops-lab get secret api-credentials --ignore-not-found -o name
         kubectl --context kind-mlops-lab --namespace mlops-lab create -f -
         kubectl --context kind-mlops-lab --namespace mlops-lab get secret ml-registry-credentials --ignore-not-found -o name
         kubectl --context kind-mlops-lab --namespace mlops-lab create -f -
         kubectl --context kind-mlops-lab apply -f -
         kubectl --context kind-mlops-lab --namespace mlops-lab rollout status deployment/ml-inference --timeout 180s
         kubectl --context kind-mlops-lab --namespace mlops-lab rollout status deployment/api-gateway --timeout 180s
         kubectl --context kind-mlops-lab --namespace mlops-lab get service api-gateway-service -o jsonpath={.spec.ports[?(@.name==\"http\")].nodePort}",
    );
    let first = stage.read("stdin.4");
    assert!(
        first.lines().any(|line| line.starts_with("kind: Namespace")),
        "the first apply is not the namespace: {first}"
    );
    let kinds = |text: &str| text.lines().filter(|line| line.starts_with("kind: ")).count();
    assert_eq!(kinds(&first), 1, "the first apply has more than the namespace: {first}");
    let rest = stage.read("stdin.12");
    assert!(kinds(&rest) > 1 && !rest.contains("kind: Namespace"), "{rest}");
    // kubectl warns when it applies a namespace that was made by hand.
    ran.does_not_say("last-applied-configuration");
}

#[tokio::test]
async fn an_overlay_goes_to_its_own_namespace() {
    if is_missing("curl") {
        return;
    }
    for name in ["dev", "staging", "prod"] {
        let stage = Stage::new();
        stage.run("deploy.sh", &["--overlay", name]).await.ends_with(0);
        let namespace = stage.read("stdin.4");
        let named = format!("  name: mlops-lab-{name}");
        assert!(
            namespace.lines().any(|line| line == named),
            "namespace document: {namespace}"
        );
        stage.expect_a_call(&format!("kubectl kustomize ROOT/deploy/overlays/{name}"));
        stage.expect_a_call(&format!(
            "--namespace mlops-lab-{name} rollout status deployment/api-gateway"
        ));
    }
}

#[tokio::test]
async fn on_minikube_the_url_has_minikubes_address_and_images_that_are_missing_are_named() {
    if is_missing("curl") {
        return;
    }
    let stage = Stage::with("kubectl minikube");
    stage.set("context", "my-profile");
    stage.set("node-label", "minikube-label");
    stage.set(
        "node-images",
        "docker.io/library/api-gateway:1.0\nregistry.k8s.io/pause:3.9",
    );
    let ran = stage.run("deploy.sh", &[]).await;
    let address = format!("the gateway answers at http://localhost:{}", stage.read("node-port"));
    ran.ends_with(0)
        .says(&[&address, "image ml-inference:1.0 is not in the cluster"])
        .does_not_say("image api-gateway:1.0 is not");
}

#[tokio::test]
async fn on_kind_with_podman_its_node_is_asked_and_an_image_under_localhost_is_missing() {
    if is_missing("curl") {
        return;
    }
    let stage = Stage::with("kubectl docker podman");
    stage.touch("docker-down");
    stage.set(
        "node-images",
        "localhost/ml-inference:1.0\ndocker.io/library/api-gateway:1.0",
    );
    let ran = stage.run("deploy.sh", &[]).await;
    ran.ends_with(0);
    stage.expect_a_call("podman exec mlops-lab-control-plane crictl images");
    ran.says(&["image ml-inference:1.0 is not in the cluster"])
        .does_not_say("image api-gateway:1.0 is not")
        .does_not_say("not checked");
}

#[tokio::test]
async fn any_other_cluster_has_a_nodes_address() {
    if is_missing("curl") {
        return;
    }
    let stage = Stage::new();
    stage.set("context", "elsewhere");
    stage.set("address", "localhost");
    let ran = stage.run_line("deploy.sh --context elsewhere --timeout 5s").await;
    let address = format!("the gateway answers at http://localhost:{}", stage.read("node-port"));
    ran.ends_with(0).says(&[&address]);
}

#[tokio::test]
async fn an_address_may_answer_a_moment_after_the_rollout() {
    if is_missing("curl") {
        return;
    }
    let stage = Stage::new();
    stage.set("no-answer", "2");
    let ran = stage.run("deploy.sh", &[]).await;
    let address = format!("the gateway answers at http://127.0.0.1:{}", stage.read("node-port"));
    ran.ends_with(0).says(&[&address]);
}

#[tokio::test]
async fn an_address_that_cannot_be_reached_is_said_with_another_way_in() {
    if is_missing("curl") {
        return;
    }
    let stage = Stage::new();
    stage.touch("no-answer");
    let ran = stage.run("deploy.sh", &[]).await;
    ran.ends_with(0).says(&[
        "not reachable from here",
        "port-forward svc/api-gateway-service 8080:80",
    ]);
}

#[tokio::test]
async fn a_rollout_that_does_not_finish_fails_shows_the_pods_and_names_the_likely_cause() {
    if is_missing("curl") {
        return;
    }
    let stage = Stage::new();
    stage.touch("rollout-fails");
    let ran = stage.run("deploy.sh", &[]).await;
    ran.ends_with(1).says(&[
        "did not roll out within 180s",
        "ImagePullBackOff",
        "scripts/build-images.sh",
    ]);
}

#[tokio::test]
async fn an_unknown_overlay_is_refused_before_any_call() {
    let stage = Stage::new();
    let ran = stage.run_line("deploy.sh --overlay nowhere").await;
    ran.ends_with(2)
        .says(&["there is no overlay \"nowhere\"; there are: base dev prod staging"]);
    stage.expect_calls("");
}
