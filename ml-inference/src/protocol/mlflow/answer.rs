//! The answer: `{"predictions": …}`.

use bytes::Bytes;
use model_runtime::tensor::{Data, Tensor};
use model_runtime::{Signature, TensorSpec};

use super::super::json::write::{COMPACT, Style, expected_length, write_row, write_string, write_tensor};
use super::request::Form;

/// One output as nested lists. Several as an object for each row, or of columns where the request had columns, or where the
/// outputs have no rows in common. The outputs are in the order of the signature.
pub fn predictions(outputs: &[Tensor], signature: &Signature, form: Form) -> Bytes {
    let length: usize = outputs.iter().map(expected_length).sum();
    let mut body = Vec::with_capacity(64 + length);
    body.extend_from_slice(b"{\"predictions\":");
    match outputs {
        [output] => write_tensor(&mut body, output, style(output)),
        outputs => {
            let named: Vec<(&TensorSpec, &Tensor, Style)> = signature
                .outputs
                .iter()
                .zip(outputs)
                .map(|(spec, output)| (spec, output, style(output)))
                .collect();
            match common_rows(outputs).filter(|_| form == Form::Rows) {
                Some(rows) => write_rows(&mut body, &named, rows),
                None => write_object(&mut body, &named, write_tensor),
            }
        }
    }
    body.extend_from_slice(b"}\n");
    body.into()
}

/// The number of rows that all outputs have.
fn common_rows(outputs: &[Tensor]) -> Option<usize> {
    let rows = outputs.first()?.shape().first()?;
    let have_them = outputs.iter().all(|output| output.shape().first() == Some(rows));
    have_them.then_some(*rows)
}

fn write_rows(body: &mut Vec<u8>, outputs: &[(&TensorSpec, &Tensor, Style)], rows: usize) {
    body.push(b'[');
    for row in 0..rows {
        if row > 0 {
            body.push(b',');
        }
        write_object(body, outputs, |body, output, style| write_row(body, output, row, style));
    }
    body.push(b']');
}

fn write_object(
    body: &mut Vec<u8>,
    outputs: &[(&TensorSpec, &Tensor, Style)],
    write: impl Fn(&mut Vec<u8>, &Tensor, Style),
) {
    body.push(b'{');
    for (index, (spec, output, style)) in outputs.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write_string(body, &spec.name);
        body.push(b':');
        write(body, output, *style);
    }
    body.push(b'}');
}

/// Bytes that a string cannot hold are written in base64.
fn style(output: &Tensor) -> Style {
    let is_binary = match output.data() {
        Data::Bytes(texts) => texts.iter().any(|text| std::str::from_utf8(text).is_err()),
        _ => false,
    };
    COMPACT.with_base64(is_binary)
}
