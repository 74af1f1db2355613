//! Models made for the tests.

use bytes::Bytes;
use model_runtime::tensor::{Data, DataType, Tensor};
use model_runtime::{Cost, Dim, ModelRuntime, RuntimeError, Signature, TensorSpec};

pub(crate) fn rows(inner: &[usize]) -> Vec<Dim> {
    let inner = inner.iter().map(|length| Dim::Fixed(*length));
    std::iter::once(Dim::Free(None)).chain(inner).collect()
}

pub(crate) fn spec(name: &str, data_type: DataType, inner: &[usize]) -> TensorSpec {
    TensorSpec::new(name, data_type, rows(inner))
}

/// Gives back its inputs, which are its outputs too.
#[derive(Debug)]
pub(crate) struct Echo(Signature);

impl Echo {
    pub(crate) fn new(specs: &[TensorSpec]) -> Self {
        Self(Signature {
            inputs: specs.to_vec(),
            outputs: specs.to_vec(),
        })
    }

    pub(crate) fn of(data_type: DataType, inner: &[usize]) -> Self {
        Self::new(&[spec("x", data_type, inner)])
    }
}

impl ModelRuntime for Echo {
    fn signature(&self) -> &Signature {
        &self.0
    }

    fn cost(&self) -> Cost {
        Cost::Inline
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        Ok(inputs.to_vec())
    }
}

/// Gives for every output the numbers from 0, in as many rows as the first input has and in the shape that the signature
/// says; a dimension that is free has two entries.
#[derive(Debug)]
pub(crate) struct Counting(pub(crate) Signature);

impl ModelRuntime for Counting {
    fn signature(&self) -> &Signature {
        &self.0
    }

    fn cost(&self) -> Cost {
        Cost::Compute
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        let rows = inputs.first().map_or(1, Tensor::rows);
        let outputs = self.0.outputs.iter().map(|spec| {
            let mut shape: Vec<usize> = spec.shape.iter().map(length).collect();
            if let Some(first) = shape.first_mut() {
                *first = rows;
            }
            let count = shape.iter().product();
            Tensor::new(shape, counted(spec.data_type, count)).expect("as many as the shape says")
        });
        Ok(outputs.collect())
    }
}

pub(crate) fn length(dim: &Dim) -> usize {
    match dim {
        Dim::Fixed(length) => *length,
        Dim::Free(_) => 2,
    }
}

pub(crate) fn counted(data_type: DataType, count: usize) -> Data {
    let numbers = 0..u8::try_from(count).expect("few");
    match data_type {
        DataType::Bool => Data::Bool(numbers.map(|x| x % 2 == 1).collect()),
        DataType::Uint8 => Data::Uint8(numbers.collect()),
        DataType::Uint16 => Data::Uint16(numbers.map(u16::from).collect()),
        DataType::Uint32 => Data::Uint32(numbers.map(u32::from).collect()),
        DataType::Uint64 => Data::Uint64(numbers.map(u64::from).collect()),
        DataType::Int8 => Data::Int8(numbers.map(|x| x as i8).collect()),
        DataType::Int16 => Data::Int16(numbers.map(i16::from).collect()),
        DataType::Int32 => Data::Int32(numbers.map(i32::from).collect()),
        DataType::Int64 => Data::Int64(numbers.map(i64::from).collect()),
        DataType::Fp32 => Data::Fp32(numbers.map(f32::from).collect()),
        DataType::Fp64 => Data::Fp64(numbers.map(f64::from).collect()),
        DataType::Bytes => Data::Bytes(numbers.map(|x| Bytes::from(x.to_string())).collect()),
    }
}
