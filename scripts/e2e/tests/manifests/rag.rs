//! deploy/rag: the course's application, with a service of its own beside the two.

use std::collections::BTreeMap;
use std::path::Path;

use e2e::manifests::{container, find, list, render, text};
use shared::cli::Program;
use shared::test_util::Scratch;
use yaml_rust2::{Yaml, YamlLoader};

use crate::{GATEWAY, container_port, default_of, expect_sound, plain_variables};

const RAG_API: Program = rag_api::config::PROGRAM;

/// The one ConfigMap whose name is `prefix` and a hash.
fn generated<'a>(objects: &'a [Yaml], prefix: &str) -> &'a Yaml {
    let is_it = |object: &&Yaml| {
        let name = text(&object["metadata"]["name"]);
        text(&object["kind"]) == "ConfigMap" && name.starts_with(prefix)
    };
    let found: Vec<&Yaml> = objects.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{prefix}");
    found[0]
}

/// The name of the ConfigMap that is mounted at `path`.
fn mounted(deployment: &Yaml, path: &str) -> String {
    let mounts = list(&container(deployment)["volumeMounts"]);
    let mount = mounts.iter().find(|mount| text(&mount["mountPath"]) == path);
    let name = text(&mount.unwrap_or_else(|| panic!("nothing at {path}"))["name"]);
    let volumes = list(&deployment["spec"]["template"]["spec"]["volumes"]);
    let volume = volumes.iter().find(|volume| text(&volume["name"]) == name);
    text(&volume.expect("a volume of this name")["configMap"]["name"])
}

/// deploy/rag: the course's Deployment and Service, and all that they name is there.
#[test]
fn rag_has_what_the_course_says_and_what_it_mounts() {
    let objects = render("deploy/rag");
    let deployment = find(&objects, "Deployment", "rag-api");
    let (pod, container) = (&deployment["spec"]["template"]["spec"], container(deployment));
    assert_eq!(text(&deployment["spec"]["replicas"]), "3");
    assert_eq!(container_port(container, "http"), default_of(&RAG_API, "SERVICE_PORT"));
    let sources = list(&container["envFrom"]);
    assert_eq!(text(&sources[0]["configMapRef"]["name"]), "rag-config");
    assert_eq!(text(&sources[1]["secretRef"]["name"]), "rag-secrets");
    let service = find(&objects, "Service", "rag-api");
    let port = &list(&service["spec"]["ports"])[0];
    assert_eq!(
        (text(&port["port"]), text(&port["targetPort"])),
        ("80".into(), "http".into())
    );
    let budget = find(&objects, "PodDisruptionBudget", "rag-api");
    find(&objects, "ServiceAccount", &text(&pod["serviceAccountName"]));
    for labels in [
        &service["spec"]["selector"],
        &budget["spec"]["selector"]["matchLabels"],
        &deployment["spec"]["selector"]["matchLabels"],
        &deployment["spec"]["template"]["metadata"]["labels"],
    ] {
        assert_eq!(text(&labels["app"]), "rag-api");
    }

    let (files, model) = (generated(&objects, "rag-files-"), generated(&objects, "rag-model-"));
    let directory = Path::new(RAG_API.default_file).parent().expect("a directory");
    assert_eq!(
        mounted(deployment, &directory.display().to_string()),
        text(&files["metadata"]["name"])
    );
    for setting in ["TEXTS_FILE", "VOCABULARY_FILE"] {
        let file = default_of(&RAG_API, setting);
        let key = Path::new(&file).strip_prefix(directory).expect("it is there");
        let content = text(&files["data"][key.to_str().expect("UTF-8")]);
        assert!(!content.is_empty(), "{file}");
    }
    let ml = find(&objects, "Deployment", "ml-inference");
    let models = plain_variables(self::container(ml)).find(|(name, _)| name == "MODELS_DIR");
    assert_eq!(
        mounted(ml, &models.expect("MODELS_DIR").1),
        text(&model["metadata"]["name"])
    );
    let config = find(&objects, "ConfigMap", "rag-config");
    let key = format!("{}.onnx", text(&config["data"]["EMBEDDING_MODEL"]));
    assert!(!text(&model["binaryData"][key.as_str()]).is_empty(), "{key}");
    let url = text(&config["data"]["EMBEDDING_URL"]);
    let (name, port) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once(':'))
        .expect("a name and a port");
    let ml_service = find(&objects, "Service", name);
    assert_eq!(text(&list(&ml_service["spec"]["ports"])[0]["port"]), port);
}

