//! Lab 6 and Lesson 01 as their pages tell them: real processes with the environment that the manifests give a pod, behind a Service,
//! asked by the pages' own `curl` lines.
//!
//! ```text
//! main.rs        the pages' commands, one after the other
//! browser.rs     Lab 6's page for a browser, in one
//! chromium.rs    the browser
//! ```

mod browser;
mod chromium;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use e2e::manifests::{container, find, list, load, render, text};
use e2e::{binary, is_left_out, is_missing, repository};
use shared::http_client;
use shared::test_util::{DEADLINE, Process, Scratch, Signal, eventually};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use yaml_rust2::Yaml;

const LAB6: &str = "deploy/lab6/README.md";
const LESSON01: &str = "deploy/lesson01/README.md";

/// Whether these tests cannot run here: every pod has an address of its own, which only Linux has without being asked.
fn left_out() -> bool {
    is_missing("curl") || is_missing("bash") || is_left_out(!cfg!(target_os = "linux"), "no 127.0.0.0/8 as a whole")
}

/// An address that no other pod has, so that each can listen on the port that the manifest says.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(64);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, NEXT.fetch_add(1, Ordering::Relaxed), high, low))
}

/// A process as the kubelet would start it.
struct Pod {
    name: String,
    process: Process,
    address: SocketAddr,
}

impl Pod {
    /// A pod of ml-inference, with the version that is stamped into its image, once its probes say that it is ready.
    async fn start(deployment: &Yaml, number: usize, version: &str) -> Self {
        let name = format!("{}-{number}", text(&deployment["metadata"]["name"]));
        let container = container(deployment);
        let ip = own_address();
        let mut environment = environment(container, &name);
        environment.insert("MODEL_VERSION".to_owned(), version.to_owned());
        // A container has a network of its own; here it is an address.
        environment.insert("BIND_ADDRESS".to_owned(), ip.to_string());
        environment.insert("ADMIN_ADDRESS".to_owned(), format!("{ip}:9091"));
        let process = Process::start(binary("ml-inference"), environment);
        let port = text(&list(&container["ports"])[0]["containerPort"]);
        let address = SocketAddr::new(ip, port.parse().expect("a port"));
        assert_eq!(process.listening().await, address, "it listens on its containerPort");
        let pod = Self { name, process, address };
        pod.pass_probes(container).await;
        pod
    }

    async fn pass_probes(&self, container: &Yaml) {
        let client = http_client::client(DEADLINE).expect("the client builds");
        let named = text(&list(&container["ports"])[0]["name"]);
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let get = &container[probe]["httpGet"];
            let asked = text(&get["port"]);
            assert!([&named, &self.address.port().to_string()].contains(&&asked), "{probe}");
            let url = format!("http://{}{}", self.address, text(&get["path"]));
            eventually(probe, DEADLINE, async || {
                let answer = client.get(&url).send().await;
                answer.is_ok_and(|answer| answer.status() == 200)
            })
            .await;
        }
    }
}

/// The variables of a container in a pod of this name.
fn environment(container: &Yaml, pod: &str) -> BTreeMap<String, String> {
    assert!(
        container["envFrom"].is_badvalue(),
        "the courses have no ConfigMap of variables"
    );
    variables(container, pod)
}

/// Those that stand in the container itself.
fn variables(container: &Yaml, pod: &str) -> BTreeMap<String, String> {
    let value = |variable: &Yaml| match text(&variable["valueFrom"]["fieldRef"]["fieldPath"]).as_str() {
        "" => text(&variable["value"]),
        "metadata.name" => pod.to_owned(),
        other => panic!("{other}?"),
    };
    let variables = list(&container["env"]).iter();
    variables
        .map(|variable| (text(&variable["name"]), value(variable)))
        .collect()
}

