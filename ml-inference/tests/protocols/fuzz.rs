//! Mutated bodies, for as long as `FUZZ_SECONDS` says: none makes a parser panic or take more memory than it may, and what
//! one of them reads is read again from what is written of it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ml_inference::protocol::open_inference::{self, Requested, Signed};
use ml_inference::protocol::tf_serving::{self, Form};
use model_runtime::tensor::{Data, DataType, Tensor};
use model_runtime::{Dim, Signature, TensorSpec};
use shared::test_util::fuzz;

use crate::models::spec;

const MOST_BYTES: usize = 2048;

const WORDS: &[&[u8]] = &[
    b"instances",
    b"inputs",
    b"examples",
    b"context",
    b"outputs",
    b"signature_name",
    b"parameters",
    b"\"name\":",
    b"\"shape\":[2]",
    b"\"datatype\":\"FP32\"",
    b"\"data\":",
    b"binary_data_size",
    b"\"b64\"",
    b"{\"b64\":\"YQ==\"}",
    b"NaN",
    b"-Infinity",
    b"1e39",
    b"-0.0",
    b"16777217",
    b"[[1,2],[3,4]]",
    b"\\ud83d\\ude00",
    b"\"x\"",
    b"\"t\"",
    b"null",
    b"true",
];

fn regressions(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocols").join(of)
}

/// A model with one input, and one with an input of each kind.
fn signatures() -> [Signature; 2] {
    let echo = |specs: Vec<TensorSpec>| Signature {
        inputs: specs.clone(),
        outputs: specs,
    };
    let any = |name: &str, data_type| TensorSpec {
        any_shape: true,
        ..TensorSpec::new(name, data_type, vec![Dim::Free(None), Dim::Free(None)])
    };
    [
        echo(vec![any("x", DataType::Fp32)]),
        echo(vec![
            spec("x", DataType::Fp64, &[2]),
            any("t", DataType::Bytes),
            spec("i", DataType::Int8, &[]),
        ]),
    ]
}

fn memory(tensor: &Tensor) -> usize {
    let size = match tensor.data() {
        Data::Bytes(_) => size_of::<Bytes>(),
        Data::Fp64(_) => 8,
        Data::Fp32(_) => 4,
        _ => 1,
    };
    tensor.data().len() * size
}

fn check(inputs: &[Tensor]) {
    let taken: usize = inputs.iter().map(memory).sum();
    assert!(taken <= MOST_BYTES, "{taken} bytes");
}

/// Equal, where what is no number equals itself.
fn same(one: &[Tensor], other: &[Tensor]) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

/// How an answer could be told from others.
type Behaviour = Vec<Result<(bool, Vec<Vec<usize>>), String>>;

fn shapes(inputs: &[Tensor]) -> Vec<Vec<usize>> {
    inputs
        .iter()
        .map(|input| input.shape().iter().map(|length| *length.min(&3)).collect())
        .collect()
}

/// A message without its numbers and its quotations.
fn kind<E: ToString>(error: &E) -> String {
    let message = error.to_string();
    message
        .chars()
        .filter(|character| character.is_ascii_alphabetic())
        .take(40)
        .collect()
}

