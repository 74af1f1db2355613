//! `ModelProto` and what is inside: the graph, its nodes, their attributes, and the types of inputs and outputs.

use super::error::OnnxError;
use super::protobuf::Message;
use super::tensor::{TensorProto, data_type};
use crate::signature::{Dim, TensorSpec};
use crate::tensor::{DataType, MAX_RANK};

#[derive(Debug)]
pub struct OnnxModel<'a> {
    /// The versions of the operator sets by their domain; ONNX's own domain is the empty text.
    opsets: Vec<(&'a str, i64)>,
    pub graph: Graph<'a>,
}

#[derive(Debug, Default)]
pub struct Graph<'a> {
    pub nodes: Vec<NodeProto<'a>>,
    pub initializers: Vec<TensorProto<'a>>,
    pub inputs: Vec<ValueInfo<'a>>,
    pub outputs: Vec<ValueInfo<'a>>,
    pub has_sparse_initializers: bool,
}

#[derive(Debug, Default)]
pub struct NodeProto<'a> {
    pub name: &'a str,
    /// Empty for ONNX's own.
    pub domain: &'a str,
    pub operator: &'a str,
    /// Empty where an optional input is left out.
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    pub attributes: Vec<(&'a str, Attribute<'a>)>,
}

#[derive(Debug, Clone)]
pub enum Attribute<'a> {
    Float(f32),
    Int(i64),
    Text(&'a [u8]),
    Tensor(TensorProto<'a>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<&'a [u8]>),
    /// A subgraph, or whatever else is not read.
    Other,
}

/// The type of an input or an output.
#[derive(Debug, Clone)]
pub struct ValueInfo<'a> {
    pub name: &'a str,
    pub kind: ValueKind<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueKind<'a> {
    Tensor {
        element: i64,
        /// `None` when even the number of dimensions is not known. A length of `None` is not known.
        shape: Option<Vec<(Option<i64>, &'a str)>>,
    },
    /// A sequence of maps from class to probability: what a ZipMap gives.
    SequenceOfMaps,
    Other,
}

impl<'a> OnnxModel<'a> {
    /// The version of an operator set that the model was made for.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        let mut known = self.opsets.iter().filter(|(known, _)| *known == domain);
        known.next().map(|(_, version)| *version)
    }
}

impl ValueInfo<'_> {
    /// The input or output as a signature has it. A free dimension keeps its name.
    pub fn spec(&self) -> Result<TensorSpec, OnnxError> {
        let fault = |problem: String| OnnxError::Value {
            value: self.name.to_owned(),
            problem,
        };
        let ValueKind::Tensor { element, shape } = &self.kind else {
            return Err(fault("is no tensor".to_owned()));
        };
        let Some(data_type) = data_type(*element) else {
            return Err(fault(format!("the element type {element} is not supported")));
        };
        let Some(shape) = shape else {
            let any = TensorSpec::new(self.name, data_type, Vec::new());
            return Ok(TensorSpec { any_shape: true, ..any });
        };
        if shape.len() > MAX_RANK {
            return Err(fault(format!("more than {MAX_RANK} dimensions are not supported")));
        }
        let dims = shape.iter().map(|(length, name)| match length {
            // Some exporters write 0 or a negative number for a length that is free.
            Some(length) if *length > 0 => match usize::try_from(*length) {
                Ok(length) => Dim::Fixed(length),
                Err(_) => Dim::Free(None),
            },
            _ if name.is_empty() => Dim::Free(None),
            _ => Dim::Free(Some((*name).to_owned())),
        });
        Ok(TensorSpec::new(self.name, data_type, dims.collect()))
    }

    /// Spec of a ZipMap's output as a tensor: a column for each class.
    pub fn probabilities(&self, labels: Vec<String>) -> TensorSpec {
        let shape = vec![Dim::Free(None), Dim::Fixed(labels.len())];
        TensorSpec {
            labels,
            ..TensorSpec::new(self.name, DataType::Fp32, shape)
        }
    }
}

