//! Tensors and strings written as JSON.

use std::ops::Range;

use base64::Engine as _;
use bytes::Bytes;
use model_runtime::tensor::{Data, Tensor};
use serde::Serialize;

use super::tensor_reader::{BASE64, BASE64_KEY};

/// The hand that JSON is written in.
#[derive(Debug, Clone, Copy)]
pub(in crate::protocol) struct Style {
    separator: &'static [u8],
    /// Bytes are written as `{"b64": "…"}` instead of a string.
    base64: bool,
}

/// As Python's `json.dumps` writes lists.
pub(in crate::protocol) const LAB: Style = Style {
    separator: b", ",
    base64: false,
};

/// Without a space.
pub(in crate::protocol) const COMPACT: Style = Style {
    separator: b",",
    base64: false,
};

impl Style {
    pub(in crate::protocol) fn with_base64(self, base64: bool) -> Self {
        Self { base64, ..self }
    }
}

/// Writes `tensor` as nested lists. Bytes that are no UTF-8 are the caller's to keep out or to have written as base64; here
/// they become U+FFFD.
pub(in crate::protocol) fn write_tensor(out: &mut Vec<u8>, tensor: &Tensor, style: Style) {
    write_part(out, tensor.shape(), tensor.data(), 0..tensor.data().len(), style);
}

/// Writes one row of `tensor`, which has rows.
pub(in crate::protocol) fn write_row(out: &mut Vec<u8>, tensor: &Tensor, row: usize, style: Style) {
    let length = tensor.row_length();
    let shape = tensor.shape().get(1..).unwrap_or_default();
    write_part(out, shape, tensor.data(), row * length..(row + 1) * length, style);
}

/// Writes all elements of `tensor` as one list.
pub(in crate::protocol) fn write_flat(out: &mut Vec<u8>, tensor: &Tensor, style: Style) {
    let count = tensor.data().len();
    write_part(out, &[count], tensor.data(), 0..count, style);
}

/// Writes one element of `tensor`.
pub(in crate::protocol) fn write_element(out: &mut Vec<u8>, tensor: &Tensor, index: usize, style: Style) {
    write_part(out, &[], tensor.data(), index..index + 1, style);
}

fn write_part(out: &mut Vec<u8>, shape: &[usize], data: &Data, part: Range<usize>, style: Style) {
    match data {
        Data::Bool(values) => write_list(out, shape, &values[part], style, write_scalar),
        Data::Uint8(values) => write_list(out, shape, &values[part], style, write_scalar),
        Data::Uint16(values) => write_list(out, shape, &values[part], style, write_scalar),
        Data::Uint32(values) => write_list(out, shape, &values[part], style, write_scalar),
        Data::Uint64(values) => write_list(out, shape, &values[part], style, write_scalar),
        Data::Int8(values) => write_list(out, shape, &values[part], style, write_scalar),
        Data::Int16(values) => write_list(out, shape, &values[part], style, write_scalar),
        Data::Int32(values) => write_list(out, shape, &values[part], style, write_scalar),
        Data::Int64(values) => write_list(out, shape, &values[part], style, write_scalar),
        Data::Fp32(values) => write_list(out, shape, &values[part], style, write_float),
        Data::Fp64(values) => write_list(out, shape, &values[part], style, write_float),
        Data::Bytes(values) if style.base64 => write_list(out, shape, &values[part], style, write_base64),
        Data::Bytes(values) => write_list(out, shape, &values[part], style, |out, text| {
            write_string(out, &String::from_utf8_lossy(text));
        }),
    }
}

fn write_list<T>(
    out: &mut Vec<u8>,
    shape: &[usize],
    values: &[T],
    style: Style,
    write: impl Fn(&mut Vec<u8>, &T) + Copy,
) {
    let Some((length, inner)) = shape.split_first() else {
        return values.iter().for_each(|value| write(out, value));
    };
    let step = values.len().checked_div(*length).unwrap_or(0);
    out.push(b'[');
    for index in 0..*length {
        if index > 0 {
            out.extend_from_slice(style.separator);
        }
        write_list(out, inner, &values[index * step..(index + 1) * step], style, write);
    }
    out.push(b']');
}

/// A whole number or a truth value.
fn write_scalar<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    // Writing to memory cannot fail.
    let _infallible = serde_json::to_writer(out, value);
}

/// The shortest text that reads back as the same number of its width, and always one of a float: `3.0`, `1e+300`. What is no
/// number is written as the words that Python writes and reads.
pub(in crate::protocol) fn write_float<T: Serialize + Copy + Into<f64>>(out: &mut Vec<u8>, value: &T) {
    let wide: f64 = (*value).into();
    if wide.is_finite() {
        write_scalar(out, value);
    } else if wide.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if wide > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
}

fn write_base64(out: &mut Vec<u8>, bytes: &Bytes) {
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(BASE64_KEY.as_bytes());
    out.extend_from_slice(b"\":\"");
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Writes `text` as a JSON string.
pub(in crate::protocol) fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing to memory cannot fail.
    let _infallible = serde_json::to_writer(out, text);
}

/// How many bytes `tensor` takes as JSON, as a first guess: a dozen digits a number is fair.
pub(in crate::protocol) fn expected_length(tensor: &Tensor) -> usize {
    match tensor.data() {
        Data::Bytes(texts) => texts.iter().map(|text| text.len() + 3).sum(),
        data => data.len() * 8,
    }
}

#[cfg(test)]
mod tests {
    use model_runtime::tensor::Element;

    use super::*;

    fn written<T: Element>(shape: &[usize], values: &[T], style: Style) -> String {
        let tensor = Tensor::of(shape.to_vec(), values.to_vec()).expect("a tensor");
        let mut out = Vec::new();
        write_tensor(&mut out, &tensor, style);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_float_always_looks_like_one() {
        let floats = [
            3.0_f32,
            0.2,
            9e6,
            1e30,
            -0.0,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ];
        assert_eq!(
            written(&[8], &floats, COMPACT),
            "[3.0,0.2,9000000.0,1e+30,-0.0,NaN,Infinity,-Infinity]"
        );
        assert_eq!(written(&[2, 1], &[1.0_f64, 2.5], LAB), "[[1.0], [2.5]]");
        assert_eq!(written(&[], &[u64::MAX], COMPACT), u64::MAX.to_string());
        assert_eq!(written(&[1, 2], &[true, false], COMPACT), "[[true,false]]");
        assert_eq!(written::<i8>(&[2, 0], &[], COMPACT), "[[],[]]");
    }

    #[test]
    fn bytes_are_strings_or_base64() {
        let bytes = [Bytes::from_static(b"a\"\n"), Bytes::from_static(b"\xff\0")];
        assert_eq!(written(&[2], &bytes, COMPACT), "[\"a\\\"\\n\",\"\u{fffd}\\u0000\"]");
        assert_eq!(
            written(&[2], &bytes, COMPACT.with_base64(true)),
            r#"[{"b64":"YSIK"},{"b64":"/wA="}]"#
        );
    }

    #[test]
    fn a_row_is_written_without_its_brothers() {
        let tensor = Tensor::of(vec![2, 2], vec![1_u8, 2, 3, 4]).expect("a tensor");
        let mut out = Vec::new();
        write_row(&mut out, &tensor, 1, COMPACT);
        write_flat(&mut out, &tensor, COMPACT);
        assert_eq!(out, b"[3,4][1,2,3,4]");
    }
}
