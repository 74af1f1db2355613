//! Tensors as bytes behind the JSON: elements in row-major order, little-endian, a byte for a truth value, and before each
//! text its length in 4 bytes.

use bytes::{Buf, Bytes};
use model_runtime::tensor::{Data, DataType, Tensor};

/// Tells how many of a body's first bytes are JSON; the rest are binary tensors.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// How many bytes come before a text.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Why bytes are no tensor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BinaryError {
    #[error("{expected} bytes are needed, found {found}")]
    Size { expected: usize, found: usize },
    #[error("the text at element {element} ends after the tensor")]
    Text { element: usize },
}

/// Size of one element; `None` for texts.
pub(super) fn fixed_size(data_type: DataType) -> Option<usize> {
    match data_type {
        DataType::Bool | DataType::Uint8 | DataType::Int8 => Some(1),
        DataType::Uint16 | DataType::Int16 => Some(2),
        DataType::Uint32 | DataType::Int32 | DataType::Fp32 => Some(4),
        DataType::Uint64 | DataType::Int64 | DataType::Fp64 => Some(8),
        DataType::Bytes => None,
    }
}

/// Reads exactly `count` elements. Texts remain parts of `bytes`.
pub(super) fn decode(data_type: DataType, bytes: &Bytes, count: usize) -> Result<Data, BinaryError> {
    if let Some(size) = fixed_size(data_type) {
        let (expected, found) = (count.saturating_mul(size), bytes.len());
        if expected != found {
            return Err(BinaryError::Size { expected, found });
        }
    }
    macro_rules! numbers {
        ($variant:ident, $type:ty) => {{
            let (elements, _none_left) = bytes.as_chunks();
            Data::$variant(
                elements
                    .iter()
                    .map(|element| <$type>::from_le_bytes(*element))
                    .collect(),
            )
        }};
    }
    Ok(match data_type {
        DataType::Bool => Data::Bool(bytes.iter().map(|byte| *byte != 0).collect()),
        DataType::Uint8 => Data::Uint8(bytes.to_vec()),
        DataType::Uint16 => numbers!(Uint16, u16),
        DataType::Uint32 => numbers!(Uint32, u32),
        DataType::Uint64 => numbers!(Uint64, u64),
        DataType::Int8 => numbers!(Int8, i8),
        DataType::Int16 => numbers!(Int16, i16),
        DataType::Int32 => numbers!(Int32, i32),
        DataType::Int64 => numbers!(Int64, i64),
        DataType::Fp32 => numbers!(Fp32, f32),
        DataType::Fp64 => numbers!(Fp64, f64),
        DataType::Bytes => Data::Bytes(decode_texts(bytes.clone(), count)?),
    })
}

fn decode_texts(mut bytes: Bytes, count: usize) -> Result<Vec<Bytes>, BinaryError> {
    let found = bytes.len();
    let mut texts = Vec::new();
    for element in 0..count {
        let length = bytes
            .try_get_u32_le()
            .ok()
            .and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= bytes.len());
        texts.push(bytes.split_to(length.ok_or(BinaryError::Text { element })?));
    }
    match bytes.len() {
        0 => Ok(texts),
        left => Err(BinaryError::Size {
            expected: found - left,
            found,
        }),
    }
}

/// How many bytes `tensor` takes.
pub(super) fn encoded_size(tensor: &Tensor) -> usize {
    match tensor.data() {
        Data::Bytes(texts) => texts.iter().map(|text| LENGTH_BYTES + text.len()).sum(),
        data => data.len() * fixed_size(data.data_type()).unwrap_or_default(),
    }
}

