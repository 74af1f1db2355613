//! The tool that made a cluster, as far as it can be seen.

use super::kubectl::Kubectl;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Minikube { profile: String },
    Kind,
    K3d,
    Other,
}

impl Kind {
    pub async fn of(context: &str, outside: &Kubectl) -> Self {
        if context.starts_with("kind-") {
            return Self::Kind;
        }
        if context.starts_with("k3d-") {
            return Self::K3d;
        }
        // minikube labels its nodes with the profile's name, whatever the context is called.
        let label = "jsonpath={.items[0].metadata.labels.minikube\\.k8s\\.io/name}";
        let printed = outside.look(&["get", "nodes", "-o", label]).await;
        match printed {
            Ok(printed) if printed.succeeded && !printed.stdout.is_empty() => Self::Minikube {
                profile: printed.stdout,
            },
            _ => Self::Other,
        }
    }
}
