//! Which runtime an ONNX file is for.
//!
//! Operators of `ai.onnx.ml` are what classical models are made of, and only `onnx_ml` has them. All other models are rten's,
//! except those it would compute otherwise than they mean: `onnx_ml` knows the operators around classical models in 64 bits too,
//! and what they meant in older operator sets.

use super::onnx_ml::{LoadError, OnnxMl};
use super::rten::Rten;
use super::{ModelRuntime, Signature};
use crate::onnx::{self, Graph, OnnxModel};

const ML: &str = "ai.onnx.ml";
const OLDEST_OPSET: i64 = 11;
const NEW_SOFTMAX: i64 = 13;

/// Makes a model of a file's content.
pub fn open(file: &[u8]) -> Result<Box<dyn ModelRuntime>, LoadError> {
    let model = onnx::parse(file)?;
    if model.graph.nodes.iter().any(|node| node.domain == ML) {
        return Ok(Box::new(OnnxMl::of(&model)?));
    }
    let loaded = check_opset(&model).and_then(|()| Rten::load(file, signature(&model.graph)?));
    let refused = match loaded {
        Ok(rten) => return Ok(Box::new(rten)),
        Err(refused) => refused,
    };
    match OnnxMl::of(&model) {
        Ok(onnx_ml) => Ok(Box::new(onnx_ml)),
        // rten has more operators: what it says is nearer to what is wrong.
        Err(_also) => Err(refused),
    }
}

/// rten gives every operator its meaning of now. Until version 13 these three put all dimensions from `axis` on together, and
/// before version 11 more than one operator was another.
fn check_opset(model: &OnnxModel<'_>) -> Result<(), LoadError> {
    let opset = model.opset("").unwrap_or(OLDEST_OPSET);
    if opset < OLDEST_OPSET {
        let problem = format!("made for version {opset} of ONNX's operators; export it for {OLDEST_OPSET} or newer");
        return Err(LoadError::Graph(problem));
    }
    let is_other = |name: &str| matches!(name, "Softmax" | "LogSoftmax" | "Hardmax");
    let mut nodes = model.graph.nodes.iter();
    match nodes.find(|node| opset < NEW_SOFTMAX && is_other(node.operator)) {
        None => Ok(()),
        Some(node) => Err(LoadError::Node {
            node: format!("`{}` ({})", node.name, node.operator),
            problem: format!("of version {opset} of ONNX's operators; export the model for {NEW_SOFTMAX} or newer"),
        }),
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
