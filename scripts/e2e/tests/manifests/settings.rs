//! What ConfigMaps, variables and secrets set are settings of who reads them, with values that pass.

use std::collections::BTreeMap;

use e2e::manifests::{container, find, list, render, text};
use e2e::{binary, repository};
use shared::cli::Program;
use shared::test_util::{DEADLINE, Process, Scratch};

use crate::{GATEWAY, ML_INFERENCE, deployments, expect_sound, lab_files, plain_variables, program_of, rendered};

#[test]
fn every_config_map_key_is_a_setting_of_a_service_that_reads_it() {
    for (place, objects) in rendered().into_iter().chain(lab_files()) {
        for object in &objects {
            let name = text(&object["metadata"]["name"]);
            let readers: &[Program] = match (text(&object["kind"]).as_str(), name.as_str()) {
                ("ConfigMap", "shared-config") => &[GATEWAY, ML_INFERENCE],
                ("ConfigMap", "ml-config") => &[ML_INFERENCE],
                _ => continue,
            };
            let data = object["data"].as_hash().expect("data");
            for key in data.keys().map(text) {
                let known = |program: &Program| program.settings.iter().any(|setting| setting.name == key);
                assert!(
                    readers.iter().any(known),
                    "{place}: {name} has {key}, which nobody reads"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_configured_values_pass_each_services_own_check() {
    for (place, objects) in rendered() {
        for (program, deployment) in [(&GATEWAY, "api-gateway"), (&ML_INFERENCE, "ml-inference")] {
            let mut environment: BTreeMap<String, String> = BTreeMap::new();
            for source in list(&container(find(&objects, "Deployment", deployment))["envFrom"]) {
                let map = find(&objects, "ConfigMap", &text(&source["configMapRef"]["name"]));
                let data = map["data"].as_hash().expect("data");
                environment.extend(data.iter().map(|(key, value)| (text(key), text(value))));
            }
            environment.extend(plain_variables(container(find(&objects, "Deployment", deployment))));
            let scratch = Scratch::new("manifests");
            if program.name == "gateway" {
                let yaml = text(&find(&objects, "ConfigMap", "gateway-config")["data"]["gateway.yaml"]);
                let file = scratch.file("gateway.yaml", yaml);
                environment.insert("CONFIG_FILE".to_owned(), file.display().to_string());
            }
            expect_sound(program, environment, &place).await;
        }
    }
    let mut configurations = 0;
    for (place, objects) in lab_files() {
        for object in &objects {
            if let Some(program) = program_of(object).filter(|_| text(&object["kind"]) == "Deployment") {
                expect_sound(program, plain_variables(container(object)).collect(), &place).await;
            }
            let yaml = text(&object["data"]["gateway.yaml"]);
            if yaml.is_empty() {
                continue;
            }
            configurations += 1;
            let scratch = Scratch::new("manifests");
            let file = scratch.file("gateway.yaml", &yaml).display().to_string();
            let mut environment = BTreeMap::from([("CONFIG_FILE".to_owned(), file)]);
            // A route that requires the key is a fault without one; Step 7 gives it by a secretKeyRef.
            if yaml.contains("require_api_key: true") {
                environment.insert("API_KEY".to_owned(), "the-key-of-this-test".to_owned());
            }
            expect_sound(&GATEWAY, environment, &place).await;
        }
    }
    assert_eq!(configurations, 2, "Step 3's gateway.yaml and Step 7's");
}

#[test]
fn every_variable_of_a_container_is_a_setting() {
    for (place, deployment) in deployments() {
        let program = program_of(&deployment).expect("one of ours");
        for variable in list(&container(&deployment)["env"]) {
            let name = text(&variable["name"]);
            let known = program.settings.iter().any(|setting| setting.name == name);
            assert!(known, "{place}: {} has no setting {name}", program.name);
        }
    }
}

#[tokio::test]
async fn the_base_config_map_says_what_the_gateway_does_without_it() {
    let base = render("deploy/base");
    let yaml = text(&find(&base, "ConfigMap", "gateway-config")["data"]["gateway.yaml"]);
    let scratch = Scratch::new("manifests");
    let file = scratch.file("gateway.yaml", yaml).display().to_string();
    let no_variables: [(&str, &str); 0] = [];
    let mut lines = Vec::new();
    for arguments in [&["--print-config", "--config", &file][..], &["--print-config"]] {
        let mut print = Process::start_with(binary("gateway"), arguments, no_variables);
        let printed = print.wait_exit(DEADLINE).await.stdout;
        // What it does, without which layer said so. How it finds endpoints differs: in the cluster it may ask the API.
        let rule = |line: &str| {
            let rule = line.split("  (").next().unwrap_or(line);
            rule.replace(" by EndpointSlices of ml-inference-service port_name=http", " by DNS")
        };
        let structured = |line: &&str| line.starts_with("cluster ") || line.starts_with("route ");
        lines.push(printed.lines().filter(structured).map(rule).collect::<Vec<_>>());
    }
    assert_eq!(lines[0], lines[1]);
    assert!(lines[0].len() >= 6, "{lines:?}");
}

#[test]
fn secret_references_are_secret_settings() {
    for (place, deployment) in deployments() {
        let program = program_of(&deployment).expect("one of ours");
        for variable in list(&container(&deployment)["env"]) {
            let key = &variable["valueFrom"]["secretKeyRef"]["key"];
            if key.is_badvalue() {
                continue;
            }
            let name = text(&variable["name"]);
            assert_eq!(name, text(key), "{place}");
            let secret = |setting: &shared::config::Setting| setting.name == name && setting.secret;
            assert!(
                program.settings.iter().any(secret),
                "{place}: {name} is no secret of {}",
                program.name
            );
        }
    }
    let script = std::fs::read_to_string(repository().join("scripts/create-secrets.sh")).expect("readable");
    for setting in GATEWAY
        .settings
        .iter()
        .chain(ML_INFERENCE.settings)
        .filter(|setting| setting.secret)
    {
        assert!(
            script.contains(setting.name),
            "create-secrets.sh makes no {}",
            setting.name
        );
    }
}
