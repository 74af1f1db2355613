//! The model that ml-inference serves.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, Kubectl, KubectlError};
use crate::error::{AutoscalingError, Error};
use crate::terminal::note;
use crate::wait::within;

pub(super) const MODEL: &str = "mlp";

const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// Answers in a row that have to be of the model.
const LOOKS: usize = 10;
/// Inputs of a row of mlp.
const INPUTS: u8 = 64;

/// One row of mlp, as a request's body.
pub(super) fn row() -> String {
    let inputs: Vec<String> = (0..INPUTS)
        .map(|input| (f64::from(input) / f64::from(INPUTS)).to_string())
        .collect();
    format!("{{\"instances\": [[{}]]}}\n", inputs.join(", "))
}

/// The model that one answer names.
pub(super) async fn that_answers(cluster: &Cluster) -> Option<String> {
    let answer = cluster.probe.text(&cluster.url).await?;
    let answer: Value = serde_json::from_str(&answer).ok()?;
    Some(answer["model"].as_str()?.to_owned())
}

/// Sets MODEL_NAME in shared-config, or removes it when it is empty, and starts the pods anew: a model is chosen at their start.
pub(super) async fn choose(kubectl: &Kubectl, model: &str) -> Result<(), KubectlError> {
    let value = match model.is_empty() {
        true => "null".to_owned(),
        false => format!("\"{model}\""),
    };
    let patch = format!("{{\"data\":{{\"MODEL_NAME\":{value}}}}}");
    kubectl
        .run(&["patch", "configmap", "shared-config", "--type", "merge", "-p", &patch])
        .await?;
    kubectl.run(&["rollout", "restart", "deployment/ml-inference"]).await
}

/// Waits until every answer is of the model.
pub(super) async fn answered_by(cluster: &Cluster, model: &str) -> Result<(), Error> {
    if !within(ANSWERED_WITHIN, async || all_answer_with(cluster, model).await).await {
        let seen = that_answers(cluster).await.unwrap_or_default();
        let expected = model.to_owned();
        return Err(AutoscalingError::OtherModel { seen, expected }.into());
    }
    note(format_args!("now every answer is of the model {model}"));
    Ok(())
}

async fn all_answer_with(cluster: &Cluster, model: &str) -> bool {
    for _ in 0..LOOKS {
        if that_answers(cluster).await.as_deref() != Some(model) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_an_input_for_each_of_the_model() {
        let row: Value = serde_json::from_str(&row()).expect("JSON");
        let inputs = row["instances"][0].as_array().expect("a row");
        assert_eq!(inputs.len(), 64);
        assert_eq!((inputs[0].as_f64(), inputs[63].as_f64()), (Some(0.0), Some(0.984375)));
    }
}
