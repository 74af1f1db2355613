//! The pair on a cluster: which context, which namespace, which address, and rollouts that are waited for.

mod connect;
mod error;
mod kind;
mod kubectl;
mod rollout;

use std::time::Duration;

use crate::probe::Probe;

pub use error::{ClusterError, tag_of};
pub use kind::Kind;
pub use kubectl::{Kubectl, KubectlError};

/// The cluster as the command line describes it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The URL of the model; by default the gateway's nodePort.
    pub url: Option<String>,
    pub overlay: String,
    /// The kubectl context; by default the current one.
    pub context: Option<String>,
    /// The longest that a rollout may take.
    pub timeout: Duration,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            url: None,
            overlay: "base".to_owned(),
            context: None,
            timeout: Duration::from_secs(180),
        }
    }
}

#[derive(Debug)]
pub struct Cluster {
    pub context: String,
    pub namespace: String,
    /// The URL at which the model answers.
    pub url: String,
    pub timeout: Duration,
    pub probe: Probe,
    /// kubectl in the context.
    outside: Kubectl,
    /// kubectl in the namespace.
    pub kubectl: Kubectl,
}

impl Cluster {
    /// Finds the namespace, both deployments and the gateway's address.
    pub async fn enter(place: &Place) -> Result<Self, ClusterError> {
        let namespace = connect::namespace_of(&place.overlay)?;
        let context = connect::context(place.context.as_deref()).await?;
        let outside = Kubectl::in_context(&context);
        connect::need_answer(&outside, &context).await?;
        connect::need_namespace(&outside, &context, &namespace).await?;
        let kubectl = outside.in_namespace(&namespace);
        connect::need_deployments(&kubectl, &namespace).await?;
        let url = match &place.url {
            Some(given) => given.clone(),
            None => format!("{}/predict", connect::gateway_url(&kubectl, &outside, &context).await?),
        };
        let probe = Probe::new().map_err(ClusterError::Client)?;
        if !probe.answers_200(&url).await {
            let other_ways = connect::other_ways(&outside, &context, &namespace).await;
            return Err(ClusterError::NotReachable { url, other_ways });
        }
        Ok(Self {
            context,
            namespace,
            url,
            timeout: place.timeout,
            probe,
            outside,
            kubectl,
        })
    }

    /// The tool that made the cluster.
    pub async fn kind(&self) -> Kind {
        Kind::of(&self.context, &self.outside).await
    }

    /// Waits until the deployment is rolled out.
    pub async fn rolled_out(&self, deployment: &str) -> Result<(), ClusterError> {
        rollout::finished(&self.kubectl, deployment, self.timeout).await
    }

    /// Waits until every pod of the deployment is ready and every old one gone; one that drains serves on, and the load has to see that.
    pub async fn settled(&self, deployment: &str) -> Result<(), ClusterError> {
        self.rolled_out(deployment).await?;
        rollout::old_pods_gone(&self.kubectl, deployment).await
    }

    /// The autoscaler that looks after ml-inference; empty when there is none.
    pub async fn autoscaler(&self) -> Result<String, KubectlError> {
        let named = "jsonpath={.items[?(@.spec.scaleTargetRef.name==\"ml-inference\")].metadata.name}";
        self.kubectl.read(&["get", "hpa", "-o", named]).await
    }

    /// The number of replicas that the Deployment ml-inference asks for.
    pub async fn replicas(&self) -> Result<String, KubectlError> {
        let wanted = "jsonpath={.spec.replicas}";
        self.kubectl
            .read(&["get", "deployment", "ml-inference", "-o", wanted])
            .await
    }
}
