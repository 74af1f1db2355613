//! Faults of the cluster, and of what runs in it.

use super::kubectl::KubectlError;
use crate::terminal::{error, print_error, warn};

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("kubectl is missing")]
    NoKubectl,
    #[error("kubectl knows no context \"{0}\"")]
    UnknownContext(String),
    #[error("kubectl has no current context")]
    NoContext,
    #[error("the cluster of context \"{context}\" does not answer")]
    Unreachable { context: String, problem: String },
    #[error("cannot look for namespace {0}: see above")]
    NamespaceUnknown(String),
    #[error("namespace {namespace} does not exist in context \"{context}\"")]
    NoNamespace { namespace: String, context: String },
    #[error("there is no deployment {deployment} in namespace {namespace}")]
    NoDeployment { deployment: String, namespace: String },
    #[error("the gateway's nodePort cannot be found")]
    NoAddress,
    #[error("{url} does not answer 200 from here; open a way in another terminal and give its address with --url:")]
    NotReachable { url: String, other_ways: Vec<String> },
    #[error("the overlay {overlay} cannot be read: {error}")]
    Overlay { overlay: String, error: std::io::Error },
    #[error(transparent)]
    Kubectl(#[from] KubectlError),
    #[error("cannot make an HTTP client: {0}")]
    Client(reqwest::Error),
    #[error("{deployment} is not rolled out within {} s", within.as_secs())]
    NotRolledOut {
        deployment: String,
        within: std::time::Duration,
    },
    #[error(
        "the cluster has no image {image}: build and load it with scripts/build-images.sh --only {} --tag {}",
        name_of(image),
        tag_of(image)
    )]
    NoImage { image: String },
    #[error("still terminating after {} s: {pods}", within.as_secs())]
    StillTerminating { pods: String, within: std::time::Duration },
}

impl ClusterError {
    /// Gives true when a tool, a cluster or an object is missing, as opposed to a failure.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NoKubectl
                | Self::UnknownContext(_)
                | Self::NoContext
                | Self::Unreachable { .. }
                | Self::NoNamespace { .. }
                | Self::NoDeployment { .. }
                | Self::NoAddress
                | Self::NotReachable { .. }
        )
    }

    /// Says what happened and what to do about it.
    pub fn report(&self) {
        match self {
            Self::NotReachable { other_ways, .. } => {
                warn(self);
                for way in other_ways {
                    print_error(format_args!("    {way}\n"));
                }
            }
            Self::NotRolledOut { .. } | Self::NoImage { .. } | Self::StillTerminating { .. } => warn(self),
            // kubectl has said it already.
            Self::Kubectl(KubectlError::Failed(_)) => {}
            _ => error(self, &self.advice()),
        }
    }

    fn advice(&self) -> Vec<String> {
        let lines: &[&str] = match self {
            Self::NoKubectl => &["get it from https://kubernetes.io/docs/tasks/tools/, or: brew install kubectl"],
            Self::UnknownContext(_) => &["kubectl config get-contexts lists them"],
            Self::NoContext => &[
                "start a cluster: minikube start   (or: kind create cluster --config deploy/kind/cluster.yaml)",
                "or choose one: kubectl config use-context NAME, or --context NAME",
            ],
            Self::Unreachable { problem, .. } => &[problem],
            Self::NoNamespace { namespace, .. } => {
                return vec![format!(
                    "make it with: kubectl create namespace {namespace}   (scripts/deploy.sh does it too)"
                )];
            }
            Self::NoDeployment { .. } => &["make it with scripts/deploy.sh"],
            Self::NoAddress => &["give its address with --url"],
            _ => &[],
        };
        lines.iter().map(|line| (*line).to_owned()).collect()
    }
}

/// api-gateway of registry.example:5000/lab/api-gateway:1.1
fn name_of(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split(':').next().unwrap_or(name)
}

/// 1.1 of it.
pub fn tag_of(image: &str) -> &str {
    image.rsplit(':').next().unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_name_and_a_tag() {
        let image = "registry.example:5000/lab/api-gateway:1.1";
        assert_eq!((name_of(image), tag_of(image)), ("api-gateway", "1.1"));
        assert_eq!(
            (name_of("ml-inference:2.0"), tag_of("ml-inference:2.0")),
            ("ml-inference", "2.0")
        );
    }
}
