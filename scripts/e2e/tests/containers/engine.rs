//! The container engine, and all that a test makes with it: removed when the test lets go.

use std::cell::RefCell;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{installed, is_left_out, repository};
use shared::http_client;
use shared::test_util::Scratch;
use tokio::time::{Instant, sleep};

/// Restrictions as in deploy/: nothing writable, no capability, no way to more.
const HARDENED: [&str; 5] = [
    "--read-only",
    "--cap-drop",
    "all",
    "--security-opt",
    "no-new-privileges",
];
/// The time within which a container is found and answers.
const WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Two seconds of draining each instead of five: nine processes are stopped here, one after the other.
const DRAIN: &str = "DRAIN_WINDOW=2";

pub(crate) struct Engine {
    pub(crate) name: &'static str,
    /// The beginning of every name, so that nobody's api-gateway:1.0 is overwritten.
    pub(crate) run: String,
    pub(crate) scratch: Scratch,
    pub(crate) client: reqwest::Client,
    /// The static binaries that are packaged.
    pub(crate) binaries: PathBuf,
    variables: Vec<(&'static str, OsString)>,
    containers: RefCell<Vec<String>>,
    images: RefCell<Vec<String>>,
    networks: RefCell<Vec<String>>,
}

/// The path that a variable names, unless it is empty.
pub(crate) fn named_by(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

impl Engine {
    /// `None` when the test is left out.
    pub(crate) fn find() -> Option<Self> {
        let binaries = named_by("CONTAINER_BINARIES");
        if is_left_out(
            binaries.is_none(),
            "CONTAINER_BINARIES names no directory of static binaries",
        ) {
            return None;
        }
        let name = ["podman", "docker"].into_iter().find(|name| installed(name).is_some());
        if is_left_out(name.is_none(), "neither podman nor docker is installed") {
            return None;
        }
        let scratch = Scratch::new("containers");
        let name = name?;
        let variables = if name == "podman" {
            plain_podman(scratch.path())
        } else {
            Vec::new()
        };
        Some(Self {
            name,
            run: format!("mlops-lab-test-{}", std::process::id()),
            scratch,
            client: http_client::client(Duration::from_secs(5)).expect("the client builds"),
            binaries: binaries?,
            variables,
            containers: RefCell::default(),
            images: RefCell::default(),
            networks: RefCell::default(),
        })
    }

    /// Runs a program with the engine's settings, and gives both its streams, as an error when it fails.
    pub(crate) fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(program)
            .args(arguments)
            .envs(self.variables.iter().cloned())
            .output()
            .map_err(|error| error.to_string())?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).trim_end().to_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    /// Runs the engine.
    #[track_caller]
    pub(crate) fn call(&self, arguments: &[&str]) -> String {
        let done = self.run(self.name, arguments);
        done.unwrap_or_else(|output| panic!("{} {}: {output}", self.name, arguments.join(" ")))
    }

    /// Runs scripts/build-images.sh for an image that the test removes.
    #[track_caller]
    pub(crate) fn build_image(&self, image: &str, prebuilt: &Path, tag: &str, more: &[&str]) {
        self.will_remove_image(format!("{image}:{tag}"));
        let prebuilt = prebuilt.to_str().expect("UTF-8");
        let arguments = [
            "--engine",
            self.name,
            "--prebuilt",
            prebuilt,
            "--no-load",
            "--only",
            image,
            "--tag",
            tag,
        ];
        let script = repository().join("scripts/build-images.sh");
        let built = self.run(script, &[&arguments, more].concat());
        built.unwrap_or_else(|output| panic!("{image}:{tag} is not built: {output}"));
    }

    pub(crate) fn will_remove_image(&self, image: String) {
        self.images.borrow_mut().push(image);
    }

    #[track_caller]
    pub(crate) fn create_network(&self) {
        self.networks.borrow_mut().push(self.run.clone());
        self.call(&["network", "create", &self.run]);
    }

    /// Starts a container on the network.
    #[track_caller]
    pub(crate) fn start_container(&self, name: &str, options: &[&str], image: &str) {
        let full = format!("{}-{name}", self.run);
        self.containers.borrow_mut().push(full.clone());
        let pod_name = format!("POD_NAME={name}");
        let own = [
            "run",
            "--detach",
            "--name",
            &full,
            "--network",
            &self.run,
            "--env",
            &pod_name,
            "--env",
            DRAIN,
        ];
        self.call(&[&own[..], &HARDENED, options, &[image]].concat());
    }

    /// Ends a container in order, and gives its exit status.
    #[track_caller]
    pub(crate) fn stop_container(&self, name: &str) -> String {
        let full = format!("{}-{name}", self.run);
        self.call(&["stop", "-t", "30", &full]);
        let status = self.inspect(name, ".State.ExitCode");
        self.call(&["rm", &full]);
        status
    }

    #[track_caller]
    pub(crate) fn inspect(&self, name: &str, field: &str) -> String {
        self.call(&[
            "inspect",
            "--format",
            &format!("{{{{{field}}}}}"),
            &format!("{}-{name}", self.run),
        ])
    }

    #[track_caller]
    pub(crate) fn image_config(&self, image: &str, field: &str) -> String {
        self.call(&["image", "inspect", "--format", &format!("{{{{{field}}}}}"), image])
    }

    /// The last lines of a container's log, for a failure's message.
    pub(crate) fn logs(&self, name: &str) -> String {
        let full = format!("{}-{name}", self.run);
        self.run(self.name, &["logs", "--tail", "15", &full])
            .unwrap_or_else(|output| output)
    }

    /// Waits until a URL answers 200.
    pub(crate) async fn answers_200(&self, url: &str, container: &str) {
        let answers = async || {
            let response = self.client.get(url).send().await;
            response.is_ok_and(|response| response.status() == 200)
        };
        self.wait_for(&format!("{url} answers 200"), container, answers).await;
    }

    /// Waits for a condition; the failure to meet it shows the container's log.
    pub(crate) async fn wait_for(&self, what: &str, container: &str, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + WITHIN;
        while !condition().await {
            assert!(
                Instant::now() < deadline,
                "after {WITHIN:?} still not: {what}\n{}",
                self.logs(container)
            );
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let remove = |arguments: &[&str], names: &RefCell<Vec<String>>| {
            for name in names.take() {
                // It may be gone already, or never have come.
                let _gone = self.run(self.name, &[arguments, &[name.as_str()]].concat());
            }
        };
        remove(&["rm", "--force"], &self.containers);
        remove(&["network", "rm"], &self.networks);
        remove(&["rmi", "--force"], &self.images);
    }
}

/// A store of our own for podman as root without systemd (a CI machine, a container): what the defaults want there (systemd's cgroup
/// manager, overlay file systems, limits above our own) may not be had, and nothing is left behind.
fn plain_podman(scratch: &Path) -> Vec<(&'static str, OsString)> {
    let is_root = fs::metadata(scratch).expect("it is there").uid() == 0;
    if !is_root || Path::new("/run/systemd/system").is_dir() {
        return Vec::new();
    }
    let runtime = if installed("crun").is_some() { "crun" } else { "runc" };
    let directory = scratch.display();
    let containers = format!(
        "[containers]
default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
runtime = \"{runtime}\"
tmp_dir = \"{directory}/libpod\"
[network]
network_backend = \"netavark\"
network_config_dir = \"{directory}/networks\"
"
    );
    let storage =
        format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{directory}/graph\"\nrunroot = \"{directory}/run\"\n");
    let write = |name: &str, text: String| {
        let path = scratch.join(name);
        fs::write(&path, text).expect("writable");
        path.into_os_string()
    };
    // buildah's cache mounts
    let cache = scratch.join("cache");
    fs::create_dir(&cache).expect("writable");
    vec![
        ("CONTAINERS_CONF", write("containers.conf", containers)),
        ("CONTAINERS_STORAGE_CONF", write("storage.conf", storage)),
        ("BUILDAH_ISOLATION", "chroot".into()),
        ("TMPDIR", cache.into_os_string()),
    ]
}
