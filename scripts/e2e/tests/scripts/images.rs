//! build-images.sh

use std::fs;

use e2e::repository;

use crate::stage::Stage;

const MODEL_BUILD: &str = "docker build --file ROOT/deploy/Dockerfile --target ml-inference --tag ml-inference:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=1.0 ROOT";
const GATEWAY_BUILD: &str = "docker build --file ROOT/deploy/Dockerfile --target gateway --tag api-gateway:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=1.0 ROOT";

#[tokio::test]
async fn docker_where_it_works_both_images_loaded_into_kind() {
    let stage = Stage::with("kubectl docker podman buildah kind");
    let ran = stage.run("build-images.sh", &[]).await;
    ran.ends_with(0).says(&[
        "kubectl --context kind-mlops-lab -n mlops-lab rollout restart deployment/api-gateway deployment/ml-inference",
    ]);
    stage.expect_calls(&format!(
        "{GATEWAY_BUILD}
         {MODEL_BUILD}
         kubectl config current-context
         docker save --output TMP/api-gateway.tar api-gateway:1.0
         kind load image-archive TMP/api-gateway.tar --name mlops-lab
         docker save --output TMP/ml-inference.tar ml-inference:1.0
         kind load image-archive TMP/ml-inference.tar --name mlops-lab"
    ));
}

#[tokio::test]
async fn podman_where_dockers_daemon_is_down_names_a_cluster_understands_loaded_into_minikube() {
    let stage = Stage::with("kubectl docker podman buildah minikube");
    stage.touch("docker-down");
    stage.set("context", "minikube");
    stage.set("node-label", "minikube");
    let ran = stage.run_line("build-images.sh --only ml-inference --tag 2.0").await;
    ran.ends_with(0);
    let last = ran
        .output()
        .trim_end()
        .ends_with("rollout restart deployment/ml-inference");
    assert!(last, "{}", ran.output());
    stage.expect_calls(
        "podman build --layers=false --file ROOT/deploy/Dockerfile --target ml-inference --tag ml-inference:2.0 --build-arg VERSION=2.0 --build-arg MODEL_VERSION=2.0 ROOT
         kubectl config current-context
         kubectl --context minikube --request-timeout 10s get nodes -o jsonpath={.items[0].metadata.labels.minikube\\.k8s\\.io/name}
         podman tag ml-inference:2.0 docker.io/library/ml-inference:2.0
         podman save --quiet --format docker-archive --output TMP/ml-inference.tar docker.io/library/ml-inference:2.0
         minikube image load --profile minikube TMP/ml-inference.tar",
    );
}

#[tokio::test]
async fn buildah_when_asked_for_loaded_into_k3d() {
    let mut stage = Stage::with("kubectl docker buildah k3d");
    stage.set("context", "k3d-lab");
    stage.set_variable("RUST_IMAGE", "localhost/rust");
    let line = "build-images.sh --engine buildah --only api-gateway --tag dev";
    stage.run_line(line).await.ends_with(0);
    stage.expect_calls(
        "buildah bud --layers=false --file ROOT/deploy/Dockerfile --target gateway --tag api-gateway:dev --build-arg VERSION=dev --build-arg MODEL_VERSION=1.0 --build-arg RUST_IMAGE=localhost/rust ROOT
         kubectl config current-context
         buildah push --quiet api-gateway:dev docker-archive:TMP/api-gateway.tar:docker.io/library/api-gateway:dev
         k3d image import TMP/api-gateway.tar --cluster lab",
    );
}

#[tokio::test]
async fn prebuilt_binaries_are_packaged_from_a_directory_of_their_own() {
    let stage = Stage::with("docker");
    let built = stage.path("built");
    fs::create_dir(&built).expect("writable");
    stage.touch("built/gateway");
    stage.touch("built/ml-inference");
    let built = built.to_str().expect("UTF-8");
    let ran = stage
        .run("build-images.sh", &["--prebuilt", built, "--model-version", "3.0"])
        .await;
    ran.ends_with(0)
        .says(&["loaded into no cluster: kubectl is not installed"]);
    stage.expect_calls(
        "docker build --file ROOT/deploy/Dockerfile.prebuilt --target gateway --tag api-gateway:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=3.0 TMP/context
         docker build --file ROOT/deploy/Dockerfile.prebuilt --target ml-inference --tag ml-inference:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=3.0 TMP/context",
    );
}

#[tokio::test]
async fn a_prebuilt_binary_that_is_missing() {
    let stage = Stage::with("docker");
    let built = stage.path("built");
    fs::create_dir(&built).expect("writable");
    let ran = stage
        .run("build-images.sh", &["--prebuilt", built.to_str().expect("UTF-8")])
        .await;
    ran.ends_with(3).says(&["built/gateway is missing"]);
    stage.expect_calls("");
}

#[tokio::test]
async fn onnxruntime_is_another_target_under_the_same_name() {
    let stage = Stage::with("docker");
    stage
        .run_line("build-images.sh --onnxruntime --no-load")
        .await
        .ends_with(0);
    let model = MODEL_BUILD.replace("--target ml-inference", "--target ml-inference-onnxruntime");
    stage.expect_calls(&format!("{GATEWAY_BUILD}\n{model}"));
}

