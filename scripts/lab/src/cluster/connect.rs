//! The way to the pair: context, namespace, deployments, and the address of the gateway's Service.

use std::fs;

use tokio::process::Command;

use super::error::ClusterError;
use super::kind::Kind;
use super::kubectl::Kubectl;
use crate::binaries::{is_installed, repository};

const DEFAULT_NAMESPACE: &str = "mlops-lab";

/// The namespace that the overlay's kustomization.yaml says; the base's objects name theirs themselves.
pub(super) fn namespace_of(overlay: &str) -> Result<String, ClusterError> {
    let deploy = repository().join("deploy");
    let directory = match overlay {
        "base" => deploy.join("base"),
        other => deploy.join("overlays").join(other),
    };
    let text = fs::read_to_string(directory.join("kustomization.yaml")).map_err(|error| ClusterError::Overlay {
        overlay: overlay.to_owned(),
        error,
    })?;
    let named = text.lines().find_map(|line| line.strip_prefix("namespace:"));
    Ok(named.map_or(DEFAULT_NAMESPACE, str::trim).to_owned())
}

/// The context that was named, when kubectl knows it, or else the current one.
pub(super) async fn context(named: Option<&str>) -> Result<String, ClusterError> {
    if !is_installed("kubectl") {
        return Err(ClusterError::NoKubectl);
    }
    let kubectl = Kubectl::default();
    if let Some(name) = named {
        let known = kubectl.look(&["config", "get-contexts", name, "-o", "name"]).await?;
        return match known.succeeded {
            true => Ok(name.to_owned()),
            false => Err(ClusterError::UnknownContext(name.to_owned())),
        };
    }
    let current = kubectl.look(&["config", "current-context"]).await?;
    match current.succeeded && !current.stdout.is_empty() {
        true => Ok(current.stdout),
        false => Err(ClusterError::NoContext),
    }
}

pub(super) async fn need_answer(outside: &Kubectl, context: &str) -> Result<(), ClusterError> {
    let version = outside
        .look(&["get", "--raw", "/version", "--request-timeout", "10s"])
        .await?;
    if version.succeeded {
        return Ok(());
    }
    let problem = match version.stderr.is_empty() {
        true => "kubectl said nothing".to_owned(),
        false => version.stderr,
    };
    let context = context.to_owned();
    Err(ClusterError::Unreachable { context, problem })
}

pub(super) async fn need_namespace(outside: &Kubectl, context: &str, namespace: &str) -> Result<(), ClusterError> {
    let found = outside
        .read(&["get", "namespace", namespace, "--ignore-not-found", "-o", "name"])
        .await;
    let found = found.map_err(|_| ClusterError::NamespaceUnknown(namespace.to_owned()))?;
    if !found.is_empty() {
        return Ok(());
    }
    let (namespace, context) = (namespace.to_owned(), context.to_owned());
    Err(ClusterError::NoNamespace { namespace, context })
}

pub(super) async fn need_deployments(kubectl: &Kubectl, namespace: &str) -> Result<(), ClusterError> {
    for deployment in ["api-gateway", "ml-inference"] {
        let found = kubectl.look(&["get", "deployment", deployment, "-o", "name"]).await?;
        if !found.succeeded {
            let (deployment, namespace) = (deployment.to_owned(), namespace.to_owned());
            return Err(ClusterError::NoDeployment { deployment, namespace });
        }
    }
    Ok(())
}

/// The address that the Service's nodePort gives. It may still be unreachable from here (a cluster inside a virtual machine), so it is
/// asked before it is trusted.
pub(super) async fn gateway_url(kubectl: &Kubectl, outside: &Kubectl, context: &str) -> Result<String, ClusterError> {
    let node_port = "jsonpath={.spec.ports[?(@.name==\"http\")].nodePort}";
    let port = kubectl
        .read(&["get", "service", "api-gateway-service", "-o", node_port])
        .await;
    let port = port
        .ok()
        .filter(|port| !port.is_empty())
        .ok_or(ClusterError::NoAddress)?;
    let host = match Kind::of(context, outside).await {
        Kind::Kind | Kind::K3d => Some("127.0.0.1".to_owned()),
        Kind::Minikube { profile } => minikube_address(&profile).await,
        Kind::Other => {
            let on_this_machine = ["docker-desktop", "rancher-desktop", "orbstack"].contains(&context);
            on_this_machine.then(|| "127.0.0.1".to_owned())
        }
    };
    let host = match host {
        Some(host) => host,
        None => node_address(outside).await?.ok_or(ClusterError::NoAddress)?,
    };
    Ok(match host.contains(':') {
        true => format!("http://[{host}]:{port}"),
        false => format!("http://{host}:{port}"),
    })
}

async fn minikube_address(profile: &str) -> Option<String> {
    if !is_installed("minikube") {
        return None;
    }
    let output = Command::new("minikube")
        .args(["ip", "--profile", profile])
        .output()
        .await;
    // Without an answer a node's address is taken.
    let output = output.ok().filter(|output| output.status.success())?;
    let address = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!address.is_empty()).then_some(address)
}

async fn node_address(outside: &Kubectl) -> Result<Option<String>, ClusterError> {
    for kind in ["ExternalIP", "InternalIP"] {
        let path = format!("jsonpath={{.items[0].status.addresses[?(@.type==\"{kind}\")].address}}");
        let address = outside.read(&["get", "nodes", "-o", &path]).await?;
        if !address.is_empty() {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// Other ways to the gateway when its nodePort is not reachable from here.
pub(super) async fn other_ways(outside: &Kubectl, context: &str, namespace: &str) -> Vec<String> {
    let mut ways = Vec::new();
    if let Kind::Minikube { profile } = Kind::of(context, outside).await {
        ways.push(format!(
            "minikube service api-gateway-service -n {namespace} --profile {profile} --url"
        ));
    }
    ways.push(format!(
        "kubectl --context {context} -n {namespace} port-forward svc/api-gateway-service 8080:80   then http://127.0.0.1:8080"
    ));
    ways
}
