//! The lab's own protocol, spaces included.
//!
//! ```text
//! {"instances": [1.0, 2.0, 5.0]}   → {"predictions": [2.5, 3.0, 4.5], "model": "half_plus_two", "version": "1.0"}
//! {"features": [1, 2, 3, 4, 5]}    → {"prediction": 15.0, "model_version": "v1.0"}
//! ```
//!
//! An instance is a number or a list of any rank, as in TensorFlow Serving's row format; features are numbers.
//! The bodies imitate Python's `json.dumps`, which the lab's answers were written by.

use std::fmt;

use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};

use super::InputError;
use super::json::{Name, Reader, TensorMember, write_number, write_string, write_tensor};
use crate::model::Model;
use crate::tensor::{MAX_RANK, Tensor};

const INSTANCES: &str = "instances";
const FEATURES: &str = "features";

/// What a client may ask.
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
                _ => match Tensor::new(vec![1, tensor.rows()], tensor.into_values()) {
                    Some(row) => Question::Features(row),
                    None => return Err(A::Error::custom("features are no row")),
                },
            });
        }
        question.ok_or_else(|| reader.refuse(format!("the object has neither `{INSTANCES}` nor `{FEATURES}`")))
    }
}

/// The answer to `instances`.
pub fn predictions(output: &Tensor, model: &Model) -> Bytes {
    // Two spaces and a dozen digits a number is a fair first guess.
    let mut body = Vec::with_capacity(64 + output.values().len() * 8);
    body.extend_from_slice(b"{\"predictions\": ");
    write_tensor(&mut body, output);
    body.extend_from_slice(b", \"model\": ");
    write_string(&mut body, model.name);
    body.extend_from_slice(b", \"version\": ");
    write_string(&mut body, model.version.as_str());
    body.extend_from_slice(b"}\n");
    body.into()
}

/// The answer to `features`.
pub fn prediction(output: &Tensor, model_version: &str) -> Bytes {
    let mut body = b"{\"prediction\": ".to_vec();
    write_number(&mut body, output.values()[0]);
    body.extend_from_slice(b", \"model_version\": ");
    write_string(&mut body, model_version);
    body.extend_from_slice(b"}\n");
    body.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::engine::Engine;
    use crate::metrics::Metrics;
    use crate::model::BuiltIn;
    use crate::version::ModelVersion;

    const PLENTY: usize = 1 << 20;

    fn engine() -> Engine {
        let metrics = Metrics::new().expect("registers");
        let version = ModelVersion::parse("1.0").expect("a version");
        Engine::load(BuiltIn::HalfPlusTwo, &version, &metrics)
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
        let row = Tensor::new(vec![1, 3], vec![1.0, 2.0, 3.0]).expect("a tensor");
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
            let same = input.values().iter().map(|x| x.to_bits()).eq(numbers.iter().map(|x| x.to_bits()));
            prop_assert!(same, "{:?} became {:?}", numbers, input.values());

            let engine = engine();
            let output = engine.run(&engine.served, &input, 32).expect("runs");
            let body = predictions(&output, &engine.served.model);
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let answered: Vec<f64> = serde_json::from_value(body["predictions"].clone()).expect("numbers");
            let expected: Vec<f64> = numbers.iter().map(|x| x / 2.0 + 2.0).collect();
            prop_assert_eq!(answered, expected);
        }

        #[test]
        fn a_number_is_written_as_a_float(number in finite()) {
            let mut text = Vec::new();
            write_number(&mut text, number);
            let text = String::from_utf8(text).expect("ASCII");
            prop_assert!(text.contains(['.', 'e']), "{}", text);
            prop_assert_eq!(text.parse::<f64>().expect("a number").to_bits(), number.to_bits());
        }

        #[test]
        fn any_shape_is_written_as_it_was_read(shape in prop::collection::vec(1_usize..4, 1..5)) {
            let count = shape.iter().product::<usize>();
            let values = (0..u32::try_from(count).expect("small")).map(f64::from).collect();
            let tensor = Tensor::new(shape, values).expect("a tensor");
            let mut text = b"{\"instances\": ".to_vec();
            write_tensor(&mut text, &tensor);
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
                prop_assert!(tensor.values().iter().all(|x| x.is_finite()));
            }
        }
    }
}
