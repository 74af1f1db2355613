//! Why a file is no model that can be read.

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
