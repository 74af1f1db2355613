//! create-secrets.sh

use std::collections::BTreeSet;

use crate::stage::Stage;

/// The values in the Secrets that kubectl was given.
fn values(stage: &Stage) -> Vec<String> {
    let inputs = stage.inputs().join("\n");
    let values = inputs
        .lines()
        .filter_map(|line| line.split_once(": \"")?.1.strip_suffix('"'));
    values.map(str::to_owned).collect()
}

/// The manifest with every value replaced.
fn masked(manifest: &str) -> String {
    let lines = manifest.lines().map(|line| match line.split_once(": \"") {
        Some((name, _)) => format!("{name}: VALUE\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[tokio::test]
async fn both_are_made_from_standard_input_with_random_values() {
    let stage = Stage::new();
    stage.touch("namespaces/mlops-lab");
    let ran = stage.run("create-secrets.sh", &[]).await;
    ran.ends_with(0).says(&[
        "secret api-credentials created (API_KEY, JWT_SECRET)",
        "secret ml-registry-credentials created (REGISTRY_USER, REGISTRY_PASSWORD)",
    ]);
    stage.expect_calls(
        "kubectl config current-context
         kubectl --context kind-mlops-lab get --raw /version --request-timeout 10s
         kubectl --context kind-mlops-lab get namespace mlops-lab --ignore-not-found -o name
         kubectl --context kind-mlops-lab --namespace mlops-lab get secret api-credentials --ignore-not-found -o name
         kubectl --context kind-mlops-lab --namespace mlops-lab create -f -
         kubectl --context kind-mlops-lab --namespace mlops-lab get secret ml-registry-credentials --ignore-not-found -o name
         kubectl --context kind-mlops-lab --namespace mlops-lab create -f -",
    );
    assert_eq!(
        masked(&stage.read("stdin.5")),
        "apiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata:\n  name: api-credentials\nstringData:\n  API_KEY: VALUE\n  JWT_SECRET: VALUE\n"
    );
}

#[tokio::test]
async fn no_value_is_printed_or_is_an_argument_and_no_two_are_alike() {
    let stage = Stage::new();
    stage.touch("namespaces/mlops-lab");
    let ran = stage.run("create-secrets.sh", &[]).await;
    let mut all = values(&stage);
    assert_eq!(all.len(), 4, "not four values");
    for value in &all {
        assert!(value.len() >= 11, "a value of {} characters", value.len());
        ran.does_not_say(value);
        stage.expect_no_call(value);
    }
    let again = Stage::new();
    again.touch("namespaces/mlops-lab");
    again.run("create-secrets.sh", &[]).await.ends_with(0);
    all.extend(values(&again));
    let different: BTreeSet<String> = all.into_iter().collect();
    assert_eq!(different.len(), 8, "values repeat");
}

#[tokio::test]
async fn those_that_exist_are_left_alone() {
    let stage = Stage::new();
    stage.touch("namespaces/elsewhere");
    stage.touch("secrets/api-credentials");
    let ran = stage.run_line("create-secrets.sh --namespace elsewhere").await;
    ran.ends_with(0).says(&[
        "secret api-credentials is there already: left alone",
        "secret ml-registry-credentials created",
    ]);
    assert_eq!(stage.count_calls("create -f -"), 1, "not exactly one was created");
}

#[tokio::test]
async fn without_a_namespace_nothing_is_created() {
    let stage = Stage::new();
    let ran = stage.run("create-secrets.sh", &[]).await;
    ran.ends_with(3).says(&[
        "namespace mlops-lab does not exist",
        "kubectl create namespace mlops-lab",
    ]);
    stage.expect_no_call("create");
}
