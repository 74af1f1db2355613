//! The operators of `ai.onnx.ml` that prepare features: scaling, normalising, filling in, picking, putting together.

use super::elementwise::allowed;
use super::matrix::{as_rows, row_shape};
use super::node::{OpError, Operator, OperatorNode, Outputs, input, one, unsupported};
use super::shape::indices;
use crate::error::LoadError;
use crate::tensor::{Data, Element, Tensor};

/// One value for all features, or one for each.
fn per_feature(node: &OperatorNode<'_>, name: &'static str, values: Vec<f32>) -> Result<Vec<f32>, LoadError> {
    if values.is_empty() {
        return Err(node.fault(format!("the attribute {name} is missing")));
    }
    Ok(values)
}

/// The value of the feature at `index`, given one for all or one for each of `length`.
fn check_length(x: &Tensor, values: usize, length: usize) -> Result<(), OpError> {
    if values == 1 || values == length {
        return Ok(());
    }
    Err(OpError::Kind(format!(
        "expected {values} features a row, found {}",
        x.describe()
    )))
}

pub(super) fn scaler(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let offsets = per_feature(node, "offset", node.floats("offset")?)?;
    let scales = per_feature(node, "scale", node.floats("scale")?)?;
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let at = |values: &[f32], index: usize| if values.len() == 1 { values[0] } else { values[index] };
        if let Data::Fp64(values) = x.data() {
            // Narrowed when the offset is off: what is left of a date is small.
            let (_, length) = row_shape(x)?;
            check_length(x, offsets.len(), length)?;
            check_length(x, scales.len(), length)?;
            let feature = |(place, value): (usize, &f64)| {
                let index = place % length;
                ((value - f64::from(at(&offsets, index))) * f64::from(at(&scales, index))) as f32
            };
            let scaled = values.iter().enumerate().map(feature).collect();
            return one(Tensor::of(x.shape().to_vec(), scaled));
        }
        let rows = as_rows(x)?;
        check_length(x, offsets.len(), rows.length)?;
        check_length(x, scales.len(), rows.length)?;
        let mut scaled = Vec::with_capacity(rows.values.len());
        for row in rows.values.chunks_exact(rows.length.max(1)) {
            let feature = |(index, value): (usize, &f32)| (value - at(&offsets, index)) * at(&scales, index);
            scaled.extend(row.iter().enumerate().map(feature));
        }
        one(Tensor::of(x.shape().to_vec(), scaled))
    }))
}

pub(super) fn normalizer(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let normalize: fn(&mut [f32]) = match node.text("norm", "MAX")? {
        "MAX" => |row| divide(row, row.iter().copied().fold(f32::MIN, f32::max)),
        "L1" => |row| divide(row, row.iter().map(|value| value.abs()).sum()),
        "L2" => |row| divide(row, row.iter().map(|value| value * value).sum::<f32>().sqrt()),
        other => return Err(node.fault(format!("the norm {other} is not known"))),
    };
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let rows = as_rows(x)?;
        let mut values = rows.values.into_owned();
        values.chunks_exact_mut(rows.length.max(1)).for_each(normalize);
        one(Tensor::of(x.shape().to_vec(), values))
    }))
}

/// A row whose norm is zero stays as it is.
fn divide(row: &mut [f32], norm: f32) {
    if norm != 0.0 {
        row.iter_mut().for_each(|value| *value /= norm);
    }
}

pub(super) fn binarizer(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let threshold = node.float("threshold")?.unwrap_or(0.0);
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let values = x.values::<f32>().ok_or_else(|| unsupported(x))?;
        let values = values
            .iter()
            .map(|value| if *value > threshold { 1.0_f32 } else { 0.0 });
        one(Tensor::of(x.shape().to_vec(), values.collect()))
    }))
}

pub(super) fn imputer(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let (floats, ints) = (node.floats("imputed_value_floats")?, node.ints("imputed_value_int64s")?);
    let missing = node.float("replaced_value_float")?.unwrap_or(0.0);
    let missing_int = node.int("replaced_value_int64")?.unwrap_or(0);
    if floats.is_empty() == ints.is_empty() {
        return Err(node.fault("one of imputed_value_floats and imputed_value_int64s must be given"));
    }
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let (_, length) = row_shape(x)?;
        check_length(x, floats.len().max(ints.len()), length)?;
        match x.data() {
            Data::Fp32(values) if !floats.is_empty() => impute(x, values, &floats, |value| {
                value == missing || (value.is_nan() && missing.is_nan())
            }),
            Data::Int64(values) if !ints.is_empty() => impute(x, values, &ints, |value| value == missing_int),
            _ => Err(unsupported(x)),
        }
    }))
}

