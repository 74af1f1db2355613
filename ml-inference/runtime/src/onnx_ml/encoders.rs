//! LabelEncoder and OneHotEncoder: categories and what stands for them.

use std::collections::HashMap;

use bytes::Bytes;

use super::elementwise::allowed;
use super::node::{OpError, Operator, OperatorNode, input, one, unsupported};
use crate::error::LoadError;
use crate::tensor::{Data, DataType, Element, Tensor};

/// The first version of the operator knew only texts and their positions.
const KEYS_AND_VALUES: i64 = 2;

/// A category. Floats are equal by their bits, once zeros have one sign and NaNs one form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Text(Bytes),
    Whole(i64),
    Float(u64),
}

impl Key {
    fn float(value: f64) -> Self {
        let plain = if value.is_nan() { f64::NAN } else { value + 0.0 };
        Self::Float(plain.to_bits())
    }
}

fn keys(data: &Data) -> Option<Vec<Key>> {
    Some(match data {
        Data::Bytes(values) => values.iter().cloned().map(Key::Text).collect(),
        Data::Int64(values) => values.iter().copied().map(Key::Whole).collect(),
        Data::Int32(values) => values.iter().map(|value| Key::Whole((*value).into())).collect(),
        Data::Int16(values) => values.iter().map(|value| Key::Whole((*value).into())).collect(),
        Data::Fp32(values) => values.iter().map(|value| Key::float((*value).into())).collect(),
        Data::Fp64(values) => values.iter().copied().map(Key::float).collect(),
        _ => return None,
    })
}

/// Where each category stands; the first of several that are the same.
fn index(categories: &Data) -> Option<HashMap<Key, usize>> {
    let mut places = HashMap::new();
    for (place, key) in keys(categories)?.into_iter().enumerate() {
        places.entry(key).or_insert(place);
    }
    Some(places)
}

pub(super) fn label_encoder(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    if node.opset < KEYS_AND_VALUES {
        return positions(node);
    }
    let (keys, values) = (one_of(node, &KEYS)?, one_of(node, &VALUES)?);
    if keys.len() != values.len() {
        return Err(node.fault(format!("{} keys, but {} values", keys.len(), values.len())));
    }
    let default = default(node, values.data_type())?;
    let key_type = keys.data_type();
    let places = index(&keys).ok_or_else(|| node.fault(format!("keys of {key_type} are not supported")))?;
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        if x.data_type() != key_type {
            return Err(OpError::Kind(format!("expected {key_type}, found {}", x.describe())));
        }
        let found: Vec<Option<usize>> = self::keys(x.data())
            .ok_or_else(|| unsupported(x))?
            .iter()
            .map(|key| places.get(key).copied())
            .collect();
        fn encode<T: Element>(found: &[Option<usize>], values: &[T], default: &Data) -> Data {
            let default = T::view(default).and_then(<[T]>::first).cloned().unwrap_or_default();
            let value = |place: &Option<usize>| place.map_or_else(|| default.clone(), |place| values[place].clone());
            T::wrap(found.iter().map(value).collect())
        }
        let data = match &values {
            Data::Bytes(values) => encode(&found, values, &default),
            Data::Int64(values) => encode(&found, values, &default),
            Data::Int16(values) => encode(&found, values, &default),
            Data::Fp32(values) => encode(&found, values, &default),
            Data::Fp64(values) => encode(&found, values, &default),
            _ => return Err(unsupported(x)),
        };
        one(Tensor::new(x.shape().to_vec(), data))
    }))
}

/// Names of the same list in its types: texts, whole numbers, floats, any.
const KEYS: [&str; 4] = ["keys_strings", "keys_int64s", "keys_floats", "keys_tensor"];
const VALUES: [&str; 4] = ["values_strings", "values_int64s", "values_floats", "values_tensor"];

fn one_of(node: &OperatorNode<'_>, [texts, ints, floats, tensor]: &[&'static str; 4]) -> Result<Data, LoadError> {
    let given = [
        Some(Data::Bytes(node.texts(texts)?)),
        Some(Data::Int64(node.ints(ints)?)),
        Some(Data::Fp32(node.floats(floats)?)),
        node.tensor(tensor)?.map(Tensor::into_data),
    ];
    let mut given = given.into_iter().flatten().filter(|data| !data.is_empty());
    match (given.next(), given.next()) {
        (Some(data), None) => Ok(data),
        _ => Err(node.fault(format!(
            "exactly one of {texts}, {ints}, {floats} and {tensor} must be given"
        ))),
    }
}

/// Value of an unknown category.
fn default(node: &OperatorNode<'_>, data_type: DataType) -> Result<Data, LoadError> {
    let text = Bytes::copy_from_slice(node.text("default_string", "_Unused")?.as_bytes());
    let (int, float) = (
        node.int("default_int64")?.unwrap_or(-1),
        node.float("default_float")?.unwrap_or(-0.0),
    );
    if let Some(tensor) = node.tensor("default_tensor")? {
        return match tensor.data_type() == data_type && !tensor.data().is_empty() {
            true => Ok(tensor.into_data()),
            false => Err(node.fault("default_tensor is not of the values' type")),
        };
    }
    Ok(match data_type {
        DataType::Bytes => Data::Bytes(vec![text]),
        DataType::Int64 => Data::Int64(vec![int]),
        DataType::Int16 => Data::Int16(vec![-1]),
        DataType::Fp32 => Data::Fp32(vec![float]),
        DataType::Fp64 => Data::Fp64(vec![float.into()]),
        other => return Err(node.fault(format!("values of {other} are not supported"))),
    })
}

