//! Cast: one type of elements to another, as the standard says: floats are cut, not rounded, when they become whole numbers.

use bytes::Bytes;

use super::node::{OpError, Operator, OperatorNode, input, one};
use crate::error::LoadError;
use crate::onnx::data_type;
use crate::tensor::{Data, DataType, Element, Tensor};

pub(super) fn cast(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    node.ignore(&["saturate", "round_mode"]);
    let to = node.int("to")?.unwrap_or(0);
    let to = data_type(to).ok_or_else(|| node.fault(format!("a cast to the element type {to} is not supported")))?;
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        if x.data_type() == to {
            return Ok(vec![x.clone()]);
        }
        one(Tensor::new(x.shape().to_vec(), convert(x.data(), to)?))
    }))
}

/// Intermediate form of an element.
enum Number {
    Whole(i128),
    Float(f64),
}

fn convert(data: &Data, to: DataType) -> Result<Data, OpError> {
    // The most usual ones do not take the long way.
    match (data, to) {
        (Data::Int64(values), DataType::Fp32) => return Ok(Data::Fp32(values.iter().map(|x| *x as f32).collect())),
        (Data::Fp32(values), DataType::Fp64) => return Ok(Data::Fp64(values.iter().map(|x| f64::from(*x)).collect())),
        (Data::Fp64(values), DataType::Fp32) => return Ok(Data::Fp32(values.iter().map(|x| *x as f32).collect())),
        (Data::Fp32(values), DataType::Bytes) => {
            return Ok(texts(values, |x| float_text(f64::from(*x))));
        }
        (Data::Fp64(values), DataType::Bytes) => return Ok(texts(values, |x| float_text(*x))),
        (Data::Bool(values), DataType::Bytes) => return Ok(texts(values, |x| u8::from(*x).to_string())),
        _ => {}
    }
    let count = data.len();
    let number = |index: usize| -> Result<Number, OpError> {
        Ok(match data {
            Data::Bool(values) => Number::Whole(values[index].into()),
            Data::Uint8(values) => Number::Whole(values[index].into()),
            Data::Uint16(values) => Number::Whole(values[index].into()),
            Data::Uint32(values) => Number::Whole(values[index].into()),
            Data::Uint64(values) => Number::Whole(values[index].into()),
            Data::Int8(values) => Number::Whole(values[index].into()),
            Data::Int16(values) => Number::Whole(values[index].into()),
            Data::Int32(values) => Number::Whole(values[index].into()),
            Data::Int64(values) => Number::Whole(values[index].into()),
            Data::Fp32(values) => Number::Float(values[index].into()),
            Data::Fp64(values) => Number::Float(values[index]),
            Data::Bytes(texts) => parse(&texts[index], to)?,
        })
    };
    fn each<T: Element>(count: usize, convert: impl Fn(usize) -> Result<T, OpError>) -> Result<Data, OpError> {
        (0..count)
            .map(convert)
            .collect::<Result<Vec<T>, OpError>>()
            .map(T::wrap)
    }
    macro_rules! whole {
        ($type:ty) => {
            each::<$type>(count, |index| {
                Ok(match number(index)? {
                    // Too many bits are cut off, as C does.
                    Number::Whole(value) => value as $type,
                    Number::Float(value) => value as $type,
                })
            })
        };
    }
    match to {
        DataType::Bool => each(count, |index| {
            Ok(match number(index)? {
                Number::Whole(value) => value != 0,
                Number::Float(value) => value != 0.0,
            })
        }),
        DataType::Uint8 => whole!(u8),
        DataType::Uint16 => whole!(u16),
        DataType::Uint32 => whole!(u32),
        DataType::Uint64 => whole!(u64),
        DataType::Int8 => whole!(i8),
        DataType::Int16 => whole!(i16),
        DataType::Int32 => whole!(i32),
        DataType::Int64 => whole!(i64),
        DataType::Fp32 => whole!(f32),
        DataType::Fp64 => whole!(f64),
        DataType::Bytes => each(count, |index| {
            Ok(match number(index)? {
                Number::Whole(value) => Bytes::from(value.to_string()),
                Number::Float(value) => Bytes::from(value.to_string()),
            })
        }),
    }
}