fn impute<T: Element + Copy>(x: &Tensor, values: &[T], imputed: &[T], is_missing: impl Fn(T) -> bool) -> Outputs {
    let filled = values
        .iter()
        .enumerate()
        .map(|(index, value)| match is_missing(*value) {
            // One for all features, or one for each.
            true => imputed[index % imputed.len()],
            false => *value,
        });
    one(Tensor::of(x.shape().to_vec(), filled.collect()))
}

pub(super) fn feature_vectorizer(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let lengths = node.ints("inputdimensions")?;
    Ok(Box::new(move |inputs| {
        if inputs.len() != lengths.len() {
            return Err(OpError::Kind(format!(
                "{} inputs, but inputdimensions has {}",
                inputs.len(),
                lengths.len()
            )));
        }
        let mut parts = Vec::with_capacity(inputs.len());
        for (index, expected) in lengths.iter().enumerate() {
            let x = input(inputs, index)?;
            let rows = as_rows(x)?;
            if i64::try_from(rows.length) != Ok(*expected) {
                return Err(OpError::Kind(format!(
                    "input {index} is {}, not of {expected} features",
                    x.describe()
                )));
            }
            parts.push(rows);
        }
        let count = parts.first().map_or(0, |part| part.count);
        if parts.iter().any(|part| part.count != count) {
            return Err(OpError::Kind("the inputs have not the same number of rows".to_owned()));
        }
        let shape = vec![count, parts.iter().map(|part| part.length).sum()];
        let mut values = Vec::with_capacity(allowed(&shape)?);
        for row in 0..count {
            for part in &parts {
                values.extend_from_slice(&part.values[row * part.length..(row + 1) * part.length]);
            }
        }
        one(Tensor::of(shape, values))
    }))
}

/// Picks columns: the elements of the last dimension that a second input names.
pub(super) fn array_feature_extractor(_node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    fn pick<T: Element>(x: &Tensor, values: &[T], columns: &[usize]) -> Outputs {
        let (length, outer) = match x.shape() {
            [] => return Err(unsupported(x)),
            [outer @ .., length] => (*length, outer),
        };
        let mut shape = outer.to_vec();
        if shape.is_empty() {
            shape.push(1);
        }
        shape.push(columns.len());
        allowed(&shape)?;
        let rows = values.chunks_exact(length.max(1));
        let picked = rows.flat_map(|row| columns.iter().map(|column| row[*column].clone()));
        one(Tensor::of(shape, picked.collect()))
    }
    Ok(Box::new(|inputs| {
        let (x, wanted) = (input(inputs, 0)?, input(inputs, 1)?);
        let length = x.shape().last().copied().unwrap_or(0);
        let columns = indices(wanted)?.into_iter().map(|column| {
            let found = usize::try_from(column).ok().filter(|column| *column < length);
            found.ok_or_else(|| OpError::Value(format!("there is no column {column} of {length}")))
        });
        let columns: Vec<usize> = columns.collect::<Result<_, _>>()?;
        match x.data() {
            Data::Fp32(values) => pick(x, values, &columns),
            Data::Fp64(values) => pick(x, values, &columns),
            Data::Int64(values) => pick(x, values, &columns),
            Data::Int32(values) => pick(x, values, &columns),
            Data::Bytes(values) => pick(x, values, &columns),
            _ => Err(unsupported(x)),
        }
    }))
}

