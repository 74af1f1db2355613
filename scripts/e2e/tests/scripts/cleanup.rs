//! cleanup.sh

use crate::stage::Stage;

#[tokio::test]
async fn the_namespace_is_deleted() {
    let stage = Stage::new();
    stage.touch("namespaces/mlops-lab");
    stage.run_line("cleanup.sh --yes").await.ends_with(0);
    stage.expect_calls(
        "kubectl config current-context
         kubectl --context kind-mlops-lab get --raw /version --request-timeout 10s
         kubectl --context kind-mlops-lab get namespace mlops-lab --ignore-not-found -o name
         kubectl --context kind-mlops-lab delete namespace mlops-lab --timeout 180s",
    );
}

#[tokio::test]
async fn an_overlays_namespace_is_deleted() {
    let stage = Stage::new();
    stage.touch("namespaces/mlops-lab-prod");
    stage.run_line("cleanup.sh --yes --overlay prod").await.ends_with(0);
    stage.expect_a_call("delete namespace mlops-lab-prod ");
}

#[tokio::test]
async fn a_namespace_that_is_not_the_projects_is_refused_before_any_call() {
    for name in ["default", "kube-system", "mlops-lab-other", "mlops", "mlops.lab", ""] {
        let stage = Stage::new();
        stage.touch(&format!("namespaces/{}", if name.is_empty() { "x" } else { name }));
        let ran = stage.run("cleanup.sh", &["--yes", "--namespace", name]).await;
        ran.ends_with(2)
            .says(&["is not one of this project's: mlops-lab mlops-lab-dev mlops-lab-prod mlops-lab-staging"]);
        stage.expect_calls("");
    }
}

#[tokio::test]
async fn it_asks_and_without_a_terminal_deletes_nothing() {
    let stage = Stage::new();
    stage.touch("namespaces/mlops-lab");
    stage.run("cleanup.sh", &[]).await.ends_with(2).says(&["add --yes"]);
    stage.expect_no_call("delete");
}

#[tokio::test]
async fn where_nothing_is_there_is_nothing_to_do() {
    let stage = Stage::new();
    stage
        .run_line("cleanup.sh --yes")
        .await
        .ends_with(0)
        .says(&["nothing to do"]);
    stage.expect_no_call("delete");
}
