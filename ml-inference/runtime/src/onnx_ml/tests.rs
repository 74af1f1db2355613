//! Files that are no good model: each is refused with a reason, and none brings the program down.

use std::path::Path;

use super::{LoadError, OnnxMl};
use crate::interface::ModelRuntime;

const FLOAT: u64 = 1;
const INT64: u64 = 7;
const HALF: u64 = 10;

/// Protobuf, as much of it as these files need.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut message = Vec::new();
    inputs.iter().for_each(|name| message.extend(bytes(1, name)));
    outputs.iter().for_each(|name| message.extend(bytes(2, name)));
    message.extend(bytes(3, "the_node"));
    message.extend(bytes(4, operator));
    attributes
        .iter()
        .for_each(|attribute| message.extend(bytes(5, attribute)));
    bytes(1, message)
}

fn int_attribute(name: &str, value: i64) -> Vec<u8> {
    [bytes(1, name), number(3, value.cast_unsigned()), number(20, 2)].concat()
}

fn value(name: &str, element: u64, dims: &[Option<u64>]) -> Vec<u8> {
    let dims = dims
        .iter()
        .map(|dim| bytes(1, dim.map(|length| number(1, length)).unwrap_or_default()));
    let shape = bytes(2, dims.collect::<Vec<Vec<u8>>>().concat());
    let tensor = [number(1, element), shape].concat();
    [bytes(1, name), bytes(2, bytes(1, tensor))].concat()
}

fn constant(name: &str, element: u64, dims: &[u64], more: &[u8]) -> Vec<u8> {
    let dims = dims
        .iter()
        .map(|dim| number(1, *dim))
        .collect::<Vec<Vec<u8>>>()
        .concat();
    bytes(5, [dims, number(2, element), bytes(8, name), more.to_vec()].concat())
}

/// A model with an input x and an output y of two columns each.
fn model(parts: &[Vec<u8>]) -> Vec<u8> {
    let two = [None, Some(2)];
    let ends = [bytes(11, value("x", FLOAT, &two)), bytes(12, value("y", FLOAT, &two))].concat();
    file(&[parts.concat(), ends].concat(), 21)
}

fn file(graph: &[u8], opset: u64) -> Vec<u8> {
    [bytes(7, graph), bytes(8, number(2, opset))].concat()
}

fn problem(file: &[u8]) -> String {
    OnnxMl::load(file).expect_err("is refused").to_string()
}

#[test]
fn the_smallest_model_loads() {
    let model = OnnxMl::load(&model(&[node("Identity", &["x"], &["y"], &[])])).expect("loads");
    let input = model.signature().zeros(3).expect("small");
    assert_eq!(model.run(&input), Ok(input));
}

#[test]
fn what_is_not_supported_is_named() {
    let unknown = model(&[node("Conv", &["x"], &["y"], &[])]);
    assert_eq!(
        problem(&unknown),
        "the operator Conv of node the_node (Conv) is not supported"
    );
    assert!(matches!(OnnxMl::load(&unknown), Err(LoadError::Operator { operator, .. }) if operator == "Conv"));
    let attribute = model(&[node("Identity", &["x"], &["y"], &[int_attribute("odd", 1)])]);
    assert_eq!(
        problem(&attribute),
        "node the_node (Identity): the attribute odd is not supported"
    );
    let mistyped = model(&[node("Gemm", &["x", "x"], &["y"], &[int_attribute("alpha", 1)])]);
    assert_eq!(
        problem(&mistyped),
        "node the_node (Gemm): the attribute alpha is not a float"
    );
    let identity = node("Identity", &["x"], &["y"], &[]);
    let ends = |element| {
        [
            bytes(11, value("x", element, &[None])),
            bytes(12, value("y", element, &[None])),
        ]
        .concat()
    };
    assert!(problem(&file(&[identity.clone(), ends(HALF)].concat(), 21)).contains("`x`: the element type 10"));
    assert!(problem(&file(&[identity.clone(), ends(FLOAT)].concat(), 99)).contains("ai.onnx 99 is not supported"));
    assert!(problem(&file(&[identity.clone(), ends(FLOAT)].concat(), 6)).contains("ai.onnx 6 is not supported"));
    let sparse = [identity, ends(FLOAT), bytes(15, "")].concat();
    assert!(problem(&file(&sparse, 21)).contains("sparse constants"));
}

