//! One node while its operator is constructed: its attributes, each of which must be read, and its errors.

use std::cell::RefCell;

use bytes::Bytes;

use crate::error::LoadError;
use crate::onnx::{self, Attribute};
use crate::tensor::{Data, Tensor, TensorError};

/// Function that runs a node. Inputs that are left out are `None`.
pub(super) type Operator = Box<dyn Fn(&[Option<&Tensor>]) -> Outputs + Send + Sync>;
pub(super) type Outputs = Result<Vec<Tensor>, OpError>;

/// Why a node cannot run on what it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpError {
    /// These types or shapes are nothing for the operator.
    #[error("{0}")]
    Kind(String),
    /// A value is nothing for the operator; others of the same type and shape may be.
    #[error("{0}")]
    Value(String),
}

impl From<TensorError> for OpError {
    fn from(error: TensorError) -> Self {
        Self::Kind(error.to_string())
    }
}

/// A node of the file, and the attributes that were read.
#[derive(Debug)]
pub(super) struct OperatorNode<'a> {
    proto: &'a onnx::NodeProto<'a>,
    /// The version of the operator set that the node is of.
    pub(super) opset: i64,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> OperatorNode<'a> {
    pub(super) fn new(proto: &'a onnx::NodeProto<'a>, opset: i64) -> Self {
        Self {
            proto,
            opset,
            known: RefCell::default(),
        }
    }

    pub(super) fn describe(&self) -> String {
        describe(self.proto)
    }

    pub(super) fn fault(&self, problem: impl Into<String>) -> LoadError {
        LoadError::Node {
            node: self.describe(),
            problem: problem.into(),
        }
    }

    fn attribute(&self, name: &'static str) -> Option<&'a Attribute<'a>> {
        self.known.borrow_mut().push(name);
        let mut found = self.proto.attributes.iter().filter(|(given, _)| *given == name);
        found.next().map(|(_, attribute)| attribute)
    }

    fn mistyped(&self, name: &str, expected: &str) -> LoadError {
        self.fault(format!("the attribute {name} is not {expected}"))
    }

    pub(super) fn has(&self, name: &'static str) -> bool {
        self.attribute(name).is_some()
    }

    /// Attributes that say nothing for inference.
    pub(super) fn ignore(&self, names: &[&'static str]) {
        self.known.borrow_mut().extend(names);
    }

    pub(super) fn int(&self, name: &'static str) -> Result<Option<i64>, LoadError> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Int(value)) => Ok(Some(*value)),
            Some(_) => Err(self.mistyped(name, "an integer")),
        }
    }

    pub(super) fn float(&self, name: &'static str) -> Result<Option<f32>, LoadError> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Float(value)) => Ok(Some(*value)),
            Some(_) => Err(self.mistyped(name, "a float")),
        }
    }

    /// The text, or `default` where there is none.
    pub(super) fn text(&self, name: &'static str, default: &'a str) -> Result<&'a str, LoadError> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Text(text)) => std::str::from_utf8(text).map_err(|_other| self.mistyped(name, "UTF-8")),
            Some(_) => Err(self.mistyped(name, "a text")),
        }
    }

    /// The list, empty where there is none.
    pub(super) fn ints(&self, name: &'static str) -> Result<Vec<i64>, LoadError> {
        match self.attribute(name) {
            None => Ok(Vec::new()),
            Some(Attribute::Ints(values)) => Ok(values.clone()),
            Some(_) => Err(self.mistyped(name, "a list of integers")),
        }
    }

    pub(super) fn floats(&self, name: &'static str) -> Result<Vec<f32>, LoadError> {
        match self.attribute(name) {
            None => Ok(Vec::new()),
            Some(Attribute::Floats(values)) => Ok(values.clone()),
            Some(_) => Err(self.mistyped(name, "a list of floats")),
        }
    }

    pub(super) fn texts(&self, name: &'static str) -> Result<Vec<Bytes>, LoadError> {
        match self.attribute(name) {
            None => Ok(Vec::new()),
            Some(Attribute::Texts(texts)) => Ok(texts.iter().copied().map(Bytes::copy_from_slice).collect()),
            Some(_) => Err(self.mistyped(name, "a list of texts")),
        }
    }

    pub(super) fn tensor(&self, name: &'static str) -> Result<Option<Tensor>, LoadError> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Tensor(tensor)) => Ok(Some(tensor.read().map_err(|error| self.fault(error.to_string()))?)),
            Some(_) => Err(self.mistyped(name, "a tensor")),
        }
    }

    /// A list of which one of two forms may be given, whole numbers or texts, such as a classifier's labels.
    pub(super) fn ints_or_texts(&self, ints: &'static str, texts: &'static str) -> Result<Data, LoadError> {
        let (whole, text) = (self.ints(ints)?, self.texts(texts)?);
        match (whole.is_empty(), text.is_empty()) {
            (false, true) => Ok(Data::Int64(whole)),
            (true, false) => Ok(Data::Bytes(text)),
            _ => Err(self.fault(format!("one of {ints} and {texts} must be given"))),
        }
    }

    pub(super) fn input_count(&self) -> usize {
        self.proto.inputs.len()
    }

    /// Nothing may be left that the operator does not know.
    pub(super) fn finish(&self) -> Result<(), LoadError> {
        let known = self.known.borrow();
        let mut unknown = self.proto.attributes.iter().filter(|(name, _)| !known.contains(name));
        match unknown.next() {
            None => Ok(()),
            Some((name, _)) => Err(self.fault(format!("the attribute {name} is not supported"))),
        }
    }
}

/// `Scaler_1 (ai.onnx.ml.Scaler)`.
pub(super) fn describe(node: &onnx::NodeProto<'_>) -> String {
    let name = if node.name.is_empty() {
        "without a name"
    } else {
        node.name
    };
    format!("{name} ({})", operator(node))
}

pub(super) fn operator(node: &onnx::NodeProto<'_>) -> String {
    if node.domain.is_empty() {
        node.operator.to_owned()
    } else {
        format!("{}.{}", node.domain, node.operator)
    }
}

pub(super) fn input<'t>(inputs: &[Option<&'t Tensor>], index: usize) -> Result<&'t Tensor, OpError> {
    optional(inputs, index).ok_or_else(|| OpError::Kind(format!("input {index} is missing")))
}

pub(super) fn optional<'t>(inputs: &[Option<&'t Tensor>], index: usize) -> Option<&'t Tensor> {
    inputs.get(index).copied().flatten()
}

pub(super) fn one(tensor: Result<Tensor, TensorError>) -> Outputs {
    Ok(vec![tensor?])
}

pub(super) fn unsupported(tensor: &Tensor) -> OpError {
    OpError::Kind(format!("{} is not supported here", tensor.describe()))
}
