//! The manifests, the settings and the binaries name the same things. Needs `kubectl` to render.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use e2e::manifests::{container, find, list, load, render, text};
use e2e::{Pair, binary, repository};
use shared::cli::Program;
use shared::test_util::{DEADLINE, Process, Scratch};
use yaml_rust2::{Yaml, YamlLoader};

const GATEWAY: Program = gateway::config::PROGRAM;
const ML_INFERENCE: Program = ml_inference::config::PROGRAM;
const RAG_API: Program = rag_api::config::PROGRAM;

/// Every file of the lab's steps.
fn lab_files() -> Vec<(String, Vec<Yaml>)> {
    let mut files = Vec::new();
    for step in std::fs::read_dir(repository().join("deploy/lab")).expect("deploy/lab is there") {
        let step = step.expect("readable").path();
        if !step.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(step).expect("a step is readable") {
            let path = file.expect("readable").path();
            files.push((path.display().to_string(), load(&path)));
        }
    }
    assert!(files.len() >= 10, "the lab has more files than {}", files.len());
    files
}

fn rendered() -> Vec<(String, Vec<Yaml>)> {
    [
        "deploy/base",
        "deploy/overlays/dev",
        "deploy/overlays/staging",
        "deploy/overlays/prod",
    ]
    .map(|path| (path.to_owned(), render(path)))
    .into()
}

fn container_port(container: &Yaml, name: &str) -> String {
    let ports = list(&container["ports"]);
    let port = ports.iter().find(|port| text(&port["name"]) == name);
    text(&port.unwrap_or_else(|| panic!("no port {name}"))["containerPort"])
}

fn default_of(program: &Program, setting: &str) -> String {
    let found = program.settings.iter().find(|candidate| candidate.name == setting);
    found
        .unwrap_or_else(|| panic!("{} has no {setting}", program.name))
        .default
        .to_owned()
}

fn program_of(deployment: &Yaml) -> Option<&'static Program> {
    static PROGRAMS: [Program; 2] = [GATEWAY, ML_INFERENCE];
    match text(&deployment["metadata"]["name"]).as_str() {
        "api-gateway" => Some(&PROGRAMS[0]),
        "ml-inference" | "mlops-deployment" | "ml-api" | "ml-models" => Some(&PROGRAMS[1]),
        _ => None,
    }
}

/// The variables that a container gets as plain values.
fn plain_variables(container: &Yaml) -> impl Iterator<Item = (String, String)> {
    let plain = list(&container["env"])
        .iter()
        .filter(|variable| variable["valueFrom"].is_badvalue());
    plain.map(|variable| (text(&variable["name"]), text(&variable["value"])))
}

/// The manifests of Lab 6 and of Lesson 01.
fn courses() -> Vec<(String, Vec<Yaml>)> {
    ["deploy/lab6", "deploy/lesson01/gpu", "deploy/lesson01/several-models"]
        .map(|path| (path.to_owned(), render(path)))
        .into()
}

/// The deployments of ours in all renderings, lab steps and courses.
fn deployments() -> Vec<(String, Yaml)> {
    let mut found = Vec::new();
    for (place, objects) in rendered().into_iter().chain(lab_files()).chain(courses()) {
        for object in objects {
            if text(&object["kind"]) == "Deployment" && program_of(&object).is_some() {
                found.push((place.clone(), object));
            }
        }
    }
    assert!(found.len() >= 17, "{}", found.len());
    found
}