#[test]
fn graphs_that_do_not_hang_together_are_refused() {
    let cycle = [
        node("Identity", &["b"], &["a"], &[]),
        node("Identity", &["a"], &["b"], &[]),
    ];
    assert_eq!(
        problem(&model(&cycle)),
        "node the_node (Identity): it uses `b`, which nothing before it makes"
    );
    let itself = [node("Add", &["x", "y"], &["y"], &[])];
    assert!(problem(&model(&itself)).contains("it uses `y`, which nothing before it makes"));
    let twice = [
        node("Identity", &["x"], &["y"], &[]),
        node("Identity", &["x"], &["y"], &[]),
    ];
    assert_eq!(problem(&model(&twice)), "the value `y` is made twice");
    assert_eq!(problem(&model(&[])), "nothing makes the output `y`");
    assert!(problem(&file(&node("Identity", &["x"], &["y"], &[]), 21)).contains("it uses `x`"));
    assert_eq!(problem(&[]), "the file is no ONNX model: it has no graph");
    assert!(problem(b"ignoring an entry of MODELS_DIR").starts_with("the file is no ONNX model: at byte "));
}

#[test]
fn types_and_shapes_that_do_not_go_together_show_at_load() {
    let cast = model(&[node(
        "Cast",
        &["x"],
        &["y"],
        &[int_attribute("to", INT64.cast_signed())],
    )]);
    assert_eq!(
        problem(&cast),
        "the output `y` is said to be FP32[-1,2], but is INT64[1,2]"
    );
    let product = model(&[node("MatMul", &["x", "x"], &["y"], &[])]);
    assert_eq!(
        problem(&product),
        "node the_node (MatMul): FP32[1,2] and FP32[1,2] have no product"
    );
    let missing = model(&[node("MatMul", &["x", ""], &["y"], &[])]);
    assert_eq!(problem(&missing), "node the_node (MatMul): input 1 is missing");
}

#[test]
fn constants_that_lie_about_their_size_are_refused() {
    let with = |constant: Vec<u8>| problem(&model(&[constant, node("Add", &["x", "c"], &["y"], &[])]));
    let huge = with(constant("c", FLOAT, &[u64::from(u32::MAX), u64::from(u32::MAX)], &[]));
    assert!(huge.starts_with("the tensor `c`: the shape"), "{huge}");
    assert!(with(constant("c", FLOAT, &[u64::MAX], &[])).contains("the shape [-1] is none"));
    assert!(with(constant("c", FLOAT, &[2], &bytes(9, [0; 7]))).contains("7 bytes of data are not 2 elements"));
    assert!(with(constant("c", FLOAT, &[1 << 30], &bytes(9, [0; 4]))).contains("4 bytes of data"));
    assert!(with(constant("c", FLOAT, &[2], &[])).contains("has 2 elements, but there are 0"));
    assert!(with(constant("c", HALF, &[2], &bytes(9, [0; 4]))).contains("the element type 10 is not supported"));
    assert!(with(constant("c", FLOAT, &[2], &number(14, 1))).contains("in a file of its own"));
    assert!(with(constant("c", FLOAT, &[1; 9], &bytes(9, [0; 4]))).contains("9 dimensions"));
}

#[test]
fn a_small_file_does_not_get_much_memory() {
    let wide = [
        node("Identity", &["x"], &["y"], &[]),
        bytes(11, value("x", FLOAT, &[None, Some(1 << 40)])),
        bytes(12, value("y", FLOAT, &[None, Some(1 << 40)])),
    ];
    assert!(problem(&file(&wide.concat(), 21)).contains("elements a row"));
    let ones = |name: &str, dims: &[u64]| constant(name, FLOAT, dims, &bytes(9, vec![0; 4 << 14]));
    let outer = model(&[
        ones("a", &[1 << 14, 1]),
        ones("b", &[1, 1 << 14]),
        node("Add", &["a", "b"], &["c"], &[]),
        node("Identity", &["x"], &["y"], &[]),
    ]);
    assert!(problem(&outer).contains("is too large"));
}

/// Loads a file that may be anything, and runs what loads.
fn survive(file: &[u8]) {
    if let Ok(model) = OnnxMl::load(file)
        && let Ok(zeros) = model.signature().zeros(2)
    {
        // Whatever it says, it says it as a value.
        let _either = model.run(&zeros);
    }
}

#[test]
fn cut_and_changed_files_are_errors_or_models_and_nothing_else() {
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo/small");
    for name in [
        "decision_tree",
        "mlp_classifier_words",
        "svc_probability_two",
        "hist_boosting_classifier_two",
        "mixed_columns",
    ] {
        let file = std::fs::read(small.join(name).with_extension("onnx")).expect("is checked in");
        assert!(OnnxMl::load(&file).is_ok(), "{name}");
        for end in 0..file.len() {
            survive(&file[..end]);
        }
        let mut changed = file.clone();
        for place in 0..file.len() {
            for change in [0x01, 0x80, 0xff] {
                changed[place] ^= change;
                survive(&changed);
                changed[place] = file[place];
            }
        }
    }
}
