//! up.sh with the real services, and load on them.

use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{binary, repository};
use shared::http_client;
use shared::test_util::{DEADLINE, Finished, Process, Scratch, Signal, eventually};

/// A service takes a moment to start on a busy machine, and half a minute at most.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running pair. Each test has ports of its own, from a block that no other test and no other pair takes.
struct Up {
    script: Process,
    ports: Ports,
    client: reqwest::Client,
}

#[derive(Clone, Copy)]
struct Ports {
    gateway: u16,
    replicas: u16,
}

impl Ports {
    const fn block(first: u16) -> Self {
        Self {
            gateway: first,
            replicas: first + 20,
        }
    }

    fn arguments(self) -> Vec<String> {
        let binaries = binaries().display().to_string();
        let ports = [self.gateway, self.replicas].map(|port| port.to_string());
        let [gateway, replicas] = ports;
        ["--bin-dir", &binaries, "--port", &gateway, "--ml-port", &replicas]
            .map(str::to_owned)
            .to_vec()
    }
}

fn binaries() -> PathBuf {
    let gateway = binary("gateway");
    gateway.parent().expect("a binary lies in a directory").to_owned()
}

fn script(name: &str, arguments: &[String], variables: &[(&str, &str)]) -> Process {
    let mut command = Command::new(repository().join("scripts").join(name));
    command
        .args(arguments)
        .env("LAB", binary("lab"))
        .env("LOAD_TEST", binary("load-test"))
        .env("NO_COLOR", "1")
        .envs(variables.iter().copied());
    Process::spawn(command).expect("the script starts")
}

