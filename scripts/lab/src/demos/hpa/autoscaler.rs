//! The autoscaler over ml-inference: made when there is none, and the rules by which it scales in.

use std::fs;

use crate::binaries::repository;
use crate::cluster::{Cluster, Kubectl, KubectlError};
use crate::error::{AutoscalingError, Error, StepError};

const NAME: &str = "ml-inference-hpa";
const QUICK: &str = r#"{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":30,"policies":null}}}}"#;

#[derive(Debug)]
pub(super) struct Autoscaler {
    pub(super) name: String,
    pub(super) minimum: u32,
    /// Percent of the CPU that pods request.
    pub(super) target: u32,
    scale_in: ScaleIn,
}

/// The rules by which replicas are removed.
#[derive(Debug)]
struct ScaleIn {
    /// Seconds of low readings before the first.
    window: u32,
    /// Percent of the replicas, or else replicas.
    in_percent: bool,
    amount: u32,
    /// Seconds from one step to the next.
    period: u32,
}

/// Makes the autoscaler of deploy/components/autoscaling.
pub(super) async fn make(cluster: &Cluster, quick: bool) -> Result<(), Error> {
    let manifest = repository().join("deploy/components/autoscaling/ml-hpa.yaml");
    let manifest = fs::read_to_string(manifest).map_err(StepError::File)?;
    let manifest = in_namespace(&manifest, &cluster.namespace);
    cluster.kubectl.feed(&["apply", "-f", "-"], &manifest).await?;
    if quick {
        cluster
            .kubectl
            .run(&["patch", "hpa", NAME, "--type", "merge", "-p", QUICK])
            .await?;
    }
    Ok(())
}

fn in_namespace(manifest: &str, namespace: &str) -> String {
    let lines = manifest.lines().map(|line| match line.starts_with("  namespace: ") {
        true => format!("  namespace: {namespace}\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

/// Deletes what [`make`] made, and scales back.
pub(super) async fn delete(kubectl: &Kubectl, replicas: u32) -> Result<(), KubectlError> {
    kubectl.run(&["delete", "hpa", NAME, "--ignore-not-found"]).await?;
    let replicas = replicas.to_string();
    kubectl
        .run(&["scale", "deployment/ml-inference", "--replicas", &replicas])
        .await
}

impl Autoscaler {
    /// Reads the rules of an autoscaler; without a name, of the one that was made. What it does not say is Kubernetes' default.
    pub(super) async fn read(cluster: &Cluster, name: &str) -> Result<Self, Error> {
        let name = if name.is_empty() { NAME } else { name };
        let down = ".spec.behavior.scaleDown";
        let path = format!(
            "jsonpath={{.spec.minReplicas}}|{{.spec.metrics[0].resource.target.averageUtilization}}|\
             {{{down}.stabilizationWindowSeconds}}|{{{down}.policies[0].type}}|{{{down}.policies[0].value}}|\
             {{{down}.policies[0].periodSeconds}}"
        );
        let terms = cluster.kubectl.read(&["get", "hpa", name, "-o", &path]).await?;
        Ok(Self::parse(name, &terms)?)
    }

    fn parse(name: &str, terms: &str) -> Result<Self, AutoscalingError> {
        let mut terms = terms.split('|');
        let mut next = || terms.next().unwrap_or_default();
        let (minimum, target, window, policy) = (next(), next(), next(), next());
        let (amount, period) = (next(), next());
        if target.is_empty() {
            return Err(AutoscalingError::NoTarget(name.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            minimum: number("its minimum", minimum, 1)?,
            target: number("its target", target, 0)?,
            scale_in: ScaleIn {
                window: number("its window", window, 300)?,
                in_percent: matches!(policy, "" | "Percent"),
                amount: number("how much it scales in", amount, 100)?,
                period: number("how often it scales in", period, 15)?,
            },
        })
    }

    /// Seconds until only the fewest replicas are left, from the time that the readings are low.
    pub(super) fn scale_in_seconds(&self, mut replicas: u32, fewest: u32) -> u32 {
        let ScaleIn {
            window,
            in_percent,
            amount,
            period,
        } = self.scale_in;
        let mut steps = 0;
        while replicas > fewest && amount > 0 {
            replicas = match in_percent {
                true => replicas * (100 - amount.min(100)) / 100,
                false => replicas.saturating_sub(amount),
            };
            steps += 1;
        }
        window + u32::saturating_sub(steps, 1) * period
    }
}

fn number(what: &'static str, text: &str, default: u32) -> Result<u32, AutoscalingError> {
    match text.is_empty() {
        true => Ok(default),
        false => text.parse().map_err(|_| AutoscalingError::NotANumber(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn autoscaler(terms: &str) -> Autoscaler {
        Autoscaler::parse("a", terms).expect("terms")
    }

    #[test]
    fn replicas_go_step_by_step_after_the_window() {
        // 6 -> 4 -> 3 -> 2: two periods after the first step.
        assert_eq!(autoscaler("2|50|60|Percent|25|60").scale_in_seconds(6, 2), 180);
        assert_eq!(autoscaler("2|50|60|Pods|2|30").scale_in_seconds(6, 2), 90);
        assert_eq!(autoscaler("2|50|30|||").scale_in_seconds(6, 2), 30);
        assert_eq!(autoscaler("2|50||||").scale_in_seconds(2, 2), 300);
    }

    #[test]
    fn an_autoscaler_without_a_target_for_cpu_is_refused() {
        let error = Autoscaler::parse("a", "2||60|||").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "the autoscaler a does not go by the CPU that pods request"
        );
    }

    #[test]
    fn the_manifest_goes_to_another_namespace() {
        let manifest = "metadata:\n  name: a\n  namespace: mlops-lab\nspec:\n";
        let other = in_namespace(manifest, "mlops-lab-dev");
        assert_eq!(other, "metadata:\n  name: a\n  namespace: mlops-lab-dev\nspec:\n");
    }
}
