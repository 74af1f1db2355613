//! Settings in ConfigMaps: the log level in shared-config, and an invalid file in gateway-config. Both are put back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use crate::cluster::{Cluster, Kubectl, KubectlError};
use crate::demo::{Demonstration, Options, begin_load, step};
use crate::environment::seconds;
use crate::error::{Error, StepError};
use crate::load::Loads;
use crate::terminal::{note, warn};
use crate::wait::within;
use crate::workspace::Workspace;

const A_SECOND: Duration = Duration::from_secs(1);
/// The time within which a kubelet brings a change to its pods.
const KUBELET_SECONDS: (&str, f64) = ("KUBELET_SECONDS", 150.0);

/// Log messages of a gateway for settings that it takes up, and for those that it rejects.
const CHANGED: &str = "settings changed";
const REJECTED: &str = "changed settings rejected";

pub(super) struct OnCluster {
    options: Options,
    workspace: Workspace,
    cluster: Option<Cluster>,
    /// Values that are to be put back.
    level_before: Option<String>,
    file_before: Option<PathBuf>,
}

impl OnCluster {
    pub(super) fn new(options: Options) -> Result<Self, Error> {
        Ok(Self {
            options,
            workspace: Workspace::create().map_err(StepError::File)?,
            cluster: None,
            level_before: None,
            file_before: None,
        })
    }
}

impl Demonstration for OnCluster {
    async fn run(&mut self, loads: &mut Loads) -> Result<(), Error> {
        let cluster = self.cluster.insert(Cluster::enter(&self.options.place).await?);
        let workspace = &self.workspace;
        let level = ["get", "configmap", "shared-config", "-o", "jsonpath={.data.LOG_LEVEL}"];
        let level = cluster.kubectl.read(&level).await?;
        if level == "debug" {
            let namespace = cluster.namespace.clone();
            return Err(StepError::DebugAlready { namespace }.into());
        }
        let file = [
            "get",
            "configmap",
            "gateway-config",
            "-o",
            "jsonpath={.data.gateway\\.yaml}",
        ];
        let file = cluster.kubectl.read(&file).await?;
        let file = workspace.write("gateway.yaml", &file).map_err(StepError::File)?;
        let broken = workspace
            .write("broken.yaml", "clusters: [\n")
            .map_err(StepError::File)?;
        begin_load(loads, "reload", &self.options.requests(&cluster.url))?;
        sleep(A_SECOND).await;

        step(loads, &format!("log level: {level} -> debug"))?;
        self.level_before = Some(level.clone());
        everywhere(cluster, CHANGED, async || set_level(&cluster.kubectl, "debug").await).await?;
        step(loads, "a broken file")?;
        self.file_before = Some(file.clone());
        let break_file = async || set_file(&cluster.kubectl, workspace, &broken).await;
        everywhere(cluster, REJECTED, break_file).await?;
        step(loads, "back")?;
        let put_back = async || {
            set_file(&cluster.kubectl, workspace, &file).await?;
            self.file_before = None;
            set_level(&cluster.kubectl, &level).await?;
            self.level_before = None;
            Ok(())
        };
        everywhere(cluster, CHANGED, put_back).await
    }

    async fn undo(&mut self) -> Result<(), Error> {
        let Some(cluster) = &self.cluster else {
            return Ok(());
        };
        let kubectl = cluster.kubectl.aside();
        if let Some(file) = self.file_before.take() {
            warn("putting gateway-config back");
            set_file(&kubectl, &self.workspace, &file).await?;
        }
        if let Some(level) = self.level_before.take() {
            warn("putting LOG_LEVEL back");
            set_level(&kubectl, &level).await?;
        }
        Ok(())
    }
}

/// Makes a change, and waits until every gateway pod has logged the text.
async fn everywhere(
    cluster: &Cluster,
    text: &'static str,
    change: impl AsyncFnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let since = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    change().await?;
    nudge(cluster).await?;
    let patience = seconds(KUBELET_SECONDS);
    // The kubelet rotates a log that grows fast, and then shows only its newest part: what was seen once is not looked for again.
    let mut seen = BTreeSet::new();
    let logged = async || all_log(cluster, &since, text, &mut seen).await.unwrap_or(false);
    if !within(patience, logged).await {
        let seconds = patience.as_secs();
        return Err(StepError::NotEverywhere { text, seconds }.into());
    }
    note(format_args!("every gateway pod: {text}"));
    Ok(())
}

/// A change of a pod makes the kubelet look at its volumes at once instead of within a minute or so.
async fn nudge(cluster: &Cluster) -> Result<(), KubectlError> {
    let looked_at = format!("mlops-lab/looked-at={}", Timestamp::now().as_second());
    let both = "app in (api-gateway, ml-inference)";
    let annotate = ["annotate", "pods", "-l", both, &looked_at, "--overwrite"];
    cluster.kubectl.run_silently(&annotate).await
}

/// Gives true when every gateway pod has logged the text since then. `seen` has those that have.
async fn all_log(
    cluster: &Cluster,
    since: &str,
    text: &str,
    seen: &mut BTreeSet<String>,
) -> Result<bool, KubectlError> {
    let names = "jsonpath={.items[*].metadata.name}";
    let pods = cluster
        .kubectl
        .read(&["get", "pods", "-l", "app=api-gateway", "-o", names])
        .await?;
    for pod in pods
        .split_whitespace()
        .filter(|pod| !seen.contains(*pod))
        .collect::<Vec<_>>()
    {
        let log = cluster.kubectl.read(&["logs", pod, "--since-time", since]).await?;
        if log.contains(text) {
            seen.insert(pod.to_owned());
        }
    }
    Ok(!pods.is_empty() && pods.split_whitespace().all(|pod| seen.contains(pod)))
}

async fn set_level(kubectl: &Kubectl, level: &str) -> Result<(), Error> {
    let patch = format!("{{\"data\":{{\"LOG_LEVEL\":\"{level}\"}}}}");
    let patch = ["patch", "configmap", "shared-config", "--type", "merge", "-p", &patch];
    Ok(kubectl.run(&patch).await?)
}

/// Makes a file the gateway.yaml of the ConfigMap.
async fn set_file(kubectl: &Kubectl, workspace: &Workspace, file: &Path) -> Result<(), Error> {
    let from = format!("gateway.yaml={}", file.display());
    let render = [
        "create",
        "configmap",
        "gateway-config",
        "--from-file",
        &from,
        "--dry-run=client",
        "-o",
        "json",
    ];
    let rendered = kubectl.read(&render).await?;
    let rendered = workspace
        .write("gateway-config.json", &rendered)
        .map_err(StepError::File)?;
    let rendered = rendered.display().to_string();
    let patch = [
        "patch",
        "configmap",
        "gateway-config",
        "--type",
        "merge",
        "--patch-file",
        &rendered,
    ];
    Ok(kubectl.run(&patch).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_log_what_the_demonstration_waits_for() {
        let taken_up = include_str!("../../../../../shared/src/reload/progress.rs");
        assert!(taken_up.contains(&format!("\"{CHANGED}\"")), "{CHANGED}");
        let rejected = include_str!("../../../../../shared/src/reload/reloader.rs");
        assert!(rejected.contains(&format!("\"{REJECTED};")), "{REJECTED}");
    }
}
