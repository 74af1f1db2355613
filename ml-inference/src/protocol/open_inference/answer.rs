//! The answer to `infer`.

use std::io::Write as _;

use bytes::Bytes;
use model_runtime::Signature;
use model_runtime::tensor::{Data, Tensor};

use super::super::json::write::{COMPACT, expected_length, write_flat, write_string};
use super::binary::{encode, encoded_size};
use super::error::Error;
use super::request::Requested;

#[derive(Debug, PartialEq, Eq)]
pub struct InferResponse {
    pub body: Bytes,
    /// How many of its bytes are JSON, when others follow.
    pub json_length: Option<usize>,
}

/// The model that answers, and the id of the request.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    pub model: &'a str,
    pub version: u64,
    pub id: Option<&'a str>,
}

/// Writes the outputs that are `requested` out of all that the model gave.
pub fn answer(
    signed: Signed<'_>,
    outputs: &[Tensor],
    signature: &Signature,
    requested: &[Requested],
) -> Result<InferResponse, Error> {
    let mut body = Vec::with_capacity(256 + requested.iter().map(|asked| length(outputs, *asked)).sum::<usize>());
    body.extend_from_slice(b"{\"model_name\":");
    write_string(&mut body, signed.model);
    // Writing to memory cannot fail.
    let _infallible = write!(body, ",\"model_version\":\"{}\"", signed.version);
    if let Some(id) = signed.id {
        body.extend_from_slice(b",\"id\":");
        write_string(&mut body, id);
    }
    body.extend_from_slice(b",\"outputs\":[");
    for (place, asked) in requested.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        let (spec, output) = (&signature.outputs[asked.index], &outputs[asked.index]);
        write_output(&mut body, &spec.name, output, asked.is_binary)?;
    }
    body.extend_from_slice(b"]}");
    let json_length = body.len();
    for asked in requested.iter().filter(|asked| asked.is_binary) {
        encode(&mut body, &outputs[asked.index]);
    }
    let is_binary = requested.iter().any(|asked| asked.is_binary);
    if !is_binary {
        body.push(b'\n');
    }
    Ok(InferResponse {
        json_length: is_binary.then_some(json_length),
        body: body.into(),
    })
}

fn length(outputs: &[Tensor], asked: Requested) -> usize {
    match asked.is_binary {
        true => encoded_size(&outputs[asked.index]),
        false => expected_length(&outputs[asked.index]),
    }
}

fn write_output(body: &mut Vec<u8>, name: &str, output: &Tensor, is_binary: bool) -> Result<(), Error> {
    body.extend_from_slice(b"{\"name\":");
    write_string(body, name);
    let lengths: Vec<String> = output.shape().iter().map(usize::to_string).collect();
    // Writing to memory cannot fail.
    let _infallible = write!(
        body,
        ",\"datatype\":\"{}\",\"shape\":[{}]",
        output.data_type(),
        lengths.join(",")
    );
    if is_binary {
        let _infallible = write!(
            body,
            ",\"parameters\":{{\"binary_data_size\":{}}}}}",
            encoded_size(output)
        );
        return Ok(());
    }
    if let Data::Bytes(texts) = output.data()
        && texts.iter().any(|text| std::str::from_utf8(text).is_err())
    {
        let problem = "its bytes are no UTF-8 text, which JSON cannot hold; ask for it with binary_data";
        return Err(Error::member(format!("outputs[{name}]"), problem));
    }
    body.extend_from_slice(b",\"data\":");
    write_flat(body, output, COMPACT);
    body.push(b'}');
    Ok(())
}
