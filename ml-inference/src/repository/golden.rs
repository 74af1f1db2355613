//! Comparison of a model's answer with its golden response: two JSON values, numbers within a tolerance.

use serde_json::Value;

/// The first place where `found` is not what is expected. Members of objects that are not expected are passed over.
pub(super) fn difference(expected: &Value, found: &Value, tolerance: f64) -> Option<String> {
    differ("", expected, found, tolerance)
}

fn differ(path: &str, expected: &Value, found: &Value, tolerance: f64) -> Option<String> {
    let whole = || Some(format!("{}expected {expected}, found {found}", prefix(path)));
    match (expected, found) {
        (Value::Number(expected), Value::Number(found)) => {
            let whole_numbers = |number: &serde_json::Number| number.is_i64() || number.is_u64();
            let close = match (expected.as_f64(), found.as_f64()) {
                // Labels and counts are right or wrong.
                _ if whole_numbers(expected) && whole_numbers(found) => expected == found,
                (Some(one), Some(other)) => is_close(one, other, tolerance),
                _ => expected == found,
            };
            if close { None } else { whole() }
        }
        (Value::Array(expected), Value::Array(found)) => {
            if expected.len() != found.len() {
                let (wanted, got) = (expected.len(), found.len());
                return Some(format!("{}expected {wanted} elements, found {got}", prefix(path)));
            }
            let pairs = expected.iter().zip(found).enumerate();
            pairs
                .filter_map(|(at, (expected, found))| differ(&format!("{path}[{at}]"), expected, found, tolerance))
                .next()
        }
        (Value::Object(expected), Value::Object(found)) => {
            let mut members = expected.iter();
            members.find_map(|(name, expected)| {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                match found.get(name) {
                    Some(found) => differ(&path, expected, found, tolerance),
                    None => Some(format!("{}is missing", prefix(&path))),
                }
            })
        }
        _ if expected == found => None,
        _ => whole(),
    }
}

fn prefix(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path}: ")
    }
}

/// Relative to the larger of the two, and to 1 for numbers below it: near zero, relative differences say nothing.
fn is_close(one: f64, other: f64, tolerance: f64) -> bool {
    let scale = one.abs().max(other.abs()).max(1.0);
    (one - other).abs() <= tolerance * scale
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_are_right_or_wrong() {
        assert!(difference(&json!(200_001), &json!(200_000), 1e-5).is_some());
        assert_eq!(difference(&json!(200_001), &json!(200_001), 1e-5), None);
        assert_eq!(difference(&json!(200_001), &json!(200_000.9), 1e-5), None);
    }

    #[test]
    fn the_place_of_a_difference_is_named() {
        let expected = json!({ "predictions": [[0.1, 0.9], [0.5, 0.5]] });
        let found = json!({ "predictions": [[0.1, 0.9], [0.5, 0.7]], "model": "iris" });
        assert_eq!(
            difference(&expected, &found, 1e-5).as_deref(),
            Some("predictions[1][1]: expected 0.5, found 0.7")
        );
        assert_eq!(difference(&expected, &expected, 0.0), None);
        assert_eq!(
            difference(&expected, &json!({}), 0.0).as_deref(),
            Some("predictions: is missing")
        );
        assert_eq!(
            difference(&json!([1, 2]), &json!([1]), 0.0).as_deref(),
            Some("expected 2 elements, found 1")
        );
        assert_eq!(
            difference(&json!({ "class": "a" }), &json!({ "class": "b" }), 1.0).as_deref(),
            Some("class: expected \"a\", found \"b\"")
        );
        assert!(difference(&json!("1"), &json!(1), 1.0).is_some());
    }

    proptest! {
        #[test]
        fn numbers_within_the_tolerance_are_the_same(number in -1e6_f64..1e6, share in -1.0_f64..1.0) {
            let near = number + share * 0.9e-5 * number.abs().max(1.0);
            prop_assert_eq!(difference(&json!(number), &json!(near), 1e-5), None);
            let far = number + share.signum() * 2e-5 * number.abs().max(1.0);
            prop_assert!(difference(&json!(number), &json!(far), 1e-5).is_some());
        }
    }
}