#[tokio::test]
async fn batch_score_is_built_when_it_is_asked_for() {
    const BUILD: &str = "docker build --file ROOT/deploy/Dockerfile --target batch-score --tag batch-score:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=1.0 ROOT";
    let stage = Stage::with("docker");
    let ran = stage.run_line("build-images.sh --batch-score --no-load").await;
    ran.ends_with(0);
    stage.expect_calls(&format!("{GATEWAY_BUILD}\n{MODEL_BUILD}\n{BUILD}"));

    let stage = Stage::with("kubectl docker kind");
    let ran = stage.run_line("build-images.sh --only batch-score").await;
    ran.ends_with(0);
    assert!(!ran.output().contains("rollout restart"), "{}", ran.output());
    stage.expect_calls(&format!(
        "{BUILD}
         kubectl config current-context
         docker save --output TMP/batch-score.tar batch-score:1.0
         kind load image-archive TMP/batch-score.tar --name mlops-lab"
    ));
}

#[tokio::test]
async fn rag_api_is_built_when_it_is_asked_for() {
    const RAG_BUILD: &str = "docker build --file ROOT/deploy/Dockerfile --target rag-api --tag rag-api:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=1.0 ROOT";
    for (line, calls) in [
        ("--rag", format!("{GATEWAY_BUILD}\n{MODEL_BUILD}\n{RAG_BUILD}")),
        ("--only rag-api", RAG_BUILD.to_owned()),
        ("--only rag-api --rag", RAG_BUILD.to_owned()),
        ("--rag --only ml-inference", format!("{MODEL_BUILD}\n{RAG_BUILD}")),
    ] {
        let stage = Stage::with("docker");
        let ran = stage.run_line(&format!("build-images.sh --no-load {line}")).await;
        ran.ends_with(0);
        stage.expect_calls(&calls);
    }
    let stage = Stage::with("docker");
    let built = stage.path("built");
    fs::create_dir(&built).expect("writable");
    stage.touch("built/rag-api");
    let built = built.to_str().expect("UTF-8");
    stage
        .run("build-images.sh", &["--prebuilt", built, "--only", "rag-api"])
        .await
        .ends_with(0);
    stage.expect_calls(
        "docker build --file ROOT/deploy/Dockerfile.prebuilt --target rag-api --tag rag-api:1.0 --build-arg VERSION=1.0 --build-arg MODEL_VERSION=1.0 TMP/context",
    );
}

#[tokio::test]
async fn a_context_that_is_no_local_cluster() {
    let stage = Stage::with("kubectl docker");
    stage.set("context", "elsewhere");
    let ran = stage.run("build-images.sh", &[]).await;
    ran.ends_with(0).says(&["loaded into no cluster: context elsewhere"]);
}

#[tokio::test]
async fn no_load_asks_no_cluster() {
    let stage = Stage::with("kubectl docker");
    stage.run_line("build-images.sh --no-load").await.ends_with(0);
    stage.expect_no_call("kubectl");
}

#[tokio::test]
async fn only_takes_one_of_the_images() {
    let stage = Stage::new();
    let ran = stage.run_line("build-images.sh --only nginx").await;
    ran.ends_with(2)
        .says(&["--only takes api-gateway, ml-inference, batch-score or rag-api, not \"nginx\""]);
    stage.expect_calls("");
}

#[tokio::test]
async fn without_an_engine() {
    let ran = Stage::new().run("build-images.sh", &[]).await;
    ran.ends_with(3)
        .says(&["no container engine works here", "apt-get install podman"]);
}

#[tokio::test]
async fn an_engine_that_was_asked_for_and_is_down() {
    let stage = Stage::with("docker podman");
    stage.touch("docker-down");
    let ran = stage.run_line("build-images.sh --engine docker").await;
    ran.ends_with(3).says(&["docker is installed but does not work"]);
}

#[tokio::test]
async fn an_unknown_engine() {
    let ran = Stage::with("docker").run_line("build-images.sh --engine rkt").await;
    ran.ends_with(2).says(&["unknown engine \"rkt\""]);
}

#[tokio::test]
async fn a_build_that_fails() {
    let stage = Stage::with("kubectl docker");
    stage.touch("build-fails");
    let ran = stage.run("build-images.sh", &[]).await;
    ran.ends_with(1).says(&["docker could not build api-gateway:1.0"]);
}

#[test]
fn both_dockerfiles_end_in_the_same_stages() {
    let stages = |file: &str| {
        let text = fs::read_to_string(repository().join("deploy").join(file)).expect("readable");
        let at = text.find("FROM scratch AS gateway").expect("the stages");
        text[at..].to_owned()
    };
    // In the built one the binaries come from the builder, and its targets that others copy from stand behind the rest.
    let mut built = stages("Dockerfile");
    while let Some(begin) = built.find("# Behind the other targets") {
        let end = built[begin..].find("\n\n").map_or(built.len(), |end| begin + end + 2);
        built.replace_range(begin..end, "");
    }
    let lines = built.lines().map(|line| match line.split_once("COPY --from=") {
        Some((before, rest)) => match rest.split_once(" /out/") {
            Some((_, path)) => format!("{before}COPY {path}"),
            None => line.to_owned(),
        },
        None => line.to_owned(),
    });
    let built: Vec<String> = lines.collect();
    let prebuilt = stages("Dockerfile.prebuilt");
    assert_eq!(built.join("\n").trim_end(), prebuilt.trim_end());
}

/// ldd fails on it, which must not end the script before it has said why.
#[tokio::test]
async fn a_static_program_in_the_image_with_onnxruntime_is_named() {
    let stage = Stage::new();
    stage.set_program("ldd", "echo 'not a dynamic executable' >&2\nexit 1");
    let [program, library, image] = ["program", "library", "image"].map(|name| stage.path(name).display().to_string());
    stage.touch("program");
    stage.touch("library");
    let ran = stage
        .run("../deploy/onnxruntime-root.sh", &[&program, &library, &image])
        .await;
    ran.ends_with(1)
        .says(&["is static and cannot load onnxruntime; build it without crt-static"]);
}
