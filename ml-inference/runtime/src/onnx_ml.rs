//! Runs the ONNX files that scikit-learn models are exported to: the operators of `ai.onnx.ml`, and those of ONNX itself that
//! exporters put around them.
//!
//! ```text
//! file ── onnx.rs ──► graph ── plan.rs, operators.rs ──► steps: one closure a node, values in numbered slots
//! ```
//!
//! Everything is checked once, when a file is loaded: that each operator and each of its attributes is known, that no node uses
//! what comes later, that indices point somewhere. Then the model runs once on zeros, which shows types and shapes that do not
//! go together. Results are those of onnxruntime, in the same widths: that decides where the standard leaves something open.
//!
//! Sequences of maps have no place in a tensor: a ZipMap gives the probabilities it was given, and its classes become the
//! labels of that output's columns.

mod cast;
mod constant;
mod elementwise;
mod encoders;
mod gather;
mod linear;
mod matrix;
mod node;
mod operators;
mod plan;
mod preprocessing;
mod reduce;
mod scores;
mod shape;
mod svm;
#[cfg(test)]
mod test_node;
#[cfg(test)]
mod tests;
mod trees;

use std::ops::RangeInclusive;

use plan::Plan;

use crate::error::LoadError;
use crate::interface::{Cost, ModelRuntime, RuntimeError};
use crate::onnx::{self, OnnxModel};
use crate::signature::Signature;
use crate::tensor::Tensor;

/// A loaded model.
#[derive(Debug)]
pub struct OnnxMl {
    plan: Plan,
}

impl OnnxMl {
    pub fn load(file: &[u8]) -> Result<Self, LoadError> {
        Self::of(&onnx::parse(file)?)
    }

    /// The same of a file that is read already.
    pub(crate) fn of(model: &OnnxModel<'_>) -> Result<Self, LoadError> {
        let plan = Plan::new(model)?;
        Ok(Self { plan })
    }

    /// True if all operators of a model are known. Otherwise it cannot be loaded.
    pub(crate) fn knows(model: &OnnxModel<'_>) -> bool {
        let mut nodes = model.graph.nodes.iter();
        nodes.all(|node| operators::find(node.domain, node.operator).is_some())
    }

    /// Each domain, the operator sets of it that are known, from the first to the last, and the names of its operators.
    pub fn operators() -> [(&'static str, RangeInclusive<i64>, Vec<&'static str>); 2] {
        use plan::{NEWEST_ML_OPSET, NEWEST_OPSET, OLDEST_ML_OPSET, OLDEST_OPSET};
        [
            (
                "ai.onnx.ml",
                OLDEST_ML_OPSET..=NEWEST_ML_OPSET,
                operators::ml_names().collect(),
            ),
            (
                "ai.onnx",
                OLDEST_OPSET..=NEWEST_OPSET,
                operators::onnx_names().collect(),
            ),
        ]
    }
}

impl ModelRuntime for OnnxMl {
    fn name(&self) -> &'static str {
        "onnx_ml"
    }

    fn signature(&self) -> &Signature {
        &self.plan.signature
    }

    fn cost(&self) -> Cost {
        Cost::Compute
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let outputs = self.plan.run(inputs);
        outputs.map_err(|(node, fault)| RuntimeError::Refused {
            problem: format!("{node}: {fault}"),
        })
    }
}