/// A Service as kube-proxy makes it: each connection goes to a pod that is taken at random.
struct Service {
    address: SocketAddr,
    pods: Arc<Mutex<Vec<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let pods = Arc::new(Mutex::new(Vec::<SocketAddr>::new()));
        let known = Arc::clone(&pods);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            // Always the same, so that a test does not fail by chance: xorshift.
            let mut random = 0x9E37_79B9_7F4A_7C15_u64;
            while let Ok((mut client, _)) = listener.accept().await {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let pod = {
                    let pods = known.lock().expect("no test panics with it");
                    let at = usize::try_from(random >> 33).expect("31 bits") % pods.len();
                    pods[at]
                };
                connections.spawn(async move {
                    let mut pod = TcpStream::connect(pod).await.expect("the pod is there");
                    // Who is cut off says so itself.
                    let _ended = copy_bidirectional(&mut client, &mut pod).await;
                });
            }
        });
        Self { address, pods, task }
    }

    fn set(&self, pods: &[Pod]) {
        *self.pods.lock().expect("no test panics with it") = pods.iter().map(|pod| pod.address).collect();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The pods of a Deployment behind its Service.
struct System {
    deployment: Yaml,
    service: Service,
    pods: Vec<Pod>,
    started: usize,
    leaving: Vec<Pod>,
}

impl System {
    async fn start(objects: &[Yaml], deployment: &str, service: &str, version: &str) -> Self {
        let deployment = find(objects, "Deployment", deployment).clone();
        let service = find(objects, "Service", service);
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert_eq!(text(&service["spec"]["selector"]["app"]), text(&labels["app"]));
        let port = &list(&container(&deployment)["ports"])[0];
        let target = text(&list(&service["spec"]["ports"])[0]["targetPort"]);
        assert!(
            [text(&port["name"]), text(&port["containerPort"])].contains(&target),
            "{target}"
        );
        let replicas = text(&deployment["spec"]["replicas"]).parse().expect("a number");
        let mut system = Self {
            deployment,
            service: Service::start().await,
            pods: Vec::new(),
            started: 0,
            leaving: Vec::new(),
        };
        system.scale(replicas, version).await;
        system
    }

    async fn add(&mut self, version: &str) {
        self.started += 1;
        let pod = Pod::start(&self.deployment, self.started, version).await;
        self.pods.push(pod);
        self.service.set(&self.pods);
    }

    /// Ends a pod. Its Service hears of it later, as in a cluster.
    async fn remove(&mut self, at: usize) {
        let pod = self.pods.remove(at);
        pod.process.signal(Signal::TERM);
        pod.process.log_line("draining: not ready, still accepting").await;
        self.service.set(&self.pods);
        self.leaving.push(pod);
    }

    /// `kubectl scale`.
    async fn scale(&mut self, replicas: usize, version: &str) {
        while self.pods.len() < replicas {
            self.add(version).await;
        }
        while self.pods.len() > replicas {
            self.remove(self.pods.len() - 1).await;
        }
    }

    /// `kubectl set image` and `rollout undo`, by maxSurge 1 and maxUnavailable 0.
    async fn update(&mut self, version: &str) {
        let rolling = &self.deployment["spec"]["strategy"]["rollingUpdate"];
        let numbers = ["maxSurge", "maxUnavailable"].map(|key| text(&rolling[key]));
        assert_eq!(numbers, ["1", "0"]);
        for _ in 0..self.pods.len() {
            self.add(version).await;
            self.remove(0).await;
        }
    }

    /// Every pod that was told to leave has left as it should.
    async fn left(&mut self) {
        for mut pod in self.leaving.drain(..) {
            assert_eq!(pod.process.wait_exit(DEADLINE).await.code, 0, "{}", pod.name);
        }
    }

    fn names(&self) -> BTreeSet<String> {
        self.pods.iter().map(|pod| pod.name.clone()).collect()
    }

    fn url(&self) -> String {
        format!("http://{}", self.service.address)
    }
}

/// Requests, each on a connection of its own, until it is asked how many there were and how many failed.
struct Load {
    ends: Arc<AtomicBool>,
    task: JoinHandle<(u32, Vec<String>)>,
}

impl Load {
    fn start(url: String) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let task = tokio::spawn(async move {
            let (mut sent, mut failed) = (0, Vec::new());
            while !ended.load(Ordering::Relaxed) {
                sent += 1;
                let client = http_client::client(DEADLINE).expect("the client builds");
                match client.get(&url).send().await {
                    Ok(answer) if answer.status() == 200 => {}
                    other => failed.push(format!("{other:?}")),
                }
            }
            (sent, failed)
        });
        Self { ends, task }
    }

    async fn expect_none_failed(self) {
        self.ends.store(true, Ordering::Relaxed);
        let (sent, failed) = self.task.await.expect("it ends");
        assert!(sent >= 20, "{sent} requests are no load");
        assert!(failed.is_empty(), "of {sent}: {failed:?}");
    }
}

