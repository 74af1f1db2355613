//! Reasons for which an autoscaler cannot be shown, and its faults.

use crate::cluster::Kind;
use crate::terminal::{error, warn};

const METRICS_SERVER: &str =
    "https://github.com/kubernetes-sigs/metrics-server/releases/latest/download/components.yaml";

/// The cluster that lacks something.
#[derive(Debug)]
pub struct Where {
    pub context: String,
    pub namespace: String,
    pub kind: Kind,
}

#[derive(Debug, thiserror::Error)]
pub enum AutoscalingError {
    #[error("context \"{}\" has no CPU metrics of ml-inference, and an autoscaler needs them", place.context)]
    NoMetrics { problem: String, place: Where },
    #[error("the image that ml-inference runs does not have the model mlp; build and load one that does:")]
    NoModel { context: String, namespace: String },
    #[error("{url} does not say which model answers: is it ml-inference, asked without a key?")]
    NoModelNamed { url: String },
    #[error("the autoscaler {0} is there already, and --quick would change it")]
    NotQuick(String),

    #[error("the model {seen} answers instead of {expected}: is MODEL_NAME in ml-config too?")]
    OtherModel { seen: String, expected: String },
    #[error("the autoscaler {0} does not go by the CPU that pods request")]
    NoTarget(String),
    #[error("the autoscaler does not say {0}")]
    NotANumber(&'static str),
    #[error("the autoscaler did not come to its {minimum} replicas within {seconds} s")]
    BelowMinimum { minimum: u32, seconds: u64 },
    #[error("{url}/metrics does not say how long a row takes: choose a --rate")]
    NoCost { url: String },
    #[error("the pods' CPU request and limit ({cpus}) leave no room above the target of {target} % of the request")]
    NoRoom { cpus: String, target: u32 },
    #[error("the replicas did not follow within {seconds} s: {seen}; --rate takes more load")]
    NotFollowed { seconds: u64, seen: String },
    #[error("there are still {replicas} replicas instead of {fewest}; {seen}")]
    NotSettled { replicas: u32, fewest: u32, seen: String },
    #[error("requests of the heavy load failed")]
    HeavyLoadFailed,
}

impl AutoscalingError {
    /// Gives true when metrics or a model are missing, as opposed to a failure.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NoMetrics { .. } | Self::NoModel { .. })
    }

    pub fn report(&self) {
        match self {
            Self::NoMetrics { problem, place } => error(self, &metrics_advice(problem, place)),
            Self::NoModel { context, namespace } => {
                let build = "scripts/build-images.sh --only ml-inference".to_owned();
                let restart =
                    format!("kubectl --context {context} -n {namespace} rollout restart deployment/ml-inference");
                error(self, &[build, restart]);
            }
            Self::NoModelNamed { .. } => error(self, &[]),
            Self::NotQuick(_) => error(self, &["leave --quick out".to_owned()]),
            _ => warn(self),
        }
    }
}

/// Advice on installing metrics-server, by the tool that made the cluster.
fn metrics_advice(problem: &str, place: &Where) -> Vec<String> {
    let Where {
        context,
        namespace,
        kind,
    } = place;
    let apply = format!("kubectl --context {context} apply -f {METRICS_SERVER}");
    let mut lines = vec![problem.to_owned(), "if there is no metrics-server:".to_owned()];
    match kind {
        Kind::Minikube { profile } => lines.push(format!("minikube addons enable metrics-server --profile {profile}")),
        Kind::Kind => lines.extend([
            apply,
            format!("kubectl --context {context} -n kube-system patch deployment metrics-server --type json \\"),
            "  -p '[{\"op\":\"add\",\"path\":\"/spec/template/spec/containers/0/args/-\",\"value\":\"--kubelet-insecure-tls\"}]'"
                .to_owned(),
        ]),
        Kind::K3d | Kind::Other => lines.push(apply),
    }
    lines.push(format!(
        "then wait a minute or two, until this shows them: kubectl --context {context} -n {namespace} top pods"
    ));
    lines
}