/// Its maps have no tensor: what goes in comes out, if it has a column for each class.
pub(super) fn zip_map(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let classes = node.ints_or_texts("classlabels_int64s", "classlabels_strings")?.len();
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let values = x.values::<f32>().ok_or_else(|| unsupported(x))?;
        let (rows, length) = row_shape(x)?;
        if length != classes {
            return Err(OpError::Kind(format!(
                "{} is not one column for each of {classes} classes",
                x.describe()
            )));
        }
        one(Tensor::of(vec![rows, length], values.to_vec()))
    }))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::test_node::{TestNode, tensor};
    use super::*;

    #[test]
    fn features_are_scaled_one_by_one_or_all_alike() {
        let x = tensor(&[2, 2], &[1_i64, 2, 3, 4]);
        let each = TestNode::ml("Scaler")
            .floats("offset", &[1.0, 2.0])
            .floats("scale", &[2.0, 0.5]);
        assert_eq!(each.run(&[&x]), tensor(&[2, 2], &[0.0_f32, 0.0, 4.0, 1.0]));
        let all = TestNode::ml("Scaler").floats("offset", &[1.0]).floats("scale", &[2.0]);
        assert_eq!(all.run(&[&x]), tensor(&[2, 2], &[0.0_f32, 2.0, 4.0, 6.0]));
        // The offset is off before a double becomes a float.
        let dates = tensor(&[2, 1], &[100_000_001.0_f64, 99_999_999.0]);
        let since = TestNode::ml("Scaler").floats("offset", &[1e8]).floats("scale", &[2.0]);
        assert_eq!(since.run(&[&dates]), tensor(&[2, 1], &[2.0_f32, -2.0]));
        let scaler = each.make().expect("is made");
        assert!(matches!(
            scaler(&[Some(&tensor(&[1, 3], &[0.0_f32; 3]))]),
            Err(OpError::Kind(_))
        ));
        assert!(TestNode::ml("Scaler").make().is_err());
    }

    #[test]
    fn rows_are_normalized_each_for_itself_and_zeros_stay() {
        let x = tensor(&[3, 2], &[3.0_f32, -4.0, 0.0, 0.0, 1.0, 1.0]);
        let run = |norm| TestNode::ml("Normalizer").text("norm", norm).run(&[&x]);
        assert_eq!(
            run("L1").values::<f32>(),
            Some(&[3.0 / 7.0, -4.0 / 7.0, 0.0, 0.0, 0.5, 0.5][..])
        );
        assert_eq!(
            run("L2").values::<f32>().map(|values| &values[..4]),
            Some(&[0.6_f32, -0.8, 0.0, 0.0][..])
        );
        assert_eq!(
            run("MAX").values::<f32>(),
            Some(&[1.0, -4.0 / 3.0, 0.0, 0.0, 1.0, 1.0][..])
        );
        assert!(TestNode::ml("Normalizer").text("norm", "L7").make().is_err());
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        let x = tensor(&[2, 2], &[f32::NAN, 1.0, 2.0, f32::NAN]);
        let imputer = TestNode::ml("Imputer").floats("imputed_value_floats", &[10.0, 20.0]);
        let imputer = imputer.float("replaced_value_float", f32::NAN);
        assert_eq!(imputer.run(&[&x]), tensor(&[2, 2], &[10.0_f32, 1.0, 2.0, 20.0]));
        let ints = TestNode::ml("Imputer")
            .ints("imputed_value_int64s", &[7])
            .int("replaced_value_int64", -1);
        assert_eq!(
            ints.run(&[&tensor(&[1, 2], &[-1_i64, 5])]),
            tensor(&[1, 2], &[7_i64, 5])
        );
        assert_eq!(
            TestNode::ml("Binarizer")
                .float("threshold", 1.0)
                .run(&[&tensor(&[3], &[0.5_f32, 1.0, 1.5])]),
            tensor(&[3], &[0.0_f32, 0.0, 1.0])
        );
    }

    #[test]
    fn columns_are_picked_and_put_together() {
        let labels = tensor(&[3], &[b"a", b"b", b"c"].map(|text| Bytes::from_static(text)));
        let wanted = tensor(&[2], &[2_i64, 0]);
        let picked = tensor(&[1, 2], &[Bytes::from_static(b"c"), Bytes::from_static(b"a")]);
        assert_eq!(TestNode::ml("ArrayFeatureExtractor").run(&[&labels, &wanted]), picked);
        let extractor = TestNode::ml("ArrayFeatureExtractor").make().expect("is known");
        for wrong in [3, -1] {
            let wrong = tensor(&[1], &[wrong]);
            assert!(matches!(
                extractor(&[Some(&labels), Some(&wrong)]),
                Err(OpError::Value(_))
            ));
        }
        let (a, b) = (
            tensor(&[2, 1], &[1_i64, 2]),
            tensor(&[2, 2], &[0.5_f32, 0.25, 4.0, 8.0]),
        );
        let vectorizer = TestNode::ml("FeatureVectorizer").ints("inputdimensions", &[1, 2]);
        assert_eq!(
            vectorizer.run(&[&a, &b]),
            tensor(&[2, 3], &[1.0_f32, 0.5, 0.25, 2.0, 4.0, 8.0])
        );
        let vectorizer = vectorizer.make().expect("is known");
        assert!(vectorizer(&[Some(&a)]).is_err());
        assert!(vectorizer(&[Some(&b), Some(&a)]).is_err());
    }
}