fn page(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).expect("it is there")
}

/// A `$ ` line of a page, the heading that it stands below, and what the page prints under it.
#[derive(Debug)]
struct Shown {
    heading: String,
    command: String,
    printed: String,
}

fn console(page: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let (mut heading, mut inside) = (String::new(), false);
    for line in page.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match line.strip_prefix("$ ") {
                Some(command) => all.push(Shown {
                    heading: heading.clone(),
                    command: command.to_owned(),
                    printed: String::new(),
                }),
                None => {
                    let shown = all.last_mut().expect("a command comes first");
                    shown.printed.push_str(line);
                    shown.printed.push('\n');
                }
            },
            (false, line) => {
                if let Some(title) = line.strip_prefix("## ") {
                    title.clone_into(&mut heading);
                }
            }
        }
    }
    all
}

/// Runs a page's lines with the Service's URL for the one that the page has.
fn shell(lines: &str, url: &str) -> (String, String) {
    let lines = lines.replace("http://localhost:30001", url).replace("$URL", url);
    let output = Command::new("bash")
        .args(["-c", &format!("set -o pipefail\n{lines}")])
        .output()
        .expect("bash runs");
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
    assert!(output.status.success(), "{lines}: {stderr}");
    (stdout, stderr)
}

impl Shown {
    /// Runs it: the status and the body are those of the page.
    fn expect(&self, url: &str) {
        let command = self
            .command
            .replacen("curl ", "curl -sS -w '%{stderr}%{http_code}' ", 1);
        let (stdout, status) = shell(&command, url);
        assert_eq!(without_time(&stdout), without_time(&self.printed), "{}", self.command);
        let body = serde_json::from_str::<serde_json::Value>(&self.printed).ok();
        let expected = body.and_then(|body| body["status"].as_u64()).unwrap_or(200);
        assert_eq!(status, expected.to_string(), "{}", self.command);
    }
}

/// The digits of a timestamp are 0.
fn without_time(body: &str) -> String {
    let Some((before, rest)) = body.split_once("\"timestamp\":\"") else {
        return body.to_owned();
    };
    let (time, after) = rest.split_once('"').expect("it ends");
    let time = time.replace(|c: char| c.is_ascii_digit(), "0");
    format!("{before}\"timestamp\":\"{time}\"{after}")
}

/// What follows `start` in the lines of a page, in their order.
fn after<'a>(page: &'a str, start: &str) -> Vec<&'a str> {
    let rest = page
        .lines()
        .filter_map(|line| line.split_once(start))
        .map(|(_, rest)| rest);
    rest.filter_map(|rest| rest.split_whitespace().next()).collect()
}

/// The version that is stamped into the image of this name, by the page's `docker tag` line.
fn version_of(page: &str, image: &str) -> String {
    let end = format!(" {image}");
    let line = page.lines().find_map(|line| {
        let line = line.split(" #").next().unwrap_or(line).trim_end();
        line.strip_prefix("docker tag ml-inference:")?.strip_suffix(&end)
    });
    line.unwrap_or_else(|| panic!("no line makes {image}")).to_owned()
}