#[test]
fn ports_are_the_same_in_services_containers_and_defaults() {
    let base = render("deploy/base");
    let ml = container(find(&base, "Deployment", "ml-inference"));
    let gateway = container(find(&base, "Deployment", "api-gateway"));
    assert_eq!(text(&ml["name"]), "ml-model");
    assert_eq!(text(&gateway["name"]), "gateway");
    assert_eq!(container_port(ml, "http"), default_of(&ML_INFERENCE, "SERVICE_PORT"));
    let listen = default_of(&GATEWAY, "LISTEN_ADDRESS");
    let admin = default_of(&GATEWAY, "ADMIN_ADDRESS");
    assert_eq!(format!("0.0.0.0:{}", container_port(gateway, "http")), listen);
    assert_eq!(format!("0.0.0.0:{}", container_port(gateway, "admin")), admin);

    let service = find(&base, "Service", "ml-inference-service");
    let port = &list(&service["spec"]["ports"])[0];
    assert_eq!(text(&service["spec"]["type"]), "ClusterIP");
    assert_eq!(
        (text(&port["name"]), text(&port["port"])),
        ("http".to_owned(), "5000".to_owned())
    );
    assert!(["5000", "http"].contains(&text(&port["targetPort"]).as_str()));
    let cluster = format!("{}:{}", text(&service["metadata"]["name"]), text(&port["port"]));
    assert!(
        GATEWAY.default_document.contains(&format!("- name: {cluster}\n")),
        "the gateway forwards to {cluster}"
    );

    let service = find(&base, "Service", "api-gateway-service");
    let port = &list(&service["spec"]["ports"])[0];
    assert_eq!(text(&service["spec"]["type"]), "NodePort");
    assert_eq!(
        (text(&port["port"]), text(&port["nodePort"])),
        ("80".to_owned(), "30080".to_owned())
    );
    assert!(["8080", "http"].contains(&text(&port["targetPort"]).as_str()));
    for (service, deployment) in [
        ("ml-inference-service", "ml-inference"),
        ("api-gateway-service", "api-gateway"),
    ] {
        let selector = text(&find(&base, "Service", service)["spec"]["selector"]["app"]);
        let labels = &find(&base, "Deployment", deployment)["spec"]["template"]["metadata"]["labels"];
        assert_eq!(selector, text(&labels["app"]));
    }
}

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

async fn expect_sound(program: &Program, environment: BTreeMap<String, String>, place: &str) {
    let mut check = Process::start_with(binary(program.name), &["--check"], environment);
    let finished = check.wait_exit(DEADLINE).await;
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (0, "ok\n"),
        "{place}: {finished:?}"
    );
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

/// The API server gives the gateway its endpoints only when all of these fit together.
#[test]
fn the_gateway_may_watch_the_endpoint_slices_it_is_told_to() {
    for (place, objects) in rendered() {
        let yaml = text(&find(&objects, "ConfigMap", "gateway-config")["data"]["gateway.yaml"]);
        let yaml = &YamlLoader::load_from_str(&yaml).expect("YAML")[0];
        let cluster = &list(&yaml["clusters"])[0];
        assert_eq!(text(&cluster["discovery"]), "kubernetes", "{place}");
        let name = text(&cluster["name"]);
        let service = find(&objects, "Service", name.split(':').next().expect("a name"));
        let ports: Vec<String> = list(&service["spec"]["ports"])
            .iter()
            .map(|port| text(&port["name"]))
            .collect();
        assert!(ports.contains(&text(&cluster["port_name"])), "{place}: {ports:?}");

        let pod = &find(&objects, "Deployment", "api-gateway")["spec"]["template"]["spec"];
        assert_eq!(text(&pod["automountServiceAccountToken"]), "true", "{place}");
        let account = find(&objects, "ServiceAccount", &text(&pod["serviceAccountName"]));
        let bindings = objects.iter().filter(|object| text(&object["kind"]) == "RoleBinding");
        let binds = |binding: &&Yaml| {
            list(&binding["subjects"]).iter().any(|subject| {
                text(&subject["kind"]) == "ServiceAccount"
                    && text(&subject["name"]) == text(&account["metadata"]["name"])
                    && text(&subject["namespace"]) == text(&account["metadata"]["namespace"])
            })
        };
        let bound: Vec<&Yaml> = bindings.filter(binds).collect();
        assert_eq!(bound.len(), 1, "{place}: one RoleBinding of {account:?}");
        assert_eq!(text(&bound[0]["roleRef"]["kind"]), "Role", "{place}");
        let role = find(&objects, "Role", &text(&bound[0]["roleRef"]["name"]));
        for object in [role, bound[0]] {
            let namespace = &object["metadata"]["namespace"];
            assert_eq!(text(namespace), text(&service["metadata"]["namespace"]), "{place}");
        }
        let rules = list(&role["rules"]);
        let texts = |key: &str| list(&rules[0][key]).iter().map(text).collect::<Vec<_>>();
        assert_eq!(rules.len(), 1, "{place}: no right but this");
        assert_eq!(texts("apiGroups"), ["discovery.k8s.io"], "{place}");
        assert_eq!(texts("resources"), ["endpointslices"], "{place}");
        assert_eq!(texts("verbs"), ["get", "list", "watch"], "{place}");
    }
}