fn is_in_use(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

impl Up {
    async fn start(ports: Ports, more: &[&str]) -> Self {
        let mut arguments = ports.arguments();
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let up = Self {
            script: script("up.sh", &arguments, &[]),
            ports,
            client: http_client::client(DEADLINE).expect("the client builds"),
        };
        up.says("Ctrl-C ends it").await;
        up
    }

    async fn says(&self, text: &str) {
        eventually(text, READY_WITHIN, async || self.script.output().contains(text)).await;
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.gateway)
    }

    async fn predict(&self) -> String {
        let response = self.client.get(self.url("/predict")).send().await.expect("an answer");
        response.text().await.expect("a body")
    }

    /// Kills one of the replicas, which are the script's children.
    fn kill_a_replica(&self) {
        let find_and_kill = format!(
            "for stat in /proc/[0-9]*/stat; do
               read -r pid name state parent rest <$stat || continue
               [ \"$name $parent\" != '(ml-inference) {}' ] || {{ kill -KILL $pid; exit; }}
             done 2>/dev/null
             kill -KILL $(pgrep -o -P {} ml-inference)",
            self.script.id(),
            self.script.id()
        );
        let killed = Command::new("bash")
            .args(["-c", &find_and_kill])
            .status()
            .expect("bash runs");
        assert!(killed.success(), "no replica is killed");
    }

    async fn end(&mut self, signal: Signal) -> Finished {
        self.script.signal(signal);
        self.script.wait_exit(READY_WITHIN).await
    }
}

/// A test that fails leaves no pair behind, which would keep its ports.
impl Drop for Up {
    fn drop(&mut self) {
        if !self.script.is_running() {
            return;
        }
        self.script.signal(Signal::TERM);
        let deadline = Instant::now() + DEADLINE;
        while self.script.is_running() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn it_runs_the_pair_readable_and_says_what_to_try_and_ctrl_c_ends_every_process_cleanly() {
    let ports = Ports::block(31000);
    let mut up = Up::start(ports, &[]).await;
    let line = "{\"predictions\": [2.5, 3.0, 4.5], \"model\": \"half_plus_two\", \"version\": \"1.0\"}\n";
    assert_eq!(up.predict().await, line);
    let output = up.script.output();
    let to_try = format!("    curl {}", up.url("/predict"));
    assert!(
        output.lines().any(|line| line == to_try),
        "it does not say what to curl: {output}"
    );
    for name in ["ml-inference-2", "gateway"] {
        let readable = output.lines().any(|line| line.starts_with(&format!("{name:<14} | ")));
        assert!(readable, "no readable line of {name}: {output}");
    }

    let again = script("up.sh", &ports.arguments(), &[]).wait_exit(DEADLINE).await;
    assert_eq!(again.code, 1, "{again:?}");
    let taken = format!("port {} of 127.0.0.1 is already in use", ports.replicas);
    assert!(again.stderr.contains(&taken), "{again:?}");

    let ended = up.end(Signal::INT).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("stopping"), "{ended:?}");
    for port in [ports.gateway, ports.replicas, ports.replicas + 1] {
        assert!(!is_in_use(port), "port {port} is still taken");
    }
}

#[tokio::test]
async fn load_with_get_and_post_by_pod_and_version_statuses_and_nothing_there() {
    let mut up = Up::start(Ports::block(31100), &[]).await;
    let scratch = Scratch::new("up");
    let report = |name: &str| scratch.path().join(name).display().to_string();
    let load = async |url: &str, options: &str| {
        let mut arguments = vec!["--url".to_owned(), url.to_owned()];
        arguments.extend(options.split_whitespace().map(str::to_owned));
        arguments.extend(["--json", &report("report.json"), "--html", &report("report.html")].map(str::to_owned));
        script("load-test.sh", &arguments, &[]).wait_exit(READY_WITHIN).await
    };
    let last = |finished: &Finished| finished.stdout.lines().last().map(str::to_owned);

    let get = load(&up.url("/predict"), "--duration 2s --rate 200 --connections 8").await;
    assert_eq!(
        (get.code, last(&get).as_deref()),
        (0, Some("failed requests: 0 of 400")),
        "{get:?}"
    );
    let saved = format!("saved: {}", report("report.html"));
    for text in ["ml-inference-1 (1.0)", "ml-inference-2 (1.0)", &saved] {
        assert!(get.stdout.contains(text), "{text}: {get:?}");
    }
    let body = scratch.file("body.json", "{\"instances\": [1.0, 2.0, 5.0]}\n");
    let post = load(
        &up.url("/predict"),
        &format!("--duration 1s --rate 50 --post {}", body.display()),
    )
    .await;
    assert_eq!(post.code, 0, "{post:?}");
    let wrong = load(&up.url("/nowhere"), "--duration 1s --rate 50").await;
    assert_eq!(
        (wrong.code, last(&wrong).as_deref()),
        (1, Some("failed requests: 50 of 50")),
        "{wrong:?}"
    );
    assert!(wrong.stdout.contains("status 404"), "{wrong:?}");
    let nothing = load("http://127.0.0.1:31199/", "--duration 1s").await;
    assert_eq!(nothing.code, 3, "{nothing:?}");
    for text in ["nothing answers at http://127.0.0.1:31199/", "scripts/up.sh"] {
        assert!(nothing.stderr.contains(text), "{text}: {nothing:?}");
    }

    assert_eq!(up.end(Signal::TERM).await.code, 0);
}

#[tokio::test]
async fn a_replica_that_dies_leaves_the_others() {
    let mut up = Up::start(Ports::block(31200), &[]).await;
    up.kill_a_replica();
    up.says("ended by itself with status 137").await;
    assert!(
        up.predict().await.contains("predictions"),
        "the other replica does not answer"
    );
    assert_eq!(up.end(Signal::INT).await.code, 0);
}

#[tokio::test]
async fn a_process_that_dies_is_named_and_the_last_one_ends_it() {
    let mut up = Up::start(Ports::block(31300), &["--replicas", "1", "--model-version", "2.0"]).await;
    let answer = up.predict().await;
    assert!(
        answer.contains("\"version\": \"2.0\""),
        "--model-version is not answered: {answer}"
    );
    up.kill_a_replica();
    let ended = up.script.wait_exit(READY_WITHIN).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.stderr.contains("ml-inference-1 ended by itself with status 137"),
        "{ended:?}"
    );
    assert!(!is_in_use(up.ports.gateway), "the gateway is still there");
}

#[tokio::test]
async fn a_service_that_refuses_its_settings_is_reported() {
    let arguments = Ports::block(31400).arguments();
    let mut up = script("up.sh", &arguments, &[("BATCH_SIZE", "many")]);
    let ended = up.wait_exit(READY_WITHIN).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let output = format!("{}{}", ended.stdout, ended.stderr);
    for text in ["BATCH_SIZE", "ended by itself with status 78: a setting is wrong"] {
        assert!(output.contains(text), "{text}: {output}");
    }
}
