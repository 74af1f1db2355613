//! Which runtime an ONNX file is for.
//!
//! Operators of `ai.onnx.ml` are what classical models are made of, and only `onnx_ml` has them. All other models are rten's,
//! except those it cannot compute exactly enough: `onnx_ml` knows the operators around classical models in 64 bits too.

use super::onnx_ml::{LoadError, OnnxMl};
use super::rten::Rten;
use super::{ModelRuntime, Signature};
use crate::onnx::{self, Graph};

const ML: &str = "ai.onnx.ml";

/// Makes a model of a file's content.
pub fn open(file: &[u8]) -> Result<Box<dyn ModelRuntime>, LoadError> {
    let model = onnx::parse(file)?;
    if model.graph.nodes.iter().any(|node| node.domain == ML) {
        return Ok(Box::new(OnnxMl::of(&model)?));
    }
    let refused = match Rten::load(file, signature(&model.graph)?) {
        Ok(rten) => return Ok(Box::new(rten)),
        Err(refused) => refused,
    };
    match OnnxMl::of(&model) {
        Ok(onnx_ml) => Ok(Box::new(onnx_ml)),
        // rten has more operators: what it says is nearer to what is wrong.
        Err(_also) => Err(refused),
    }
}

/// What the graph declares. Older files list their constants among the inputs.
fn signature(graph: &Graph<'_>) -> Result<Signature, LoadError> {
    let is_constant = |name: &str| graph.initializers.iter().any(|constant| constant.name == name);
    let inputs = graph.inputs.iter().filter(|input| !is_constant(input.name));
    let inputs: Result<Vec<_>, _> = inputs.map(onnx::ValueInfo::spec).collect();
    let outputs: Result<Vec<_>, _> = graph.outputs.iter().map(onnx::ValueInfo::spec).collect();
    let signature = Signature {
        inputs: inputs?,
        outputs: outputs?,
    };
    if signature.inputs.is_empty() || signature.outputs.is_empty() {
        return Err(LoadError::Graph("the graph has no input or no output".to_owned()));
    }
    Ok(signature)
}
