//! Every script that needs the cluster says what is missing.

use crate::stage::Stage;

const SCRIPTS: [&str; 8] = [
    "deploy.sh",
    "cleanup.sh --yes",
    "create-secrets.sh",
    "rolling-update.sh",
    "scale.sh",
    "kill.sh",
    "reload.sh",
    "hpa.sh",
];

#[tokio::test]
async fn without_kubectl() {
    for script in SCRIPTS {
        let ran = Stage::with("").run_line(script).await;
        ran.ends_with(3).says(&["kubectl is missing", "get it from"]);
    }
}

#[tokio::test]
async fn without_a_context() {
    for script in SCRIPTS {
        let stage = Stage::new();
        stage.remove("context");
        let ran = stage.run_line(script).await;
        ran.ends_with(3)
            .says(&["kubectl has no current context", "minikube start"]);
        stage.expect_calls("kubectl config current-context");
    }
}

#[tokio::test]
async fn with_an_unknown_context() {
    for script in SCRIPTS {
        let stage = Stage::new();
        let ran = stage.run_line(&format!("{script} --context nowhere")).await;
        ran.ends_with(3).says(&["kubectl knows no context \"nowhere\""]);
        stage.expect_calls("kubectl config get-contexts nowhere -o name");
    }
}

#[tokio::test]
async fn with_a_cluster_that_does_not_answer() {
    for script in SCRIPTS {
        let stage = Stage::new();
        stage.touch("unreachable");
        let ran = stage.run_line(script).await;
        ran.ends_with(3).says(&[
            "the cluster of context \"kind-mlops-lab\" does not answer",
            "connection refused",
        ]);
    }
}
