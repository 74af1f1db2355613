//! Nodes and models made by hand, for tests.

use crate::onnx::{self, Attribute};
use crate::tensor::{Element, Tensor};

use super::node::{Operator, OperatorNode};
use super::operators;
use crate::error::LoadError;

pub(super) struct TestNode {
    proto: onnx::NodeProto<'static>,
    opset: i64,
}

impl TestNode {
    pub(super) fn own(operator: &'static str) -> Self {
        Self::new("", operator, 21)
    }

    pub(super) fn ml(operator: &'static str) -> Self {
        Self::new("ai.onnx.ml", operator, 3)
    }

    fn new(domain: &'static str, operator: &'static str, opset: i64) -> Self {
        let proto = onnx::NodeProto {
            domain,
            operator,
            ..onnx::NodeProto::default()
        };
        Self { proto, opset }
    }

    pub(super) fn opset(self, opset: i64) -> Self {
        Self { opset, ..self }
    }

    pub(super) fn with(mut self, name: &'static str, attribute: Attribute<'static>) -> Self {
        self.proto.attributes.push((name, attribute));
        self
    }

    pub(super) fn int(self, name: &'static str, value: i64) -> Self {
        self.with(name, Attribute::Int(value))
    }

    pub(super) fn float(self, name: &'static str, value: f32) -> Self {
        self.with(name, Attribute::Float(value))
    }

    pub(super) fn text(self, name: &'static str, value: &'static str) -> Self {
        self.with(name, Attribute::Text(value.as_bytes()))
    }

    pub(super) fn ints(self, name: &'static str, values: &[i64]) -> Self {
        self.with(name, Attribute::Ints(values.to_vec()))
    }

    pub(super) fn floats(self, name: &'static str, values: &[f32]) -> Self {
        self.with(name, Attribute::Floats(values.to_vec()))
    }

    pub(super) fn texts(self, name: &'static str, values: &[&'static str]) -> Self {
        let values = values.iter().map(|value| value.as_bytes()).collect();
        self.with(name, Attribute::Texts(values))
    }

    pub(super) fn make(&self) -> Result<Operator, LoadError> {
        let node = OperatorNode::new(&self.proto, self.opset);
        let make = operators::find(self.proto.domain, self.proto.operator).expect("the operator is known");
        let operator = make(self.proto.operator, &node)?;
        node.finish()?;
        Ok(operator)
    }

    /// Runs the node on these inputs and gives its first output.
    pub(super) fn run(&self, inputs: &[&Tensor]) -> Tensor {
        let inputs: Vec<Option<&Tensor>> = inputs.iter().copied().map(Some).collect();
        self.make().expect("is made")(&inputs).expect("runs").swap_remove(0)
    }
}

pub(super) fn tensor<T: Element>(shape: &[usize], values: &[T]) -> Tensor {
    Tensor::of(shape.to_vec(), values.to_vec()).expect("a tensor")
}
