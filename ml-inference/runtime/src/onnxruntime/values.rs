//! Tensors as onnxruntime takes and gives them, in the same types, none of them narrowed.
//!
//! Numbers are lent to onnxruntime and copied once on the way out. Its texts are UTF-8 without a zero byte; other bytes are
//! refused.

use bytes::Bytes;
use ort::session::SessionInputValue;
use ort::value::{
    DynMapValueType, DynSequenceValueType, DynValue, PrimitiveTensorElementType, Shape, Tensor as OrtTensor,
    TensorElementType, TensorRef, ValueType,
};

use crate::signature::TensorSpec;
use crate::tensor::{Data, DataType, Element, Tensor};

pub(super) fn input<'a>(name: &str, tensor: &'a Tensor) -> Result<SessionInputValue<'a>, String> {
    let shape = tensor.shape();
    let value = match tensor.data() {
        Data::Bool(values) => lend(shape, values),
        Data::Uint8(values) => lend(shape, values),
        Data::Uint16(values) => lend(shape, values),
        Data::Uint32(values) => lend(shape, values),
        Data::Uint64(values) => lend(shape, values),
        Data::Int8(values) => lend(shape, values),
        Data::Int16(values) => lend(shape, values),
        Data::Int32(values) => lend(shape, values),
        Data::Int64(values) => lend(shape, values),
        Data::Fp32(values) => lend(shape, values),
        Data::Fp64(values) => lend(shape, values),
        Data::Bytes(values) => texts(shape, values),
    };
    value.map_err(|problem| format!("{name}: {problem}"))
}

fn lend<'a, T>(shape: &'a [usize], values: &'a [T]) -> Result<SessionInputValue<'a>, String>
where
    T: Element + PrimitiveTensorElementType,
{
    let value = TensorRef::from_array_view((shape, values)).map_err(|error| error.to_string())?;
    Ok(value.into())
}

/// A copy: the binding takes texts of its own, and onnxruntime makes others of them.
fn texts(shape: &[usize], values: &[Bytes]) -> Result<SessionInputValue<'static>, String> {
    let mut texts = Vec::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        let text = std::str::from_utf8(value)
            .map_err(|_other| format!("element {at} is no UTF-8, which onnxruntime needs"))?;
        if text.contains('\0') {
            return Err(format!(
                "element {at} has a zero byte, at which texts end in onnxruntime"
            ));
        }
        texts.push(text.to_owned());
    }
    let value = OrtTensor::from_string_array((shape.to_vec(), texts.as_slice())).map_err(|error| error.to_string())?;
    Ok(value.into())
}

/// The output of a run, in the type that the model declares.
pub(super) fn output(spec: &TensorSpec, value: &DynValue) -> Result<Tensor, String> {
    if matches!(value.dtype(), ValueType::Sequence(_)) {
        return probabilities(&spec.labels, value);
    }
    match spec.data_type {
        DataType::Bool => copy::<bool>(value),
        DataType::Uint8 => copy::<u8>(value),
        DataType::Uint16 => copy::<u16>(value),
        DataType::Uint32 => copy::<u32>(value),
        DataType::Uint64 => copy::<u64>(value),
        DataType::Int8 => copy::<i8>(value),
        DataType::Int16 => copy::<i16>(value),
        DataType::Int32 => copy::<i32>(value),
        DataType::Int64 => copy::<i64>(value),
        DataType::Fp32 => copy::<f32>(value),
        DataType::Fp64 => copy::<f64>(value),
        DataType::Bytes => {
            let (shape, texts) = value.try_extract_strings().map_err(|error| error.to_string())?;
            let texts: Vec<Bytes> = texts.into_iter().map(Bytes::from).collect();
            Tensor::of(lengths(shape)?, texts).map_err(|error| error.to_string())
        }
    }
}

fn copy<T: Element + PrimitiveTensorElementType>(value: &DynValue) -> Result<Tensor, String> {
    let (shape, values) = value.try_extract_tensor::<T>().map_err(|error| error.to_string())?;
    Tensor::of(lengths(shape)?, values.to_vec()).map_err(|error| error.to_string())
}

fn lengths(shape: &Shape) -> Result<Vec<usize>, String> {
    let lengths = shape.iter().map(|length| usize::try_from(*length));
    let lengths: Result<Vec<usize>, _> = lengths.collect();
    lengths.map_err(|_negative| format!("the shape {shape:?} is none"))
}

/// The maps of a ZipMap, one a row, as a table with a column for each label.
fn probabilities(labels: &[String], value: &DynValue) -> Result<Tensor, String> {
    let told = |error: ort::Error| error.to_string();
    let sequence = value.view().downcast::<DynSequenceValueType>().map_err(told)?;
    let maps = sequence.try_extract_sequence::<DynMapValueType>().map_err(told)?;
    let mut table = Vec::with_capacity(maps.len() * labels.len());
    for map in &maps {
        let by_text = matches!(
            map.dtype(),
            ValueType::Map {
                key: TensorElementType::String,
                ..
            }
        );
        let row: Vec<(String, f32)> = if by_text {
            map.try_extract_key_values().map_err(told)?
        } else {
            let row = map.try_extract_key_values::<i64, f32>().map_err(told)?;
            row.into_iter()
                .map(|(class, value)| (class.to_string(), value))
                .collect()
        };
        for label in labels {
            let found = row.iter().find(|(class, _)| class == label);
            let (_, value) = found.ok_or_else(|| format!("a map has nothing for `{label}`"))?;
            table.push(*value);
        }
    }
    Tensor::of(vec![maps.len(), labels.len()], table).map_err(|error| error.to_string())
}
