//! What pods are given: files where the services look, no more rights than they need, and time to drain.

use std::path::Path;

use e2e::manifests::{container, find, list, render, text};

use crate::{default_of, deployments, program_of, rendered};

#[test]
fn files_are_mounted_where_the_services_look() {
    for (place, deployment) in deployments() {
        let program = program_of(&deployment).expect("one of ours");
        let default_directory = Path::new(program.default_file).parent().expect("a file in a directory");
        for mount in list(&container(&deployment)["volumeMounts"]) {
            let path = text(&mount["mountPath"]);
            let known = Path::new(&path) == default_directory
                || path == program.default_secret_dir
                || program
                    .default_config_dirs
                    .split(':')
                    .any(|directory| directory == path);
            assert!(known, "{place}: {} does not look into {path}", program.name);
            assert!(mount["subPath"].is_badvalue(), "{place}: a subPath mount never changes");
        }
    }
    let base = render("deploy/base");
    for (deployment, mounts) in [("api-gateway", 3), ("ml-inference", 3)] {
        let container = container(find(&base, "Deployment", deployment));
        assert_eq!(list(&container["volumeMounts"]).len(), mounts, "{deployment}");
    }
}

#[test]
fn pods_are_locked_down_and_images_pinned() {
    for (place, objects) in rendered() {
        for name in ["api-gateway", "ml-inference"] {
            let deployment = find(&objects, "Deployment", name);
            let pod = &deployment["spec"]["template"]["spec"];
            let container = container(deployment);
            let security = &container["securityContext"];
            assert_eq!(text(&pod["securityContext"]["runAsNonRoot"]), "true", "{place}");
            assert_eq!(text(&pod["securityContext"]["runAsUser"]), "65532", "{place}");
            assert_eq!(
                text(&pod["securityContext"]["seccompProfile"]["type"]),
                "RuntimeDefault",
                "{place}"
            );
            assert_eq!(text(&security["readOnlyRootFilesystem"]), "true", "{place}");
            assert_eq!(text(&security["allowPrivilegeEscalation"]), "false", "{place}");
            assert_eq!(text(&list(&security["capabilities"]["drop"])[0]), "ALL", "{place}");
            let asks_the_api = name == "api-gateway";
            assert_eq!(
                text(&pod["automountServiceAccountToken"]),
                asks_the_api.to_string(),
                "{place}"
            );
            let image = text(&container["image"]);
            assert!(image.contains(':') && !image.ends_with(":latest"), "{place}: {image}");
            assert_eq!(text(&container["imagePullPolicy"]), "IfNotPresent", "{place}");
        }
    }
}

#[test]
fn window_drain_and_pre_stop_fit_into_the_grace_period() {
    for (place, deployment) in deployments() {
        let program = program_of(&deployment).expect("one of ours");
        let pod = &deployment["spec"]["template"]["spec"];
        let container = container(&deployment);
        let seconds = |setting: &str| -> f64 {
            let variable = list(&container["env"])
                .iter()
                .find(|variable| text(&variable["name"]) == setting);
            let value = variable.map_or_else(|| default_of(program, setting), |variable| text(&variable["value"]));
            value.parse().unwrap_or_else(|_| panic!("{place}: {setting}={value}"))
        };
        let pre_stop = &container["lifecycle"]["preStop"];
        assert!(
            pre_stop["exec"].is_badvalue(),
            "{place}: the image has no shell to exec"
        );
        let pre_stop: f64 = text(&pre_stop["sleep"]["seconds"]).parse().unwrap_or(0.0);
        let grace: f64 = text(&pod["terminationGracePeriodSeconds"]).parse().unwrap_or(30.0);
        let needed = pre_stop + seconds("DRAIN_WINDOW") + seconds("DRAIN_TIMEOUT");
        assert!(needed < grace, "{place}: {needed} s needed of {grace} s");
    }
}