pub(super) fn model(mut message: Message<'_>) -> Result<OnnxModel<'_>, OnnxError> {
    let mut opsets = Vec::new();
    let mut graph = None;
    while let Some(field) = message.next()? {
        match field.number {
            7 => graph = Some(read_graph(field.message()?)?),
            8 => opsets.push(opset(field.message()?)?),
            _ => {}
        }
    }
    let graph = graph.ok_or(OnnxError::NoGraph)?;
    Ok(OnnxModel { opsets, graph })
}

fn opset(mut message: Message<'_>) -> Result<(&str, i64), OnnxError> {
    let (mut domain, mut version) = ("", 0);
    while let Some(field) = message.next()? {
        match field.number {
            1 => domain = field.text()?,
            2 => version = field.int()?,
            _ => {}
        }
    }
    Ok((own_domain(domain), version))
}

fn read_graph(mut message: Message<'_>) -> Result<Graph<'_>, OnnxError> {
    let mut graph = Graph::default();
    while let Some(field) = message.next()? {
        match field.number {
            1 => graph.nodes.push(node(field.message()?)?),
            5 => graph.initializers.push(TensorProto::new(field.message()?)?),
            11 => graph.inputs.push(value_info(field.message()?)?),
            12 => graph.outputs.push(value_info(field.message()?)?),
            15 => graph.has_sparse_initializers = true,
            _ => {}
        }
    }
    Ok(graph)
}

fn node(mut message: Message<'_>) -> Result<NodeProto<'_>, OnnxError> {
    let mut node = NodeProto::default();
    while let Some(field) = message.next()? {
        match field.number {
            1 => node.inputs.push(field.text()?),
            2 => node.outputs.push(field.text()?),
            3 => node.name = field.text()?,
            4 => node.operator = field.text()?,
            5 => node.attributes.push(attribute(field.message()?)?),
            7 => node.domain = own_domain(field.text()?),
            _ => {}
        }
    }
    Ok(node)
}

fn own_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn attribute(mut message: Message<'_>) -> Result<(&str, Attribute<'_>), OnnxError> {
    let (mut name, mut kind) = ("", 0);
    let (mut float, mut int, mut text, mut tensor) = (0.0, 0, &[][..], None);
    let (mut floats, mut ints, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    // The type is a field of its own; files older than it have the one value field that counts.
    let mut implied = 0;
    while let Some(field) = message.next()? {
        let number = field.number;
        match number {
            1 => name = field.text()?,
            2 => float = field.float()?,
            3 => int = field.int()?,
            4 => text = field.bytes()?,
            5 => tensor = Some(TensorProto::new(field.message()?)?),
            7 => field.floats(&mut floats)?,
            8 => field.ints(&mut ints)?,
            9 => texts.push(field.bytes()?),
            20 => kind = field.int()?,
            _ => {}
        }
        if (2..=9).contains(&number) {
            implied = match number {
                2 => 1,
                3 => 2,
                4 => 3,
                5 => 4,
                6 => 5,
                other => other.cast_signed() - 1,
            };
        }
    }
    let attribute = match if kind == 0 { implied } else { kind } {
        1 => Attribute::Float(float),
        2 => Attribute::Int(int),
        3 => Attribute::Text(text),
        4 => tensor.map_or(Attribute::Other, Attribute::Tensor),
        6 => Attribute::Floats(floats),
        7 => Attribute::Ints(ints),
        8 => Attribute::Texts(texts),
        _ => Attribute::Other,
    };
    Ok((name, attribute))
}

fn value_info(mut message: Message<'_>) -> Result<ValueInfo<'_>, OnnxError> {
    let mut info = ValueInfo {
        name: "",
        kind: ValueKind::Other,
    };
    while let Some(field) = message.next()? {
        match field.number {
            1 => info.name = field.text()?,
            2 => info.kind = kind(field.message()?)?,
            _ => {}
        }
    }
    Ok(info)
}

fn kind(mut message: Message<'_>) -> Result<ValueKind<'_>, OnnxError> {
    let mut kind = ValueKind::Other;
    while let Some(field) = message.next()? {
        match field.number {
            1 => kind = tensor_kind(field.message()?)?,
            4 if is_sequence_of_maps(field.message()?)? => kind = ValueKind::SequenceOfMaps,
            _ => {}
        }
    }
    Ok(kind)
}

fn is_sequence_of_maps(mut sequence: Message<'_>) -> Result<bool, OnnxError> {
    while let Some(field) = sequence.next()? {
        if field.number == 1 {
            let mut element = field.message()?;
            while let Some(field) = element.next()? {
                if field.number == 5 {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

fn tensor_kind(mut message: Message<'_>) -> Result<ValueKind<'_>, OnnxError> {
    let (mut element, mut shape) = (0, None);
    while let Some(field) = message.next()? {
        match field.number {
            1 => element = field.int()?,
            2 => shape = Some(dims(field.message()?)?),
            _ => {}
        }
    }
    Ok(ValueKind::Tensor { element, shape })
}

fn dims(mut message: Message<'_>) -> Result<Vec<(Option<i64>, &str)>, OnnxError> {
    let mut dims = Vec::new();
    while let Some(field) = message.next()? {
        if field.number != 1 {
            continue;
        }
        let (mut length, mut name) = (None, "");
        let mut dim = field.message()?;
        while let Some(field) = dim.next()? {
            match field.number {
                1 => length = Some(field.int()?),
                2 => name = field.text()?,
                _ => {}
            }
        }
        dims.push((length, name));
    }
    Ok(dims)
}