/// Puts the elements of `tensor` behind `out`.
pub(super) fn encode(out: &mut Vec<u8>, tensor: &Tensor) {
    macro_rules! numbers {
        ($values:expr) => {
            for value in $values {
                out.extend_from_slice(&value.to_le_bytes());
            }
        };
    }
    match tensor.data() {
        Data::Bool(values) => out.extend(values.iter().map(|value| u8::from(*value))),
        Data::Uint8(values) => out.extend_from_slice(values),
        Data::Uint16(values) => numbers!(values),
        Data::Uint32(values) => numbers!(values),
        Data::Uint64(values) => numbers!(values),
        Data::Int8(values) => numbers!(values),
        Data::Int16(values) => numbers!(values),
        Data::Int32(values) => numbers!(values),
        Data::Int64(values) => numbers!(values),
        Data::Fp32(values) => numbers!(values),
        Data::Fp64(values) => numbers!(values),
        Data::Bytes(texts) => {
            for text in texts {
                // No body is as long as a length can be.
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model_runtime::tensor::Element;
    use proptest::prelude::*;

    use super::*;

    fn encoded(tensor: &Tensor) -> Bytes {
        let mut out = Vec::new();
        encode(&mut out, tensor);
        assert_eq!(out.len(), encoded_size(tensor));
        out.into()
    }

    fn comes_back<T: Element>(values: Vec<T>) -> Result<(), TestCaseError> {
        let tensor = Tensor::of(vec![values.len()], values).expect("a tensor");
        let decoded = decode(T::DATA_TYPE, &encoded(&tensor), tensor.rows());
        prop_assert_eq!(decoded.as_ref(), Ok(tensor.data()));
        Ok(())
    }

    #[test]
    fn a_tensor_is_little_endian_and_a_text_has_its_length_before_it() {
        let numbers = Tensor::of(vec![2], vec![1_u16, 0x0203]).expect("a tensor");
        assert_eq!(encoded(&numbers).as_ref(), [1, 0, 3, 2]);
        let texts = vec![Bytes::from_static(b"ab"), Bytes::new()];
        let texts = Tensor::of(vec![2], texts).expect("a tensor");
        assert_eq!(encoded(&texts).as_ref(), b"\x02\0\0\0ab\0\0\0\0");
    }

    #[test]
    fn bytes_that_do_not_match_are_refused() {
        let decode = |data_type, bytes: &'static [u8], count| {
            decode(data_type, &Bytes::from_static(bytes), count)
                .expect_err("refused")
                .to_string()
        };
        assert_eq!(decode(DataType::Fp32, b"12345", 1), "4 bytes are needed, found 5");
        assert_eq!(
            decode(DataType::Fp64, b"", usize::MAX),
            format!("{} bytes are needed, found 0", usize::MAX)
        );
        assert_eq!(decode(DataType::Bytes, b"\0\0\0\0x", 1), "4 bytes are needed, found 5");
        assert_eq!(
            decode(DataType::Bytes, b"\x02\0\0\0x", 1),
            "the text at element 0 ends after the tensor"
        );
        assert_eq!(
            decode(DataType::Bytes, b"\0\0\0\0\0", 2),
            "the text at element 1 ends after the tensor"
        );
        assert_eq!(
            decode(DataType::Bytes, b"\xff\xff\xff\xff", 1),
            "the text at element 0 ends after the tensor"
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(seed in prop::collection::vec(any::<u64>(), 0..20)) {
            comes_back::<bool>(seed.iter().map(|x| x % 2 == 1).collect())?;
            comes_back::<u8>(seed.iter().map(|x| *x as u8).collect())?;
            comes_back::<u32>(seed.iter().map(|x| *x as u32).collect())?;
            comes_back::<u64>(seed.clone())?;
            comes_back::<i8>(seed.iter().map(|x| *x as i8).collect())?;
            comes_back::<i16>(seed.iter().map(|x| *x as i16).collect())?;
            comes_back::<i32>(seed.iter().map(|x| *x as i32).collect())?;
            comes_back::<i64>(seed.iter().map(|x| *x as i64).collect())?;
            comes_back::<f32>(seed.iter().map(|x| *x as f32).collect())?;
            comes_back::<f64>(seed.iter().map(|x| *x as f64).collect())?;
            comes_back::<Bytes>(seed.iter().map(|x| x.to_string().into()).collect())?;
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), count in any::<usize>()) {
            for data_type in DataType::ALL {
                let _either = decode(data_type, &Bytes::from(bytes.clone()), count);
            }
        }
    }
}
