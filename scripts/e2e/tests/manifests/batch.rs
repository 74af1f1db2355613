//! deploy/batch: its Jobs score their sample as they stand there.

use e2e::manifests::{find, list, render, text};
use e2e::{Pair, binary};
use shared::test_util::{DEADLINE, Process, Scratch};

/// The Jobs' own arguments, over the sample, against the pair: what differs is where the files are and the Service's address.
#[tokio::test]
async fn the_batch_jobs_score_their_sample() {
    let objects = render("deploy/batch");
    let base = render("deploy/base");
    let service = find(&base, "Service", "api-gateway-service");
    assert_eq!(text(&list(&service["spec"]["ports"])[0]["port"]), "80");
    let pair = Pair::start(1).await;
    let job = &find(&objects, "Job", "batch-score")["spec"];
    let nightly = &find(&objects, "CronJob", "batch-score-nightly")["spec"];
    assert_eq!(text(&nightly["concurrencyPolicy"]), "Forbid");
    for job in [job, &nightly["jobTemplate"]["spec"]] {
        let pod = &job["template"]["spec"];
        let container = &list(&pod["containers"])[0];
        assert_eq!(text(&container["image"]), "batch-score:1.0");
        assert_eq!(text(&pod["securityContext"]["runAsNonRoot"]), "true");
        assert_eq!(text(&container["securityContext"]["readOnlyRootFilesystem"]), "true");
        let secret = list(&container["env"])
            .iter()
            .find(|variable| text(&variable["name"]) == "API_KEY");
        assert_eq!(
            text(&secret.expect("API_KEY")["valueFrom"]["secretKeyRef"]["name"]),
            "api-credentials"
        );
        for (volume, kind, name) in [
            (
                "input",
                "ConfigMap",
                text(&list(&pod["volumes"])[0]["configMap"]["name"]),
            ),
            (
                "scores",
                "PersistentVolumeClaim",
                text(&list(&pod["volumes"])[1]["persistentVolumeClaim"]["claimName"]),
            ),
        ] {
            find(&objects, kind, &name);
            let mounts = list(&container["volumeMounts"]);
            assert!(
                mounts
                    .iter()
                    .any(|mount| text(&mount["mountPath"]) == format!("/{volume}")),
                "{volume}"
            );
        }

        let scratch = Scratch::new("manifests");
        let sample = text(&find(&objects, "ConfigMap", "batch-score-sample")["data"]["rows.csv"]);
        scratch.file("rows.csv", &sample);
        let directory = scratch.path().to_str().expect("UTF-8");
        let arguments: Vec<String> = list(&container["args"])
            .iter()
            .map(|argument| {
                let argument = text(argument).replace("http://api-gateway-service/", &pair.url("/"));
                let argument = argument.replace("=/input/", &format!("={directory}/"));
                let argument = argument.replace("=/scores/", &format!("={directory}/"));
                argument.replace("$(JOB_NAME)", "nightly-1")
            })
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let no_variables: [(&str, &str); 0] = [];
        let mut run = Process::start_with(binary("batch-score"), &arguments, no_variables);
        let finished = run.wait_exit(DEADLINE).await;
        assert_eq!(finished.code, 0, "{finished:?}");
        let scored = std::fs::read_to_string(scratch.path().join("nightly-1.csv")).expect("an output");
        assert_eq!(
            scored,
            "row,id,prediction,model_version\n1,first,2.5,1.0\n2,second,3.0,1.0\n3,third,4.5,1.0\n"
        );
        // The longest attempt fits into the grace period.
        let timeout = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix("--timeout=")?.strip_suffix('s'));
        let timeout: i64 = timeout.and_then(|seconds| seconds.parse().ok()).expect("--timeout");
        let grace = pod["terminationGracePeriodSeconds"].as_i64().expect("a grace period");
        assert!(grace >= timeout + 10, "{grace} s, and {timeout} s");
    }
}
