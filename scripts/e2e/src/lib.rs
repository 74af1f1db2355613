//! Both services as they run together: real processes, real sockets.
//!
//! The tests under `tests/` are the only users. Run them with `./scripts/test.sh`, or with
//! `cargo nextest run --workspace`, which builds the binaries they start.

pub mod autoscaling;
pub mod manifests;

use std::net::SocketAddr;
use std::path::PathBuf;

use shared::http_client;
use shared::test_util::{DEADLINE, Finished, Process, Scratch, Signal, eventually};

/// A binary of this workspace, in the profile of the running test.
///
/// # Panics
/// When it was not built.
pub fn binary(name: &str) -> PathBuf {
    // target/<profile>/deps/<test> -> target/<profile>/<binary>
    let test = std::env::current_exe().expect("a running test has a path");
    let directory = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("a test lies in target/<profile>/deps");
    let path = directory.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace` first",
        path.display()
    );
    path
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The program of this name in PATH.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|directory| directory.join(name));
    candidates.find(|candidate| candidate.is_file())
}

/// Gives true when a test is left out because this tool is not installed. With REQUIRE_ALL, that is a failure.
///
/// # Panics
/// When the tool is missing and REQUIRE_ALL is set.
pub fn is_missing(tool: &str) -> bool {
    is_left_out(installed(tool).is_none(), &format!("{tool} is missing"))
}

/// The same for anything else that a test needs.
///
/// # Panics
/// When it is left out and REQUIRE_ALL is set.
pub fn is_left_out(left_out: bool, reason: &str) -> bool {
    let required = std::env::var_os("REQUIRE_ALL").is_some_and(|value| !value.is_empty());
    assert!(!(left_out && required), "{reason}");
    left_out
}

/// One ml-inference process.
#[derive(Debug)]
pub struct Replica {
    pub process: Process,
    pub address: SocketAddr,
}

impl Replica {
    /// Starts a replica on `port` of 127.0.0.1, 0 for a free one, and waits until it is ready.
    pub async fn start(pod: &str, model_version: &str, port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self::start_at(address, pod, model_version, "0.5").await
    }

    /// The same on an address of the test's choice, with so many seconds between SIGTERM and the last request accepted.
    pub async fn start_at(address: SocketAddr, pod: &str, model_version: &str, drain_window: &str) -> Self {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        Self::start_with(&[
            ("BIND_ADDRESS", &host),
            ("SERVICE_PORT", &port),
            ("POD_NAME", pod),
            ("MODEL_VERSION", model_version),
            ("DRAIN_WINDOW", drain_window),
        ])
        .await
    }

    /// The same with these settings, on a free port where they name none.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let usual = [
            ("BIND_ADDRESS", "127.0.0.1"),
            ("SERVICE_PORT", "0"),
            ("ADMIN_ADDRESS", "127.0.0.1:0"),
        ];
        let process = Process::start(binary("ml-inference"), usual.iter().chain(settings).copied());
        let address = process.listening().await;
        let replica = Self { process, address };
        let client = http_client::client(DEADLINE).expect("the client builds");
        eventually("the replica is ready", DEADLINE, async || {
            let readiness = client.get(format!("http://{address}/readyz")).send().await;
            readiness.is_ok_and(|response| response.status() == 200)
        })
        .await;
        replica
    }

    /// Ends it as Kubernetes does and waits for the end.
    pub async fn stop(mut self) -> Finished {
        self.process.signal(Signal::TERM);
        self.process.wait_exit(DEADLINE).await
    }
}

/// The lab: a gateway in front of replicas, with the default routes.
#[derive(Debug)]
pub struct Pair {
    pub gateway: Process,
    pub address: SocketAddr,
    pub replicas: Vec<Replica>,
    pub client: reqwest::Client,
    _scratch: Scratch,
}

impl Pair {
    pub async fn start(replicas: usize) -> Self {
        let mut started = Vec::new();
        for number in 1..=replicas {
            started.push(Replica::start(&format!("ml-inference-{number}"), "1.0", 0).await);
        }
        Self::in_front_of(started).await
    }

    pub async fn in_front_of(started: Vec<Replica>) -> Self {
        let scratch = Scratch::new("pair");
        let endpoints: Vec<String> = started
            .iter()
            .map(|replica| format!("\"{}\"", replica.address))
            .collect();
        let yaml = format!(
            "clusters: [{{ name: \"ml-inference-service:5000\", endpoints: [{}] }}]\n",
            endpoints.join(", ")
        );
        let file = scratch.file("gateway.yaml", yaml);
        let environment = [
            ("CONFIG_FILE", file.to_str().expect("UTF-8")),
            ("LISTEN_ADDRESS", "127.0.0.1:0"),
            ("ADMIN_ADDRESS", "127.0.0.1:0"),
            ("DRAIN_WINDOW", "0.5"),
        ];
        let gateway = Process::start(binary("gateway"), environment);
        let address = gateway.listening().await;
        Self {
            gateway,
            address,
            replicas: started,
            client: http_client::client(DEADLINE).expect("the client builds"),
            _scratch: scratch,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.expect("an answer")
    }

    pub async fn post(&self, path: &str, body: &'static str) -> reqwest::Response {
        self.client
            .post(self.url(path))
            .body(body)
            .send()
            .await
            .expect("an answer")
    }
}
