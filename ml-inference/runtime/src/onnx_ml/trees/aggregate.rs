//! How the weights of many trees become one number.

use crate::error::LoadError;
use crate::onnx_ml::node::OperatorNode;

/// Aggregation of the weights that a row collects for one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

impl Aggregate {
    pub(super) fn of(node: &OperatorNode<'_>) -> Result<Self, LoadError> {
        Ok(match node.text("aggregate_function", "SUM")? {
            "SUM" => Self::Sum,
            "AVERAGE" => Self::Average,
            "MIN" => Self::Min,
            "MAX" => Self::Max,
            other => return Err(node.fault(format!("the aggregate_function {other} is not known"))),
        })
    }

    /// As the newer TreeEnsemble numbers them.
    pub(super) fn numbered(number: i64) -> Option<Self> {
        [Self::Average, Self::Sum, Self::Min, Self::Max]
            .get(usize::try_from(number).ok()?)
            .copied()
    }
}
