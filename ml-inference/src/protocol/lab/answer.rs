//! The bodies of answers.

use bytes::Bytes;
use model_runtime::tensor::{Data, Tensor};

use super::super::input_error::InputError;
use super::super::json::write::{LAB, write_float, write_string, write_tensor};
use super::request::{FEATURES, INSTANCES};
use crate::model::Model;

/// JSON has no infinity, and an overflowed number helps nobody. `field` names the part of the request that a row came of.
fn check_writable(output: &Tensor, field: impl Fn(usize) -> String) -> Result<(), InputError> {
    let faulty = match output.data() {
        Data::Fp32(values) => values.iter().position(|value| !value.is_finite()).map(|at| {
            let problem = if values[at].is_nan() { NO_NUMBER } else { TOO_LARGE_32 };
            (at, problem)
        }),
        Data::Fp64(values) => values.iter().position(|value| !value.is_finite()).map(|at| {
            let problem = if values[at].is_nan() { NO_NUMBER } else { TOO_LARGE };
            (at, problem)
        }),
        Data::Bytes(texts) => {
            let position = texts.iter().position(|text| std::str::from_utf8(text).is_err());
            position.map(|at| (at, "the result is no UTF-8 text"))
        }
        _ => None,
    };
    match faulty {
        None => Ok(()),
        Some((at, problem)) => Err(InputError::Member {
            field: field(at / output.row_length().max(1)),
            problem: problem.to_owned(),
        }),
    }
}

pub(super) const TOO_LARGE: &str = "the result is too large for a 64-bit float";
const TOO_LARGE_32: &str = "the result is too large for a 32-bit float";
pub(super) const NO_NUMBER: &str = "the result is not a number";

/// The answer to `instances`.
pub fn predictions(output: &Tensor, model: &Model) -> Result<Bytes, InputError> {
    check_writable(output, |row| format!("{INSTANCES}[{row}]"))?;
    // Two spaces and a dozen digits a number is a fair first guess.
    let mut body = Vec::with_capacity(64 + output.data().len() * 8);
    body.extend_from_slice(b"{\"predictions\": ");
    write_tensor(&mut body, output, LAB);
    body.extend_from_slice(b", \"model\": ");
    write_string(&mut body, &model.name);
    body.extend_from_slice(b", \"version\": ");
    write_string(&mut body, model.version.as_str());
    body.extend_from_slice(b"}\n");
    Ok(body.into())
}

/// The answer to `features`: one row's one number.
pub fn prediction(output: &Tensor, model: &Model) -> Result<Bytes, InputError> {
    check_writable(output, |_row| FEATURES.to_owned())?;
    let mut body = b"{\"prediction\": ".to_vec();
    for number in output.values::<f64>().unwrap_or_default() {
        write_float(&mut body, number);
    }
    // A version is digits and points.
    body.extend_from_slice(b", \"model_version\": \"v");
    body.extend_from_slice(model.version.as_str().as_bytes());
    body.extend_from_slice(b"\"}\n");
    Ok(body.into())
}
