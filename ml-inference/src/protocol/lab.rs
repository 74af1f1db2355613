//! The lab's own protocol, spaces included.
//!
//! ```text
//! {"instances": [1.0, 2.0, 5.0]}   → {"predictions": [2.5, 3.0, 4.5], "model": "half_plus_two", "version": "1.0"}
//! {"features": [1, 2, 3, 4, 5]}    → {"prediction": 15.0, "model_version": "v1.0"}
//! ```
//!
//! An instance is a number or a list of any rank, as in TensorFlow Serving's row format; features are numbers. They are read
//! as 64-bit floats and become what the model's one input takes; the answer is the model's first output.
//! The bodies imitate Python's `json.dumps`, which the lab's answers were written by.

use std::fmt;

use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};

use super::InputError;
use super::json::{Name, Reader, TensorMember};
use super::write::{LAB, write_float, write_string, write_tensor};
use crate::model::Model;
use crate::runtime::Signature;
use crate::tensor::{Data, DataType, Element, MAX_RANK, Tensor};

const INSTANCES: &str = "instances";
const FEATURES: &str = "features";

/// From here on 64-bit floats stand for more than one whole number each.
const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;

/// What a client may ask. The numbers are FP64.
#[derive(Debug, PartialEq)]
pub enum Question {
    /// Run the served model on these rows.
    Instances(Tensor),
    /// Run `sum` on this one row.
    Features(Tensor),
}

/// Reads a request body with no more than `most_numbers` numbers.
pub fn parse(text: &[u8], most_numbers: usize) -> Result<Question, InputError> {
    if text.iter().all(u8::is_ascii_whitespace) {
        let problem = format!("the body is empty; send a JSON object with `{INSTANCES}` or `{FEATURES}`");
        return Err(InputError::Document { problem });
    }
    let mut reader = Reader::new(most_numbers);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let document = Document { reader: &mut reader };
    let read = deserializer
        .deserialize_map(document)
        .and_then(|question| deserializer.end().map(|()| question));
    read.map_err(|error| reader.explain(text, &error))
}

/// The object that is the body.
struct Document<'a> {
    reader: &'a mut Reader,
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Question;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object with `{INSTANCES}` or `{FEATURES}`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Question, A::Error> {
        use serde::de::Error as _;

        let reader = self.reader;
        let mut question = None;
        while let Some(name) = members.next_key::<Name>()? {
            let next = match name.0.as_str() {
                INSTANCES => INSTANCES,
                FEATURES => FEATURES,
                _ => {
                    let problem = format!("unknown member; known are {INSTANCES} and {FEATURES}");
                    return Err(reader.refuse_member(&name.shown(), problem));
                }
            };
            let given = question.as_ref().map(|question| match question {
                Question::Instances(_) => INSTANCES,
                Question::Features(_) => FEATURES,
            });
            match given {
                Some(given) if given == next => return Err(reader.refuse_member(next, "is given twice")),
                Some(given) => {
                    let problem = format!("cannot stand beside {given}; give one of the two");
                    return Err(reader.refuse_member(next, problem));
                }
                None => {}
            }
            let most_lists = if next == INSTANCES { MAX_RANK } else { 1 };
            let tensor = members.next_value_seed(TensorMember {
                reader: &mut *reader,
                name: next,
                most_lists,
            })?;
            question = Some(match next {
                INSTANCES => Question::Instances(tensor),
                _ => {
                    let row = vec![1, tensor.rows()];
                    Question::Features(tensor.reshape(row).map_err(A::Error::custom)?)
                }
            });
        }
        question.ok_or_else(|| reader.refuse(format!("the object has neither `{INSTANCES}` nor `{FEATURES}`")))
    }
}

/// `instances` as the one input of a model.
pub fn model_input(instances: Tensor, signature: &Signature) -> Result<Tensor, InputError> {
    match signature.inputs.as_slice() {
        [input] if input.takes(DataType::Fp64) => Ok(instances),
        [input] => convert(instances, input.data_type),
        inputs => Err(InputError::Member {
            field: INSTANCES.to_owned(),
            problem: format!(
                "the model has {} inputs, and here they have no names; use another protocol",
                inputs.len()
            ),
        }),
    }
}

/// Floats become the nearest of their width, as if the text had been read so; whole numbers must be whole and in range.
fn convert(instances: Tensor, to: DataType) -> Result<Tensor, InputError> {
    let (shape, data) = instances.into_parts();
    let Data::Fp64(values) = data else {
        return Err(refuse_element(&[], 0, "is no 64-bit float".to_owned()));
    };
    let converted = match to {
        DataType::Bool => each(&shape, &values, to, |value| match value {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        }),
        DataType::Uint8 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: u8| x)
        }),
        DataType::Uint16 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: u16| x)
        }),
        DataType::Uint32 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: u32| x)
        }),
        DataType::Uint64 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: u64| x)
        }),
        DataType::Int8 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: i8| x)
        }),
        DataType::Int16 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: i16| x)
        }),
        DataType::Int32 => each(&shape, &values, to, |value| {
            whole(value)?.try_into().ok().map(|x: i32| x)
        }),
        DataType::Int64 => each(&shape, &values, to, whole),
        DataType::Fp32 => each(&shape, &values, to, |value| {
            Some(value as f32).filter(|value| value.is_finite())
        }),
        DataType::Fp64 => Ok(Data::Fp64(values)),
        DataType::Bytes => Err(refuse_element(
            &shape,
            0,
            "the model takes texts, not numbers".to_owned(),
        )),
    };
    Tensor::new(shape, converted?).map_err(|error| InputError::Document {
        problem: error.to_string(),
    })
}