#[test]
fn no_body_confuses_the_reader_of_tensorflow_servings_requests() {
    let seeds: &[&[u8]] = &[
        br#"{"instances": [[1.5, 2], [3e2, -4]]}"#,
        br#"{"signature_name": "serving_default", "instances": [{"x": [1, 2], "t": ["a"], "i": 1}, {"x": [3, 4], "t": [{"b64": "/w=="}], "i": -1}]}"#,
        br#"{"inputs": {"x": [[1, 2]], "t": [["\u00e9", ""]], "i": [7]}}"#,
        br#"{"inputs": NaN} trailing"#,
        br#"{"context": {"t": "a"}, "examples": [{"x": [1, 2], "i": 3}, {"x": [NaN, 1], "i": 4, "t": "b"}]}"#,
    ];
    let signatures = signatures();
    fuzz(&regressions("tf_serving_fuzz"), seeds, WORDS, |input| -> Behaviour {
        let body = Bytes::copy_from_slice(input);
        let both = signatures.iter().flat_map(|signature| {
            let predict = tf_serving::parse_predict(&body, signature, MOST_BYTES);
            let predict = predict.map(|question| {
                check(&question.inputs);
                if let Ok(written) = tf_serving::predictions(&question.inputs, signature, question.form) {
                    let written = String::from_utf8(written.to_vec()).expect("UTF-8");
                    let (from, to) = match question.form {
                        Form::Row => ("{\"predictions\"", "{\"instances\""),
                        Form::Column => ("{\"outputs\"", "{\"inputs\""),
                    };
                    let again = Bytes::from(written.replacen(from, to, 1));
                    let again = tf_serving::parse_predict(&again, signature, MOST_BYTES).expect("our own hand");
                    assert!(same(&question.inputs, &again.inputs), "{question:?} is not {again:?}");
                }
                (question.form == Form::Row, shapes(&question.inputs))
            });
            let examples = tf_serving::parse_examples(&body, signature, MOST_BYTES);
            let examples = examples.map(|inputs| {
                check(&inputs);
                (true, shapes(&inputs))
            });
            [predict, examples].map(|read| read.map_err(|error| kind(&error)))
        });
        both.collect()
    });
}

#[test]
fn no_body_confuses_the_reader_of_open_inference_requests() {
    let seeds: &[&[u8]] = &[
        br#"{"id":"1","inputs":[{"name":"x","shape":[2,1],"datatype":"FP32","data":[[1],[2.5]]}],"outputs":[{"name":"x"}]}"#,
        br#"{"inputs":[{"data":[1,2,3,4],"name":"x","shape":[2,2],"datatype":"FP64"},{"name":"t","shape":[1],"datatype":"BYTES","data":["a\n"]},{"name":"i","shape":[2],"datatype":"INT8","data":[1,-1]}]}"#,
        b"{\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"datatype\":\"FP32\",\"parameters\":{\"binary_data_size\":4}}],\"parameters\":{\"binary_data_output\":true}}\0\0\x80\x3f",
        b"\x01\0\0\0",
    ];
    let signatures = signatures();
    fuzz(
        &regressions("open_inference_fuzz"),
        seeds,
        WORDS,
        |input| -> Behaviour {
            let body = Bytes::copy_from_slice(input);
            // Where the JSON could end.
            let end = input
                .iter()
                .rposition(|byte| *byte == b'}')
                .map_or(0, |end| end + 1)
                .to_string();
            let ways = signatures
                .iter()
                .flat_map(|signature| [None, Some(end.as_str())].map(|length| (signature, length)));
            let read = ways.map(|(signature, length)| {
                let question = open_inference::parse_infer(&body, length, signature, MOST_BYTES);
                let question = question.map_err(|error| kind(&error))?;
                check(&question.inputs);
                for is_binary in [false, true] {
                    let is_read_again = ask_again(&question.inputs, signature, is_binary);
                    assert!(
                        is_read_again.is_none_or(|again| same(&question.inputs, &again)),
                        "{question:?}"
                    );
                }
                Ok((length.is_some(), shapes(&question.inputs)))
            });
            read.collect()
        },
    );
}

/// Reads what is written of `tensors`, which the JSON cannot hold when they are bytes that are no text.
fn ask_again(tensors: &[Tensor], signature: &Signature, is_binary: bool) -> Option<Vec<Tensor>> {
    let signed = Signed {
        model: "m",
        version: 1,
        id: None,
    };
    let all = (0..tensors.len()).map(|index| Requested { index, is_binary });
    let all: Vec<Requested> = all.collect();
    let answer = open_inference::answer(signed, tensors, signature, &all).ok()?;
    let json_length = answer.json_length.unwrap_or(answer.body.len());
    // An answer is a question but for the name of the list.
    let json = String::from_utf8(answer.body[..json_length].to_vec()).expect("UTF-8");
    let json = json.replacen("\"outputs\":", "\"inputs\":", 1);
    let length = answer.json_length.map(|_| json.len().to_string());
    let body = Bytes::from([json.as_bytes(), &answer.body[json_length..]].concat());
    let read = open_inference::parse_infer(&body, length.as_deref(), signature, MOST_BYTES);
    Some(read.expect("our own hand").inputs)
}
