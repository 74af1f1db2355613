//! LinearRegressor and LinearClassifier: one product with a small matrix.

use super::matrix::as_rows;
use super::node::{OpError, Operator, OperatorNode, input, one};
use super::scores::{self, Complement, Transform, both_scores, labels};
use crate::error::LoadError;
use crate::tensor::{Data, Tensor};

/// A row of weights for each target, and what is added to it.
#[derive(Debug)]
struct Weights {
    coefficients: Vec<f32>,
    intercepts: Vec<f32>,
    targets: usize,
}

impl Weights {
    fn new(
        node: &OperatorNode<'_>,
        coefficients: Vec<f32>,
        intercepts: Vec<f32>,
        targets: usize,
    ) -> Result<Self, LoadError> {
        let whole = targets > 0 && !coefficients.is_empty() && coefficients.len().is_multiple_of(targets);
        if !whole || !(intercepts.is_empty() || intercepts.len() == targets) {
            return Err(node.fault(format!(
                "{} coefficients and {} intercepts do not make {targets} targets",
                coefficients.len(),
                intercepts.len()
            )));
        }
        Ok(Self {
            coefficients,
            intercepts,
            targets,
        })
    }

    fn features(&self) -> usize {
        self.coefficients.len() / self.targets
    }

    /// The scores of every row, one after the other.
    fn scores(&self, x: &Tensor) -> Result<(usize, Vec<f32>), OpError> {
        let rows = as_rows(x)?;
        let features = self.features();
        if rows.length != features {
            let found = x.describe();
            return Err(OpError::Kind(format!(
                "expected {features} features a row, found {found}"
            )));
        }
        let mut scores = Vec::with_capacity(rows.count * self.targets);
        for row in 0..rows.count {
            let row = &rows.values[row * features..(row + 1) * features];
            for (target, weights) in self.coefficients.chunks_exact(features).enumerate() {
                let intercept = self.intercepts.get(target).copied().unwrap_or(0.0);
                scores.push(dot(row, weights) + intercept);
            }
        }
        Ok((rows.count, scores))
    }
}

/// Summed in eight lanes, which the compiler puts into one register.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

pub(super) fn regressor(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let targets = usize::try_from(node.int("targets")?.unwrap_or(1)).unwrap_or(0);
    let weights = Weights::new(node, node.floats("coefficients")?, node.floats("intercepts")?, targets)?;
    let transform = Transform::of(node)?;
    Ok(Box::new(move |inputs| {
        let (rows, mut scores) = weights.scores(input(inputs, 0)?)?;
        for row in scores.chunks_exact_mut(targets) {
            // A softmax over one number would be a constant: onnxruntime leaves single targets alone, except by probit.
            if targets > 1 || transform == Transform::Probit {
                transform.apply(row);
            }
        }
        one(Tensor::of(vec![rows, targets], scores))
    }))
}

pub(super) fn classifier(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    node.ignore(&["multi_class"]);
    let classes = node.ints_or_texts("classlabels_ints", "classlabels_strings")?;
    let intercepts = node.floats("intercepts")?;
    let targets = if intercepts.is_empty() {
        classes.len()
    } else {
        intercepts.len()
    };
    let weights = Weights::new(node, node.floats("coefficients")?, intercepts, targets)?;
    let transform = Transform::of(node)?;
    if targets == 1 && classes.len() == 2 {
        return Ok(Box::new(move |inputs| {
            two_classes(&weights, &classes, transform, input(inputs, 0)?)
        }));
    }
    if targets != classes.len() {
        return Err(node.fault(format!("{targets} scores are not {} classes", classes.len())));
    }
    Ok(Box::new(move |inputs| {
        let (rows, mut scores) = weights.scores(input(inputs, 0)?)?;
        let mut chosen = Vec::with_capacity(rows);
        for row in scores.chunks_exact_mut(targets) {
            chosen.push(scores::largest(row));
            transform.apply(row);
        }
        Ok(vec![
            labels(&classes, &chosen)?,
            Tensor::of(vec![rows, targets], scores)?,
        ])
    }))
}

/// One score a row: above zero it is the second class.
fn two_classes(weights: &Weights, classes: &Data, transform: Transform, x: &Tensor) -> super::node::Outputs {
    let (rows, scores) = weights.scores(x)?;
    let chosen: Vec<usize> = scores.iter().map(|score| usize::from(*score > 0.0)).collect();
    let both = scores
        .iter()
        .flat_map(|score| both_scores(*score, Complement::Rest, transform));
    let both = both.collect();
    Ok(vec![labels(classes, &chosen)?, Tensor::of(vec![rows, 2], both)?])
}