/// `docker build … --build-arg MODEL_VERSION=V … -t IMAGE` and `docker tag` say the same.
fn built_versions(page: &str) -> Vec<(String, String)> {
    let builds = page.lines().filter(|line| line.starts_with("docker build "));
    let word_after = |line: &str, start: &str| {
        let (_, rest) = line.split_once(start)?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    builds
        .filter_map(|line| Some((word_after(line, " -t ")?, word_after(line, "MODEL_VERSION=")?)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_6_answers_as_its_page_says_at_every_scale() {
    if left_out() {
        return;
    }
    let page = page(LAB6);
    let objects = render("deploy/lab6");
    let deployment = find(&objects, "Deployment", "mlops-deployment");
    let version = version_of(&page, &text(&container(deployment)["image"]));
    let mut system = System::start(&objects, "mlops-deployment", "mlops-service", &version).await;
    assert_eq!(system.pods.len(), 2, "the lab begins with two");

    let shown = console(&page);
    assert!(shown.len() >= 4, "{shown:?}");
    for shown in &shown {
        shown.expect(&system.url());
    }

    let load = Load::start(system.url() + "/health");
    let scales = after(&page, "kubectl scale deployment mlops-deployment --replicas=");
    assert_eq!(scales, ["4", "1", "3", "2"], "Part E of the lab");
    for scale in scales {
        let replicas = scale.parse().expect("a number");
        system.scale(replicas, &version).await;
        if replicas == 3 {
            expect_spread(&page, &system);
        }
    }
    load.expect_none_failed().await;
    system.left().await;
}

/// The two loops of Part E: ten answers, by several pods.
fn expect_spread(page: &str, system: &System) {
    let blocks = page.split("```bash\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("\n```").next());
    let loops: Vec<&str> = blocks.filter(|block| block.starts_with("for i in {1..10}")).collect();
    assert_eq!(loops.len(), 2, "{loops:?}");
    let (timestamps, _) = shell(loops[0], &system.url());
    assert_eq!(timestamps.matches("\"timestamp\":").count(), 10, "{timestamps}");
    let (counts, _) = shell(loops[1], &system.url());
    let mut pods = BTreeSet::new();
    let mut answers = 0;
    for line in counts.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words.len(), words[1]), (3, "x-served-by:"), "{line}");
        answers += words[0].parse::<u32>().expect("a number");
        pods.insert(words[2].to_owned());
    }
    assert_eq!(answers, 10, "{counts}");
    assert!(pods.len() > 1 && pods.is_subset(&system.names()), "{counts}");
}

/// Troubleshooting: what `kubectl logs` shows of a start that fails.
#[tokio::test]
async fn a_wrong_setting_of_lab_6_is_named_as_its_page_says() {
    let page = page(LAB6);
    let value = after(&page, "kubectl set env deployment/mlops-deployment SERVICE_PORT=");
    let objects = render("deploy/lab6");
    let container = container(find(&objects, "Deployment", "mlops-deployment"));
    let mut environment = environment(container, "mlops-deployment-1");
    environment.insert("SERVICE_PORT".to_owned(), value[0].to_owned());
    let finished = Process::start(binary("ml-inference"), environment)
        .wait_exit(DEADLINE)
        .await;
    assert_eq!(finished.code, 78, "{finished:?}");
    let (_, printed) = page.split_once("```text\n").expect("it shows what is printed");
    assert!(printed.starts_with(&(finished.stderr.clone() + "```")), "{finished:?}");
}

/// The lab's `deployment.yaml` as the lab prints it: its variables, one of which is no setting of ours.
#[tokio::test]
async fn the_variables_of_lab_6_as_it_prints_them_do_no_harm() {
    let environment = [("FLASK_ENV", "development"), ("SERVICE_PORT", "5001")];
    let mut check = Process::start_with(binary("ml-inference"), &["--check"], environment);
    let finished = check.wait_exit(DEADLINE).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (0, "ok\n"), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lesson_01_answers_as_its_page_says_through_scaling_update_and_undo() {
    if left_out() {
        return;
    }
    let page = page(LESSON01);
    let objects = render("deploy/lesson01/ml-api");
    let image = text(&container(find(&objects, "Deployment", "ml-api"))["image"]);
    let updated = after(&page, "kubectl set image deployment/ml-api ml-api=");
    let [before, after_update] = [image.as_str(), updated[0]].map(|image| version_of(&page, image));
    let built = built_versions(&page);
    for (image, version) in [(image.as_str(), &before), (updated[0], &after_update)] {
        assert!(built.contains(&(image.to_owned(), version.clone())), "{built:?}");
    }
    let mut system = System::start(&objects, "ml-api", "ml-api-service", &before).await;
    assert_eq!(system.pods.len(), 3, "the lesson begins with three");

    let shown = console(&page);
    let below = |heading: &'static str| shown.iter().filter(move |shown| shown.heading.starts_with(heading));
    for shown in below("Step 5") {
        shown.expect(&system.url());
    }
    let load = Load::start(system.url() + "/predict");
    let scales = after(&page, "kubectl scale deployment ml-api --replicas=");
    assert_eq!(scales, ["5", "3"], "Step 6 of the lesson");
    for scale in scales {
        system.scale(scale.parse().expect("a number"), &before).await;
    }
    let versions = [&after_update, &before];
    let answers: Vec<&Shown> = below("Step 7").collect();
    assert_eq!(answers.len(), versions.len(), "updated, and undone");
    for (version, shown) in versions.into_iter().zip(answers) {
        system.update(version).await;
        shown.expect(&system.url());
    }
    load.expect_none_failed().await;
    system.left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_models_of_lesson_01_answer_through_one_gateway() {
    if left_out() {
        return;
    }
    let page = page(LESSON01);
    let objects = render("deploy/lesson01/several-models");
    let version = version_of(
        &page,
        &text(&container(find(&objects, "Deployment", "ml-models"))["image"]),
    );
    let one = System::start(&objects, "ml-api", "ml-api-service", &version).await;
    let many = System::start(&objects, "ml-models", "ml-models-service", &version).await;

    // The names of the Services lead to their addresses.
    let mut document = text(&find(&objects, "ConfigMap", "gateway-config")["data"]["gateway.yaml"]);
    for (name, system) in [("ml-api-service:80", &one), ("ml-models-service:80", &many)] {
        let cluster = format!("- name: {name}\n");
        assert_eq!(document.matches(&cluster).count(), 1, "{document}");
        let endpoint = format!("{cluster}    endpoints: [\"{}\"]\n", system.service.address);
        document = document.replace(&cluster, &endpoint);
    }
    let scratch = Scratch::new("several-models");
    let file = scratch.file("gateway.yaml", document);
    let container = container(find(&objects, "Deployment", "api-gateway"));
    let mut environment = environment(container, "api-gateway-1");
    let ip = own_address();
    let listen = format!("{ip}:{}", text(&list(&container["ports"])[0]["containerPort"]));
    environment.insert("CONFIG_FILE".to_owned(), file.display().to_string());
    environment.insert("LISTEN_ADDRESS".to_owned(), listen.clone());
    environment.insert("ADMIN_ADDRESS".to_owned(), format!("{ip}:9090"));
    let gateway = Process::start(binary("gateway"), environment);
    assert_eq!(gateway.listening().await.to_string(), listen);

    let shown = console(&page);
    let shown: Vec<&Shown> = shown.iter().filter(|shown| shown.heading == "Several models").collect();
    assert!(shown.len() >= 6, "{shown:?}");
    for shown in shown {
        shown.expect(&format!("http://{listen}"));
    }
}

/// No answer on the two pages is left out above.
#[test]
fn every_answer_of_the_courses_stands_where_a_test_runs_it() {
    let lab6: BTreeSet<String> = console(&page(LAB6)).into_iter().map(|shown| shown.heading).collect();
    assert_eq!(lab6, BTreeSet::from(["Part D: deploy".to_owned()]));
    let lesson: Vec<String> = console(&page(LESSON01))
        .into_iter()
        .map(|shown| shown.heading)
        .collect();
    let known = ["Step 5: test", "Step 7: update, and back", "Several models"];
    assert!(
        lesson.iter().all(|heading| known.contains(&heading.as_str())),
        "{lesson:?}"
    );
}

/// Containers and images that the pages name are those of the files.
#[test]
fn the_pages_name_containers_of_the_files() {
    for (page_path, file, deployment) in [
        (LAB6, "deploy/lab6/k8s/deployment.yaml", "mlops-deployment"),
        (LESSON01, "deploy/lesson01/ml-api/deployment.yaml", "ml-api"),
    ] {
        let page = page(page_path);
        let objects = load(&repository().join(file));
        let container = container(find(&objects, "Deployment", deployment));
        let name = text(&container["name"]);
        let images = after(&page, &format!("kubectl set image deployment/{deployment} "));
        assert!(!images.is_empty(), "{page_path}");
        for image in images {
            assert!(
                image.starts_with(&format!("{name}=")),
                "{page_path}: {image}, not {name}=…"
            );
        }
        for target in after(&page, "--target=") {
            assert_eq!(target, name, "{page_path}");
        }
        let never_pulled = text(&container["imagePullPolicy"]);
        assert_eq!(never_pulled, "Never", "the courses' policy");
        let image = text(&container["image"]);
        assert!(
            page.contains(&format!("minikube image load {image}")),
            "{page_path}: {image}"
        );
    }
}
