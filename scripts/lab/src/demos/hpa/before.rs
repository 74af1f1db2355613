//! The state before anything is changed.

use super::model::{self, MODEL};
use crate::cluster::Cluster;
use crate::error::{AutoscalingError, Error, Where};

#[derive(Debug)]
pub(super) struct Before {
    pub(super) replicas: u32,
    /// MODEL_NAME in shared-config; empty when it is not in there.
    pub(super) model: String,
    /// The model that answers.
    pub(super) served: String,
    /// Empty when there is none.
    pub(super) autoscaler: String,
}

impl Before {
    pub(super) async fn look(cluster: &Cluster, quick: bool) -> Result<Self, Error> {
        let replicas = cluster.replicas().await?;
        let replicas = replicas.parse().map_err(|_| AutoscalingError::NotANumber("replicas"))?;
        let model = ["get", "configmap", "shared-config", "-o", "jsonpath={.data.MODEL_NAME}"];
        let model = cluster.kubectl.read(&model).await?;
        let url = &cluster.url;
        let no_model = || AutoscalingError::NoModelNamed { url: url.clone() };
        let served = model::that_answers(cluster).await.ok_or_else(no_model)?;
        let autoscaler = cluster.autoscaler().await?;
        if quick && !autoscaler.is_empty() {
            return Err(AutoscalingError::NotQuick(autoscaler).into());
        }
        Ok(Self {
            replicas,
            model,
            served,
            autoscaler,
        })
    }
}

pub(super) async fn need_metrics(cluster: &Cluster) -> Result<(), Error> {
    let top = ["top", "pods", "-l", "app=ml-inference", "--no-headers"];
    let top = cluster.kubectl.look(&top).await?;
    if top.succeeded {
        return Ok(());
    }
    let problem = match top.stderr.is_empty() {
        true => "kubectl said nothing".to_owned(),
        false => top.stderr,
    };
    let place = Where {
        context: cluster.context.clone(),
        namespace: cluster.namespace.clone(),
        kind: cluster.kind().await,
    };
    Err(AutoscalingError::NoMetrics { problem, place }.into())
}

pub(super) async fn need_model(cluster: &Cluster) -> Result<(), Error> {
    let help = [
        "exec",
        "deployment/ml-inference",
        "-c",
        "ml-model",
        "--",
        "/ml-inference",
        "--help",
    ];
    let help = cluster.kubectl.look(&help).await?;
    if help.succeeded && help.stdout.contains(MODEL) {
        return Ok(());
    }
    let (context, namespace) = (cluster.context.clone(), cluster.namespace.clone());
    Err(AutoscalingError::NoModel { context, namespace }.into())
}
