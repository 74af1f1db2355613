use bytes::Bytes;
use model_runtime::tensor::{DataType, Tensor};
use model_runtime::{Dim, Signature, TensorSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::input_error::InputError;
use super::super::json::write::{LAB, write_float, write_tensor};
use super::answer::{NO_NUMBER, TOO_LARGE};
use super::request::INSTANCES;
use super::*;
use crate::model::{BuiltIn, Model, ModelVersion};

const PLENTY: usize = 1 << 20;

fn parse_text(text: &[u8], most_numbers: usize) -> Result<PredictRequest, InputError> {
    parse(&Bytes::copy_from_slice(text), most_numbers)
}

fn half_plus_two() -> Model {
    Model::built_in(BuiltIn::HalfPlusTwo, ModelVersion::parse("1.0").expect("a version"))
}

fn floats(tensor: &Tensor) -> &[f64] {
    tensor.values().expect("FP64")
}

fn instances(text: &str) -> Tensor {
    match parse_text(text.as_bytes(), PLENTY) {
        Ok(PredictRequest::Instances(tensor)) => tensor,
        other => panic!("{text}: {other:?}"),
    }
}

fn refusal(text: &str) -> String {
    parse_text(text.as_bytes(), PLENTY).expect_err(text).to_string()
}

#[test]
fn instances_may_have_any_rank() {
    assert_eq!(instances(r#"{"instances": [1, 2.5, -3]}"#).shape(), [3]);
    assert_eq!(instances(r#" {"instances" : [[1,2],[3,4],[5,6]]} "#).shape(), [3, 2]);
    assert_eq!(instances(r#"{"instances": [[[[[[[[7]]]]]]]]}"#).shape(), [1; 8]);
}

#[test]
fn features_are_one_row() {
    let question = parse_text(br#"{"features": [1,2,3]}"#, PLENTY).expect("parses");
    let row = Tensor::of(vec![1, 3], vec![1.0, 2.0, 3.0]).expect("a tensor");
    assert_eq!(question, PredictRequest::Features(row));
}

#[test]
fn a_refusal_names_the_element_and_the_place() {
    assert_eq!(
        refusal("{\"instances\": [1,\n 2, \"x\"]}"),
        "instances[2]: expected a number, found a string, at line 2 column 5"
    );
    assert_eq!(
        refusal(r#"{"instances": [[1, 2], [3, [4]]]}"#),
        "instances[1][1]: expected a number as before, found a list, at line 1 column 28"
    );
    assert_eq!(
        refusal(r#"{"instances": [[1, 2], 3]}"#),
        "instances[1]: expected a list as before, found a number, at line 1 column 24"
    );
}

#[test]
fn words_that_stand_for_no_number_are_called_by_their_name() {
    for word in ["NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "INF"] {
        let text = format!("{{\"features\": [1, {word}]}}");
        let refusal = refusal(&text);
        assert!(
            refusal.starts_with("features[1]: NaN and Infinity are not JSON numbers"),
            "{refusal}"
        );
    }
    assert!(refusal(r#"{"instances": [nil]}"#).contains("broken JSON"));
}

#[test]
fn a_long_name_is_not_repeated_whole() {
    let text = json!({ "ü".repeat(5000): 1 }).to_string();
    let refusal = refusal(&text);
    assert!(refusal.contains("…: unknown member"), "{refusal}");
    assert!(refusal.len() < 300, "{refusal}");
}

#[test]
fn more_numbers_than_memory_is_set_aside_for_are_refused() {
    let error = parse_text(br#"{"instances": [[1,2],[3,4]]}"#, 3).expect_err("too many");
    let expected = InputError::TooMany {
        field: INSTANCES.to_owned(),
        limit: 3,
    };
    assert_eq!(error, expected);
}

fn taking(data_type: DataType) -> Signature {
    Signature {
        inputs: vec![TensorSpec::new("x", data_type, vec![Dim::Free(None)])],
        outputs: Vec::new(),
    }
}

#[test]
fn instances_become_what_the_model_takes_or_the_element_is_named() {
    let input = |text: &str, data_type| model_input(instances(text), &taking(data_type));
    let refused = |text: &str, data_type| input(text, data_type).expect_err(text).to_string();
    let whole = Tensor::of(vec![2, 1], vec![3_i64, -4]).expect("a tensor");
    assert_eq!(input(r#"{"instances": [[3.0], [-4]]}"#, DataType::Int64), Ok(whole));
    let nearest = Tensor::of(vec![2], vec![0.1_f32, 16_777_216.0]).expect("a tensor");
    assert_eq!(input(r#"{"instances": [0.1, 16777217]}"#, DataType::Fp32), Ok(nearest));
    assert_eq!(
        refused(r#"{"instances": [[1, 2], [3, 4.5]]}"#, DataType::Int64),
        "instances[1][1]: 4.5 cannot be exactly INT64, which the model takes"
    );
    for (number, data_type) in [
        ("9007199254740993", DataType::Int64),
        ("256", DataType::Uint8),
        ("-1", DataType::Uint64),
        ("2", DataType::Bool),
        ("1e39", DataType::Fp32),
    ] {
        let refusal = refused(&format!("{{\"instances\": [{number}]}}"), data_type);
        assert!(refusal.starts_with("instances[0]: "), "{refusal}");
    }
    assert!(refused(r#"{"instances": [1]}"#, DataType::Bytes).contains("the model takes texts"));
    let mut two = taking(DataType::Fp32);
    two.inputs.push(two.inputs[0].clone());
    let refusal = model_input(instances(r#"{"instances": [1]}"#), &two).expect_err("two inputs");
    assert!(refusal.to_string().contains("the model has 2 inputs"), "{refusal}");
}

#[test]
fn every_type_is_written_in_its_own_way() {
    let written = |tensor: Tensor| {
        let body = predictions(&tensor, &half_plus_two()).expect("writable");
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        let (_, rest) = body.split_once(": ").expect("a member");
        rest.split_once(", \"model\"").expect("a member").0.to_owned()
    };
    let of = |tensor: Result<Tensor, _>| written(tensor.expect("a tensor"));
    assert_eq!(of(Tensor::of(vec![2], vec![0.1_f32, 2.0])), "[0.1, 2.0]");
    assert_eq!(
        of(Tensor::of(vec![2, 1], vec![u64::MAX, 0])),
        "[[18446744073709551615], [0]]"
    );
    assert_eq!(of(Tensor::of(vec![], vec![true])), "true");
    assert_eq!(of(Tensor::of(vec![2, 0], Vec::<i8>::new())), "[[], []]");
    let texts = vec![Bytes::from_static(b"a\"b"), Bytes::from_static("ü".as_bytes())];
    assert_eq!(of(Tensor::of(vec![2], texts)), r#"["a\"b", "ü"]"#);
}

#[test]
fn a_result_that_json_cannot_say_names_its_row() {
    let refused = |tensor: Result<Tensor, _>| {
        let refusal = predictions(&tensor.expect("a tensor"), &half_plus_two());
        refusal.expect_err("not writable").to_string()
    };
    let rows = vec![1.0_f64, 2.0, 3.0, 4.0, f64::INFINITY, 6.0];
    assert_eq!(
        refused(Tensor::of(vec![3, 2], rows)),
        format!("instances[2]: {TOO_LARGE}")
    );
    assert_eq!(
        refused(Tensor::of(vec![2], vec![0.0_f32, f32::NAN])),
        format!("instances[1]: {NO_NUMBER}")
    );
    let bytes = vec![Bytes::from_static(b"\xff")];
    assert_eq!(
        refused(Tensor::of(vec![1], bytes)),
        "instances[0]: the result is no UTF-8 text"
    );
}

#[test]
fn the_deepest_nesting_ends_early_and_not_on_the_stack() {
    let text = format!("{{\"instances\": {}", "[".repeat(1_000_000));
    assert!(refusal(&text).contains("nested deeper than the limit of 8"));
}

fn finite() -> impl Strategy<Value = f64> {
    // Every bit pattern, so subnormals and the ends of the range come up.
    any::<u64>()
        .prop_map(f64::from_bits)
        .prop_filter("finite", |x| x.is_finite())
}

proptest! {
    #[test]
    fn every_finite_number_goes_through_exactly(numbers in prop::collection::vec(finite(), 1..100)) {
        let text = json!({ "instances": numbers }).to_string();
        let input = instances(&text);
        let same = floats(&input).iter().map(|x| x.to_bits()).eq(numbers.iter().map(|x| x.to_bits()));
        prop_assert!(same, "{:?} became {:?}", numbers, input);

        let model = half_plus_two();
        let output = model.runtime.run(&[input]).expect("runs");
        let body = predictions(&output[0], &model).expect("finite");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let answered: Vec<f64> = serde_json::from_value(body["predictions"].clone()).expect("numbers");
        let expected: Vec<f64> = numbers.iter().map(|x| x / 2.0 + 2.0).collect();
        prop_assert_eq!(answered, expected);
    }

    #[test]
    fn a_number_is_written_as_a_float(number in finite()) {
        let mut text = Vec::new();
        write_float(&mut text, &number);
        let text = String::from_utf8(text).expect("ASCII");
        prop_assert!(text.contains(['.', 'e']), "{}", text);
        prop_assert_eq!(text.parse::<f64>().expect("a number").to_bits(), number.to_bits());
    }

    #[test]
    fn any_shape_is_written_as_it_was_read(shape in prop::collection::vec(1_usize..4, 1..5)) {
        let count = shape.iter().product::<usize>();
        let values = (0..u32::try_from(count).expect("small")).map(f64::from).collect();
        let tensor = Tensor::of::<f64>(shape, values).expect("a tensor");
        let mut text = b"{\"instances\": ".to_vec();
        write_tensor(&mut text, &tensor, LAB);
        text.push(b'}');
        prop_assert_eq!(parse_text(&text, PLENTY), Ok(PredictRequest::Instances(tensor)));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // Whatever it says, it says it as a value.
        let _either = parse_text(&bytes, PLENTY);
    }

    #[test]
    fn nothing_json_like_makes_the_parser_panic(
        text in r#"\{"(instances|features)": ?[\[\]\{\}:,"0-9eE+\-. nultrefasNI\\]{0,40}\}?"#
    ) {
        if let Ok(PredictRequest::Instances(tensor) | PredictRequest::Features(tensor)) = parse_text(text.as_bytes(), PLENTY) {
            prop_assert!(tensor.values::<f64>().expect("FP64").iter().all(|x| x.is_finite()));
        }
    }
}
