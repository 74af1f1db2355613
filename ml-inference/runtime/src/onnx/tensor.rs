//! `TensorProto`: constants, in one of several encodings.

use bytes::Bytes;

use super::error::OnnxError;
use super::protobuf::Message;
use crate::tensor::{Data, DataType, Tensor, element_count};

/// The type behind an element type's number, where there is one here.
pub fn data_type(number: i64) -> Option<DataType> {
    Some(match number {
        1 => DataType::Fp32,
        2 => DataType::Uint8,
        3 => DataType::Int8,
        4 => DataType::Uint16,
        5 => DataType::Int16,
        6 => DataType::Int32,
        7 => DataType::Int64,
        8 => DataType::Bytes,
        9 => DataType::Bool,
        11 => DataType::Fp64,
        12 => DataType::Uint32,
        13 => DataType::Uint64,
        _ => return None,
    })
}

/// A tensor that is still bytes of the file.
#[derive(Debug, Clone)]
pub struct TensorProto<'a> {
    pub name: &'a str,
    message: Message<'a>,
    is_external: bool,
}

/// The fields as they stand there.
#[derive(Debug, Default)]
struct Fields<'a> {
    dims: Vec<i64>,
    data_type: i64,
    floats: Vec<f32>,
    /// All 32-bit and smaller integers, and truth values.
    ints32: Vec<i64>,
    ints64: Vec<i64>,
    doubles: Vec<f64>,
    strings: Vec<&'a [u8]>,
    raw: Option<&'a [u8]>,
}

impl<'a> TensorProto<'a> {
    pub(super) fn new(message: Message<'a>) -> Result<Self, OnnxError> {
        let (mut name, mut is_external) = ("", false);
        let mut fields = message;
        while let Some(field) = fields.next()? {
            match field.number {
                8 => name = field.text()?,
                14 => is_external = field.int()? == 1,
                _ => {}
            }
        }
        Ok(Self {
            name,
            message,
            is_external,
        })
    }

    /// Checks that the data is in the file.
    pub fn check_inside(&self) -> Result<(), OnnxError> {
        if self.is_external {
            return Err(OnnxError::Tensor {
                tensor: self.name.to_owned(),
                problem: "its data is in a file of its own, which is not supported".to_owned(),
            });
        }
        Ok(())
    }

    /// The tensor, copied out of the file.
    pub fn read(&self) -> Result<Tensor, OnnxError> {
        self.check_inside()?;
        let fields = self.fields()?;
        let fault = |problem: String| OnnxError::Tensor {
            tensor: self.name.to_owned(),
            problem,
        };
        let Some(data_type) = data_type(fields.data_type) else {
            return Err(fault(format!("the element type {} is not supported", fields.data_type)));
        };
        let shape: Result<Vec<usize>, _> = fields.dims.iter().map(|dim| usize::try_from(*dim)).collect();
        let shape = shape.map_err(|_negative| fault(format!("the shape {:?} is none", fields.dims)))?;
        let count = element_count(&shape).map_err(|error| fault(error.to_string()))?;
        let data = match fields.raw {
            Some(raw) => from_raw(data_type, raw, count),
            None => from_fields(data_type, fields),
        };
        let data = data.map_err(fault)?;
        Tensor::new(shape, data).map_err(|error| fault(error.to_string()))
    }

    /// Its elements if they are 64-bit integers; of others nothing is copied.
    pub fn read_int64(&self) -> Result<Option<Tensor>, OnnxError> {
        match data_type(self.fields()?.data_type) {
            Some(DataType::Int64) => self.read().map(Some),
            _ => Ok(None),
        }
    }

    fn fields(&self) -> Result<Fields<'a>, OnnxError> {
        let mut fields = Fields::default();
        let mut message = self.message;
        while let Some(field) = message.next()? {
            match field.number {
                1 => field.ints(&mut fields.dims)?,
                2 => fields.data_type = field.int()?,
                4 => field.floats(&mut fields.floats)?,
                5 => field.ints(&mut fields.ints32)?,
                6 => fields.strings.push(field.bytes()?),
                7 | 11 => field.ints(&mut fields.ints64)?,
                9 => fields.raw = Some(field.bytes()?),
                10 => field.doubles(&mut fields.doubles)?,
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// Little-endian numbers one after the other.
fn from_raw(data_type: DataType, raw: &[u8], count: usize) -> Result<Data, String> {
    fn numbers<const N: usize, T>(raw: &[u8], count: usize, read: impl Fn([u8; N]) -> T) -> Result<Vec<T>, String> {
        match raw.as_chunks() {
            (whole, []) if whole.len() == count => Ok(whole.iter().map(|bytes| read(*bytes)).collect()),
            _ => Err(format!("{} bytes of data are not {count} elements", raw.len())),
        }
    }
    Ok(match data_type {
        DataType::Bool => {
            if raw.iter().any(|byte| *byte > 1) {
                return Err("a truth value is neither 0 nor 1".to_owned());
            }
            Data::Bool(numbers(raw, count, |[byte]| byte == 1)?)
        }
        DataType::Uint8 => Data::Uint8(numbers(raw, count, u8::from_le_bytes)?),
        DataType::Uint16 => Data::Uint16(numbers(raw, count, u16::from_le_bytes)?),
        DataType::Uint32 => Data::Uint32(numbers(raw, count, u32::from_le_bytes)?),
        DataType::Uint64 => Data::Uint64(numbers(raw, count, u64::from_le_bytes)?),
        DataType::Int8 => Data::Int8(numbers(raw, count, i8::from_le_bytes)?),
        DataType::Int16 => Data::Int16(numbers(raw, count, i16::from_le_bytes)?),
        DataType::Int32 => Data::Int32(numbers(raw, count, i32::from_le_bytes)?),
        DataType::Int64 => Data::Int64(numbers(raw, count, i64::from_le_bytes)?),
        DataType::Fp32 => Data::Fp32(numbers(raw, count, f32::from_le_bytes)?),
        DataType::Fp64 => Data::Fp64(numbers(raw, count, f64::from_le_bytes)?),
        DataType::Bytes => return Err("texts cannot be raw data".to_owned()),
    })
}

fn from_fields(data_type: DataType, fields: Fields<'_>) -> Result<Data, String> {
    fn narrow<T: TryFrom<i64>>(values: Vec<i64>) -> Result<Vec<T>, String> {
        let narrowed = values
            .into_iter()
            .map(|value| T::try_from(value).map_err(|_range| format!("{value} is out of the type's range")));
        narrowed.collect()
    }
    Ok(match data_type {
        DataType::Bool => {
            let bits: Vec<u8> = narrow(fields.ints32)?;
            Data::Bool(bits.into_iter().map(|bit| bit != 0).collect())
        }
        DataType::Uint8 => Data::Uint8(narrow(fields.ints32)?),
        DataType::Uint16 => Data::Uint16(narrow(fields.ints32)?),
        DataType::Int8 => Data::Int8(narrow(fields.ints32)?),
        DataType::Int16 => Data::Int16(narrow(fields.ints32)?),
        DataType::Int32 => Data::Int32(narrow(fields.ints32)?),
        DataType::Int64 => Data::Int64(fields.ints64),
        DataType::Uint32 => Data::Uint32(narrow(fields.ints64)?),
        DataType::Uint64 => Data::Uint64(fields.ints64.into_iter().map(i64::cast_unsigned).collect()),
        DataType::Fp32 => Data::Fp32(fields.floats),
        DataType::Fp64 => Data::Fp64(fields.doubles),
        DataType::Bytes => Data::Bytes(fields.strings.into_iter().map(Bytes::copy_from_slice).collect()),
    })
}
