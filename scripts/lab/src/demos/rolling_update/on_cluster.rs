//! A rolling update of deployments: new images, waited for, and undone.

use super::loads;
use super::options::Options;
use crate::cluster::Cluster;
use crate::demo::{Demonstration, expect_version, step, versions_now};
use crate::error::{Error, StepError};
use crate::load::Loads;
use crate::terminal::warn;

/// A deployment that is updated.
#[derive(Debug, Clone)]
struct Target {
    deployment: &'static str,
    container: &'static str,
    image: String,
    /// The option that names another image.
    option: &'static str,
}

pub(super) struct OnCluster {
    options: Options,
    cluster: Option<Cluster>,
    /// Deployments that run the new image.
    updated: Vec<Target>,
}

impl OnCluster {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            cluster: None,
            updated: Vec::new(),
        }
    }

    fn targets(&self) -> Vec<Target> {
        let model = Target {
            deployment: "ml-inference",
            container: "ml-model",
            image: self.options.image.clone(),
            option: "--image",
        };
        let gateway = Target {
            deployment: "api-gateway",
            container: "gateway",
            image: self.options.gateway_image.clone(),
            option: "--gateway-image",
        };
        let what = self.options.what;
        let model = what.includes_model().then_some(model);
        model
            .into_iter()
            .chain(what.includes_gateway().then_some(gateway))
            .collect()
    }
}

impl Demonstration for OnCluster {
    async fn run(&mut self, loads: &mut Loads) -> Result<(), Error> {
        let targets = self.targets();
        let cluster = self.cluster.insert(Cluster::enter(&self.options.common.place).await?);
        let images = image_changes(cluster, &targets).await?;
        let updates_model = self.options.what.includes_model();
        let version_before = match updates_model {
            true => only_version(cluster).await?,
            false => String::new(),
        };
        loads::begin(loads, &self.options, &cluster.url)?;

        step(loads, &format!("v1 -> v2: {images}"))?;
        for target in &targets {
            self.updated.push(target.clone());
            set_image(cluster, target).await?;
        }
        all_settled(cluster, &targets).await?;
        if updates_model {
            expect_version(&cluster.probe, &cluster.url, &self.options.version).await?;
        }

        step(loads, "undo")?;
        for target in &targets {
            let undo = ["rollout", "undo", &format!("deployment/{}", target.deployment)];
            cluster.kubectl.run(&undo).await?;
        }
        self.updated.clear();
        all_settled(cluster, &targets).await?;
        if updates_model {
            expect_version(&cluster.probe, &cluster.url, &version_before).await?;
        }
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), Error> {
        let Some(cluster) = &self.cluster else {
            return Ok(());
        };
        let mut undone = Ok(());
        for Target { deployment, .. } in self.updated.drain(..) {
            warn(format_args!("undoing the update of {deployment}"));
            let undo = ["rollout", "undo", &format!("deployment/{deployment}")];
            // The other one is undone all the same.
            undone = cluster.kubectl.aside().run(&undo).await.and(undone);
        }
        Ok(undone?)
    }
}

/// "old -> new" of each; fails when there is nothing to update to.
async fn image_changes(cluster: &Cluster, targets: &[Target]) -> Result<String, Error> {
    let mut changes = Vec::new();
    for target in targets {
        let Target {
            deployment,
            container,
            image,
            option,
        } = target;
        let path = format!("jsonpath={{.spec.template.spec.containers[?(@.name==\"{container}\")].image}}");
        let before = cluster
            .kubectl
            .read(&["get", "deployment", deployment, "-o", &path])
            .await?;
        if before == *image {
            let Cluster { context, namespace, .. } = cluster;
            let back = format!(
                "kubectl --context {context} -n {namespace} set image deployment/{deployment} {container}={deployment}:1.0"
            );
            let image = before;
            return Err(StepError::AlreadyRuns {
                deployment,
                image,
                option,
                back,
            }
            .into());
        }
        changes.push(format!("{before} -> {image}"));
    }
    Ok(changes.join(", "))
}

/// The one version that answers.
async fn only_version(cluster: &Cluster) -> Result<String, StepError> {
    let versions = versions_now(&cluster.probe, &cluster.url).await;
    if versions.is_empty() {
        let url = cluster.url.clone();
        return Err(StepError::NoVersion { url });
    }
    match versions.contains(' ') {
        true => Err(StepError::SeveralVersions(versions)),
        false => Ok(versions),
    }
}

async fn set_image(cluster: &Cluster, target: &Target) -> Result<(), Error> {
    let Target {
        deployment,
        container,
        image,
        ..
    } = target;
    let deployment = format!("deployment/{deployment}");
    let set = ["set", "image", &deployment, &format!("{container}={image}")];
    cluster.kubectl.run(&set).await?;
    let cause = format!("kubernetes.io/change-cause=Updated to {image}");
    Ok(cluster
        .kubectl
        .run(&["annotate", &deployment, &cause, "--overwrite"])
        .await?)
}

/// The rollouts of both run at the same time, whichever is waited for first.
async fn all_settled(cluster: &Cluster, targets: &[Target]) -> Result<(), Error> {
    for Target { deployment, .. } in targets {
        cluster.settled(deployment).await?;
        let history = ["rollout", "history", &format!("deployment/{deployment}")];
        cluster.kubectl.run(&history).await?;
    }
    Ok(())
}