/// Texts become their position among the classes, and positions their text.
fn positions(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let classes = node.texts("classes_strings")?;
    let text = Bytes::copy_from_slice(node.text("default_string", "_Unused")?.as_bytes());
    let int = node.int("default_int64")?.unwrap_or(-1);
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let position = |text: &Bytes| {
            let found = classes.iter().position(|class| class == text);
            found.and_then(|place| i64::try_from(place).ok()).unwrap_or(int)
        };
        let class = |place: &i64| {
            let found = usize::try_from(*place).ok().and_then(|place| classes.get(place));
            found.unwrap_or(&text).clone()
        };
        let data = match x.data() {
            Data::Bytes(texts) => Data::Int64(texts.iter().map(position).collect()),
            Data::Int64(places) => Data::Bytes(places.iter().map(class).collect()),
            _ => return Err(unsupported(x)),
        };
        one(Tensor::new(x.shape().to_vec(), data))
    }))
}

pub(super) fn one_hot_encoder(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let categories = node.ints_or_texts("cats_int64s", "cats_strings")?;
    let zeros_if_unknown = node.int("zeros")?.unwrap_or(1) != 0;
    let count = categories.len();
    let are_texts = categories.data_type() == DataType::Bytes;
    let places = index(&categories).ok_or_else(|| node.fault("the categories are of no known type"))?;
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        // Categories are whole numbers: what stands behind the point does not count, and what is no number is none of them.
        let truncated = |value: f64| match value.is_finite() {
            true => Key::Whole(value as i64),
            false => Key::float(value),
        };
        let keys: Vec<Key> = match x.data() {
            Data::Bytes(texts) if are_texts => texts.iter().cloned().map(Key::Text).collect(),
            Data::Int64(values) if !are_texts => values.iter().copied().map(Key::Whole).collect(),
            Data::Int32(values) if !are_texts => values.iter().map(|value| Key::Whole((*value).into())).collect(),
            Data::Fp32(values) if !are_texts => values.iter().map(|value| truncated((*value).into())).collect(),
            Data::Fp64(values) if !are_texts => values.iter().copied().map(truncated).collect(),
            _ => return Err(unsupported(x)),
        };
        let mut shape = x.shape().to_vec();
        shape.push(count);
        let mut values = vec![0.0_f32; allowed(&shape)?];
        for (row, key) in values.chunks_exact_mut(count).zip(&keys) {
            match places.get(key) {
                Some(place) => row[*place] = 1.0,
                None if zeros_if_unknown => {}
                None => return Err(OpError::Value(format!("{key:?} is no known category"))),
            }
        }
        one(Tensor::of(shape, values))
    }))
}

#[cfg(test)]
mod tests {
    use super::super::test_node::{TestNode, tensor};
    use super::*;

    fn texts(values: &[&'static str]) -> Tensor {
        let values: Vec<Bytes> = values
            .iter()
            .map(|value| Bytes::from_static(value.as_bytes()))
            .collect();
        tensor(&[values.len()], &values)
    }

    #[test]
    fn labels_stand_for_others_and_unknown_ones_for_the_default() {
        let node = TestNode::ml("LabelEncoder")
            .ints("keys_int64s", &[1, 5])
            .texts("values_strings", &["one", "five"]);
        assert_eq!(
            node.run(&[&tensor(&[3], &[5_i64, 1, 9])]),
            texts(&["five", "one", "_Unused"])
        );
        let node = TestNode::ml("LabelEncoder")
            .texts("keys_strings", &["a"])
            .floats("values_floats", &[0.5])
            .float("default_float", 7.0);
        assert_eq!(node.run(&[&texts(&["a", "b"])]), tensor(&[2], &[0.5_f32, 7.0]));
        let node = TestNode::ml("LabelEncoder")
            .floats("keys_floats", &[f32::NAN, 0.0])
            .ints("values_int64s", &[1, 2]);
        assert_eq!(
            node.run(&[&tensor(&[3], &[-0.0_f32, f32::NAN, 3.0])]),
            tensor(&[3], &[2_i64, 1, -1])
        );
        let old = TestNode::ml("LabelEncoder")
            .opset(1)
            .texts("classes_strings", &["a", "b"]);
        assert_eq!(old.run(&[&texts(&["b", "c"])]), tensor(&[2], &[1_i64, -1]));
        assert_eq!(old.run(&[&tensor(&[2], &[0_i64, 2])]), texts(&["a", "_Unused"]));
        let uneven = TestNode::ml("LabelEncoder")
            .ints("keys_int64s", &[1])
            .ints("values_int64s", &[1, 2]);
        assert!(uneven.make().is_err());
        assert!(TestNode::ml("LabelEncoder").make().is_err());
    }

    #[test]
    fn each_category_has_its_column() {
        let node = TestNode::ml("OneHotEncoder").ints("cats_int64s", &[3, 1]);
        assert_eq!(
            node.run(&[&tensor(&[2, 1], &[1.0_f32, 2.0])]),
            tensor(&[2, 1, 2], &[0.0_f32, 1.0, 0.0, 0.0])
        );
        let zero = TestNode::ml("OneHotEncoder").ints("cats_int64s", &[0]);
        let none = tensor(&[4], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5]);
        assert_eq!(zero.run(&[&none]), tensor(&[4, 1], &[0.0_f32, 0.0, 0.0, 1.0]));
        let strict = TestNode::ml("OneHotEncoder")
            .texts("cats_strings", &["x"])
            .int("zeros", 0);
        assert_eq!(strict.run(&[&texts(&["x"])]), tensor(&[1, 1], &[1.0_f32]));
        let strict = strict.make().expect("is made");
        assert!(matches!(strict(&[Some(&texts(&["y"]))]), Err(OpError::Value(_))));
    }
}