fn texts<T>(values: &[T], text: impl Fn(&T) -> String) -> Data {
    Data::Bytes(values.iter().map(|value| Bytes::from(text(value))).collect())
}

/// Floats as onnxruntime writes them: like C's `%.8g`, and what is no number as the standard says.
fn float_text(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    let digits = format!("{value:.7e}");
    let Some((mantissa, exponent)) = digits.split_once('e') else {
        return digits;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let without_zeros = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match usize::try_from(7 - exponent) {
        Ok(decimals) if exponent >= -4 => without_zeros(&format!("{value:.decimals$}")),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs())
        }
    }
}

fn parse(text: &[u8], to: DataType) -> Result<Number, OpError> {
    let parsed = std::str::from_utf8(text).ok().map(str::trim).and_then(|text| match to {
        DataType::Fp32 | DataType::Fp64 | DataType::Bool => text.parse().ok().map(Number::Float),
        _ => text.parse().ok().map(Number::Whole),
    });
    parsed.ok_or_else(|| OpError::Value(format!("{:?} is no {to}", String::from_utf8_lossy(text))))
}

#[cfg(test)]
mod tests {
    use super::super::test_node::{TestNode, tensor};
    use super::*;

    const FLOAT: i64 = 1;
    const INT64: i64 = 7;
    const STRING: i64 = 8;
    const BOOL: i64 = 9;

    #[test]
    fn types_become_others() {
        let cast = |to: i64, x: &Tensor| TestNode::own("Cast").int("to", to).run(&[x]);
        assert_eq!(
            cast(INT64, &tensor(&[3], &[1.9_f32, -1.9, 0.0])),
            tensor(&[3], &[1_i64, -1, 0])
        );
        assert_eq!(cast(FLOAT, &tensor(&[1], &[3_i64])), tensor(&[1], &[3.0_f32]));
        assert_eq!(
            cast(BOOL, &tensor(&[3], &[0.0_f64, 0.5, f64::NAN])),
            tensor(&[3], &[false, true, true])
        );
        let texts = tensor(&[2], &[Bytes::from_static(b"12"), Bytes::from_static(b" -3")]);
        assert_eq!(cast(INT64, &texts), tensor(&[2], &[12_i64, -3]));
        assert_eq!(cast(FLOAT, &texts), tensor(&[2], &[12.0_f32, -3.0]));
        assert_eq!(
            cast(STRING, &tensor(&[1], &[7_i64])),
            tensor(&[1], &[Bytes::from_static(b"7")])
        );
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (-2.0, "-2"),
            (100.0, "100"),
            (99_999_999.0, "99999999"),
            (123_456_789.0, "1.2345679e+08"),
            (1.0 / 3.0, "0.33333333"),
            (0.0001, "0.0001"),
            (1e-7, "1e-07"),
            (-1.5e300, "-1.5e+300"),
            (9.999_999_999, "10"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-INF"),
        ] {
            let text = tensor(&[1], &[Bytes::from_static(text.as_bytes())]);
            assert_eq!(cast(STRING, &tensor(&[1], &[value])), text);
        }
        assert_eq!(
            cast(STRING, &tensor(&[1], &[0.1_f32])),
            tensor(&[1], &[Bytes::from_static(b"0.1")])
        );
        assert!(
            TestNode::own("Cast").int("to", 10).make().is_err(),
            "16-bit floats are not supported"
        );
        let word = tensor(&[1], &[Bytes::from_static(b"x")]);
        let cast = TestNode::own("Cast").int("to", INT64).make().expect("is known");
        assert!(matches!(cast(&[Some(&word)]), Err(OpError::Value(_))));
    }
}