#[test]
fn rag_is_locked_down_pinned_and_has_time_to_drain() {
    let objects = render("deploy/rag");
    let deployment = find(&objects, "Deployment", "rag-api");
    let (pod, container) = (&deployment["spec"]["template"]["spec"], container(deployment));
    let security = &container["securityContext"];
    assert_eq!(text(&pod["securityContext"]["runAsNonRoot"]), "true");
    assert_eq!(text(&pod["securityContext"]["runAsUser"]), "65532");
    assert_eq!(
        text(&pod["securityContext"]["seccompProfile"]["type"]),
        "RuntimeDefault"
    );
    assert_eq!(text(&pod["automountServiceAccountToken"]), "false");
    assert_eq!(text(&security["readOnlyRootFilesystem"]), "true");
    assert_eq!(text(&security["allowPrivilegeEscalation"]), "false");
    assert_eq!(text(&list(&security["capabilities"]["drop"])[0]), "ALL");
    assert_eq!(text(&container["image"]), "rag-api:1.0");
    for kind in ["requests", "limits"] {
        for resource in ["cpu", "memory"] {
            assert!(
                !text(&container["resources"][kind][resource]).is_empty(),
                "{kind}.{resource}"
            );
        }
    }
    let seconds = |setting| default_of(&RAG_API, setting).parse::<f64>().expect("seconds");
    let grace: f64 = text(&pod["terminationGracePeriodSeconds"]).parse().expect("seconds");
    assert!(seconds("DRAIN_WINDOW") + seconds("DRAIN_TIMEOUT") < grace);
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/livez"),
    ] {
        assert_eq!(text(&container[probe]["httpGet"]["path"]), path);
        assert_eq!(text(&container[probe]["httpGet"]["port"]), "http");
    }
}

#[tokio::test]
async fn rags_settings_pass_each_programs_own_check_and_its_gateway_has_the_bases_routes() {
    let (rag, base) = (render("deploy/rag"), render("deploy/base"));
    let data = find(&rag, "ConfigMap", "rag-config")["data"].as_hash().expect("data");
    let mut variables: BTreeMap<String, String> = data.iter().map(|(key, value)| (text(key), text(value))).collect();
    for name in variables.keys() {
        assert!(RAG_API.settings.iter().any(|setting| setting.name == name), "{name}");
    }
    variables.extend(plain_variables(container(find(&rag, "Deployment", "rag-api"))));
    expect_sound(&RAG_API, variables, "deploy/rag").await;

    let yaml = |objects: &[Yaml]| text(&find(objects, "ConfigMap", "gateway-config")["data"]["gateway.yaml"]);
    let scratch = Scratch::new("manifests");
    let file = scratch.file("gateway.yaml", yaml(&rag)).display().to_string();
    let environment = BTreeMap::from([("CONFIG_FILE".to_owned(), file)]);
    expect_sound(&GATEWAY, environment, "deploy/rag").await;
    let parsed = |yaml: String| YamlLoader::load_from_str(&yaml).expect("YAML").remove(0);
    let (rag, base) = (parsed(yaml(&rag)), parsed(yaml(&base)));
    let (own, others): (Vec<&Yaml>, Vec<&Yaml>) = list(&rag["routes"])
        .iter()
        .partition(|route| text(&route["cluster"]) == "rag-api:80");
    assert_eq!(others, list(&base["routes"]).iter().collect::<Vec<_>>());
    assert_eq!(own.len(), 1);
    assert_eq!(
        (text(&own[0]["prefix"]), text(&own[0]["rewrite"])),
        ("/rag".into(), "/".into())
    );
    let clusters = list(&rag["clusters"])
        .iter()
        .filter(|cluster| text(&cluster["name"]) != "rag-api:80");
    assert_eq!(
        clusters.collect::<Vec<_>>(),
        list(&base["clusters"]).iter().collect::<Vec<_>>()
    );
}
