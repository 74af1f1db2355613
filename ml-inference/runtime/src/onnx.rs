//! Reads ONNX files: what graph of operators a model is, and with which constants.
//!
//! A file is the protobuf message `ModelProto` of <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>. A dozen of its
//! messages matter here. They are read by hand (`protobuf.rs`), as views into the file: weights are copied once, into their tensor;
//! every length is checked before it is used; what is wrong is told with the byte where it stands. Which operators can be run is
//! a runtime's business.

mod error;
mod graph;
mod protobuf;
mod tensor;

pub use error::OnnxError;
pub use graph::{Attribute, Graph, NodeProto, OnnxModel, ValueInfo, ValueKind};
pub use tensor::{TensorProto, data_type};

/// Protobuf's own limit; larger models keep their weights beside the file.
const LARGEST_FILE: usize = i32::MAX as usize;

/// Reads a whole file.
pub fn parse(file: &[u8]) -> Result<OnnxModel<'_>, OnnxError> {
    if file.len() > LARGEST_FILE {
        return Err(OnnxError::TooLarge);
    }
    graph::model(protobuf::Message::file(file))
}
