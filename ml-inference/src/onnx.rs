//! Reads ONNX files: what graph of operators a model is, and with which constants.
//!
//! A file is the protobuf message `ModelProto` of <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>. A dozen of its
//! messages matter here. They are read by hand (`wire.rs`), as views into the file: weights are copied once, into their tensor;
//! every length is checked before it is used; what is wrong is told with the byte where it stands. Which operators can be run is
//! a runtime's business.

mod graph;
mod tensor;
mod wire;

pub use graph::{Attribute, Graph, Kind, Node, OnnxModel, ValueInfo};
pub use tensor::{TensorProto, data_type};

/// Protobuf's own limit; larger models keep their weights beside the file.
const LARGEST_FILE: usize = i32::MAX as usize;

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    #[error("the file is no ONNX model: at byte {at}: {problem}")]
    Broken { at: usize, problem: String },
    #[error("the file is no ONNX model: it has no graph")]
    NoGraph,
    #[error("the file has more than 2 GiB")]
    TooLarge,
    #[error("the tensor `{tensor}`: {problem}")]
    Tensor { tensor: String, problem: String },
    #[error("`{value}`: {problem}")]
    Value { value: String, problem: String },
}

/// Reads a whole file.
pub fn parse(file: &[u8]) -> Result<OnnxModel<'_>, OnnxError> {
    if file.len() > LARGEST_FILE {
        return Err(OnnxError::TooLarge);
    }
    graph::model(wire::Message::file(file))
}