fn each<T: Element>(
    shape: &[usize],
    values: &[f64],
    to: DataType,
    convert: impl Fn(f64) -> Option<T>,
) -> Result<Data, InputError> {
    let converted = values.iter().enumerate().map(|(index, value)| {
        convert(*value).ok_or_else(|| {
            let problem = format!("{value} cannot be exactly {to}, which the model takes");
            refuse_element(shape, index, problem)
        })
    });
    converted.collect::<Result<Vec<T>, InputError>>().map(T::wrap)
}

fn whole(value: f64) -> Option<i64> {
    let exact = value.fract() == 0.0 && value.abs() < FIRST_INEXACT;
    exact.then_some(value as i64)
}

/// Names an element by its place: `instances[3][0]`.
fn refuse_element(shape: &[usize], element: usize, problem: String) -> InputError {
    let mut field = INSTANCES.to_owned();
    let mut rest = element;
    for depth in 0..shape.len() {
        let step: usize = shape[depth + 1..].iter().product();
        // A dimension of zero has no elements to name.
        let step = step.max(1);
        field.push_str(&format!("[{}]", rest / step));
        rest %= step;
    }
    InputError::Member { field, problem }
}

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

const TOO_LARGE: &str = "the result is too large for a 64-bit float";
const TOO_LARGE_32: &str = "the result is too large for a 32-bit float";
const NO_NUMBER: &str = "the result is not a number";

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
pub fn prediction(output: &Tensor, model_version: &str) -> Result<Bytes, InputError> {
    check_writable(output, |_row| FEATURES.to_owned())?;
    let mut body = b"{\"prediction\": ".to_vec();
    for number in output.values::<f64>().unwrap_or_default() {
        write_float(&mut body, number);
    }
    body.extend_from_slice(b", \"model_version\": ");
    write_string(&mut body, model_version);
    body.extend_from_slice(b"}\n");
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::BuiltIn;
    use crate::runtime::{Dim, TensorSpec};
    use crate::version::ModelVersion;

    const PLENTY: usize = 1 << 20;

    fn half_plus_two() -> Model {
        Model::built_in(BuiltIn::HalfPlusTwo, ModelVersion::parse("1.0").expect("a version"))
    }

    fn floats(tensor: &Tensor) -> &[f64] {
        tensor.values().expect("FP64")
    }

    fn instances(text: &str) -> Tensor {
        match parse(text.as_bytes(), PLENTY) {
            Ok(Question::Instances(tensor)) => tensor,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refusal(text: &str) -> String {
        parse(text.as_bytes(), PLENTY).expect_err(text).to_string()
    }

    #[test]
    fn instances_may_have_any_rank() {
        assert_eq!(instances(r#"{"instances": [1, 2.5, -3]}"#).shape(), [3]);
        assert_eq!(instances(r#" {"instances" : [[1,2],[3,4],[5,6]]} "#).shape(), [3, 2]);
        assert_eq!(instances(r#"{"instances": [[[[[[[[7]]]]]]]]}"#).shape(), [1; 8]);
    }

    #[test]
    fn features_are_one_row() {
        let question = parse(br#"{"features": [1,2,3]}"#, PLENTY).expect("parses");
        let row = Tensor::of(vec![1, 3], vec![1.0, 2.0, 3.0]).expect("a tensor");
        assert_eq!(question, Question::Features(row));
    }

    #[test]
    fn a_refusal_names_the_element_and_the_place() {
        assert_eq!(
            refusal("{\"instances\": [1,\n 2, \"x\"]}"),
            "instances[2]: expected a number, found a string, at line 2 column 7"
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
        let error = parse(br#"{"instances": [[1,2],[3,4]]}"#, 3).expect_err("too many");
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
            prop_assert_eq!(parse(&text, PLENTY), Ok(Question::Instances(tensor)));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // Whatever it says, it says it as a value.
            let _either = parse(&bytes, PLENTY);
        }

        #[test]
        fn nothing_json_like_makes_the_parser_panic(
            text in r#"\{"(instances|features)": ?[\[\]\{\}:,"0-9eE+\-. nultrefasNI\\]{0,40}\}?"#
        ) {
            if let Ok(Question::Instances(tensor) | Question::Features(tensor)) = parse(text.as_bytes(), PLENTY) {
                prop_assert!(tensor.values::<f64>().expect("FP64").iter().all(|x| x.is_finite()));
            }
        }
    }
}
