//! The signature that a graph declares.

use crate::error::LoadError;
use crate::onnx::{self, Attribute, Graph, ValueKind};
use crate::signature::{Signature, TensorSpec};

/// Signature that the graph declares. Older files list their constants among the inputs.
pub(crate) fn graph_signature(graph: &Graph<'_>) -> Result<Signature, LoadError> {
    let is_constant = |name: &str| graph.initializers.iter().any(|constant| constant.name == name);
    let inputs = graph.inputs.iter().filter(|input| !is_constant(input.name));
    let inputs: Result<Vec<_>, _> = inputs.map(onnx::ValueInfo::spec).collect();
    let outputs = graph.outputs.iter().map(|output| output_spec(output, &graph.nodes));
    let outputs: Result<Vec<_>, _> = outputs.collect();
    let signature = Signature {
        inputs: inputs?,
        outputs: outputs?,
    };
    if signature.inputs.is_empty() || signature.outputs.is_empty() {
        return Err(LoadError::Graph("the graph has no input or no output".to_owned()));
    }
    Ok(signature)
}

/// An output as the signature has it; that of a ZipMap is its probabilities.
pub(crate) fn output_spec(
    output: &onnx::ValueInfo<'_>,
    nodes: &[onnx::NodeProto<'_>],
) -> Result<TensorSpec, LoadError> {
    if output.kind != ValueKind::SequenceOfMaps {
        return Ok(output.spec()?);
    }
    let makes = |node: &&onnx::NodeProto<'_>| node.operator == "ZipMap" && node.outputs.contains(&output.name);
    let labels = nodes.iter().find(makes).map(zip_map_labels);
    let labels = labels.ok_or_else(|| LoadError::Graph(format!("nothing known makes the maps `{}`", output.name)))?;
    Ok(output.probabilities(labels))
}

fn zip_map_labels(node: &onnx::NodeProto<'_>) -> Vec<String> {
    let labels = node.attributes.iter().map(|(_, attribute)| match attribute {
        Attribute::Ints(labels) => labels.iter().map(i64::to_string).collect(),
        Attribute::Texts(labels) => labels
            .iter()
            .map(|label| String::from_utf8_lossy(label).into_owned())
            .collect(),
        _ => Vec::new(),
    });
    labels.flat_map(|labels: Vec<String>| labels).collect()
}