/// A policy that lists egress cuts off everything else: the API server too.
#[test]
fn the_network_policy_lets_the_gateway_reach_the_api_server() {
    for overlay in ["deploy/overlays/staging", "deploy/overlays/prod"] {
        let objects = render(overlay);
        let policy = find(&objects, "NetworkPolicy", "api-gateway");
        let to_anyone = list(&policy["spec"]["egress"])
            .iter()
            .filter(|rule| rule["to"].is_badvalue());
        let ports: Vec<String> = to_anyone
            .flat_map(|rule| list(&rule["ports"]))
            .map(|port| text(&port["port"]))
            .collect();
        for port in ["443", "6443"] {
            assert!(
                ports.iter().any(|known| known == port),
                "{overlay}: {port} in {ports:?}"
            );
        }
    }
}

/// Models are loaded and unloaded by who may forward a port to a pod, and by nobody else.
#[test]
fn nothing_leads_to_the_admin_listener_of_ml_inference() {
    let admin: SocketAddr = default_of(&ML_INFERENCE, "ADMIN_ADDRESS").parse().expect("an address");
    assert!(admin.ip().is_loopback(), "{admin}");
    let port = admin.port().to_string();
    for (place, objects) in rendered().into_iter().chain(lab_files()) {
        for object in &objects {
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let ports = match (kind.as_str(), name.as_str()) {
                ("Deployment", "ml-inference") => {
                    let container = container(object);
                    let mut variables = list(&container["env"]).iter();
                    assert!(
                        variables.all(|variable| text(&variable["name"]) != "ADMIN_ADDRESS"),
                        "{place}"
                    );
                    list(&container["ports"])
                }
                ("Service", "ml-inference-service") => list(&object["spec"]["ports"]),
                ("NetworkPolicy", "ml-inference") => {
                    let ingress = list(&object["spec"]["ingress"]);
                    let opens_all = |rule: &Yaml| list(&rule["ports"]).is_empty();
                    assert!(!ingress.iter().any(opens_all), "{place}");
                    assert_eq!(ingress.len(), 1, "{place}");
                    list(&ingress[0]["ports"])
                }
                ("ConfigMap", "shared-config" | "ml-config") => {
                    assert!(object["data"]["ADMIN_ADDRESS"].is_badvalue(), "{place}: {name}");
                    continue;
                }
                _ => continue,
            };
            for opened in ports {
                for key in ["port", "targetPort", "containerPort"] {
                    assert_ne!(text(&opened[key]), port, "{place}: {kind} {name}");
                }
            }
        }
    }
}

/// The lab's steps give no right to ask the API server, so they leave it to DNS.
#[test]
fn what_asks_the_api_server_comes_with_the_right_to() {
    for (place, objects) in lab_files() {
        for object in &objects {
            let yaml = text(&object["data"]["gateway.yaml"]);
            assert!(
                !yaml.contains("discovery: kubernetes"),
                "{place}: and no Role beside it"
            );
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

#[tokio::test]
async fn every_probe_asks_for_a_path_that_answers() {
    let pair = Pair::start(1).await;
    let admin = pair.gateway.address_of("admin listening").await;
    for (place, deployment) in deployments() {
        let container = container(&deployment);
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let get = &container[probe]["httpGet"];
            if get.is_badvalue() {
                continue;
            }
            let address = match (
                program_of(&deployment).expect("one of ours").name,
                text(&get["port"]).as_str(),
            ) {
                ("gateway", "admin" | "9090") => admin,
                ("gateway", "http" | "8080") => pair.address,
                ("ml-inference", "http" | "5000" | "5001") => pair.replicas[0].address,
                (name, port) => panic!("{place}: {name} does not listen on {port}"),
            };
            let url = format!("http://{address}{}", text(&get["path"]));
            let answer = pair.client.get(&url).send().await.expect("an answer");
            assert_eq!(answer.status(), 200, "{place}: {probe} {url}");
        }
    }
}

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
