//! From the scores of a classifier or regressor to what it answers: post transforms, the second of two classes, labels.
//!
//! Where the standard is silent, as about two classes with one score, this is what onnxruntime does.

use bytes::Bytes;

use super::node::OperatorNode;
use crate::error::LoadError;
use crate::tensor::{Data, Tensor, TensorError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    None,
    Logistic,
    Softmax,
    SoftmaxZero,
    Probit,
}

impl Transform {
    pub(super) fn of(node: &OperatorNode<'_>) -> Result<Self, LoadError> {
        Ok(match node.text("post_transform", "NONE")? {
            "NONE" => Self::None,
            "LOGISTIC" => Self::Logistic,
            "SOFTMAX" => Self::Softmax,
            "SOFTMAX_ZERO" => Self::SoftmaxZero,
            "PROBIT" => Self::Probit,
            other => return Err(node.fault(format!("the post_transform {other} is not known"))),
        })
    }

    /// As the newer TreeEnsemble numbers them.
    pub(super) fn numbered(number: i64) -> Option<Self> {
        let all = [
            Self::None,
            Self::Softmax,
            Self::Logistic,
            Self::SoftmaxZero,
            Self::Probit,
        ];
        all.get(usize::try_from(number).ok()?).copied()
    }

    /// Changes the scores of one row.
    pub(super) fn apply(self, scores: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
            Self::Softmax => softmax(scores),
            Self::SoftmaxZero => softmax_zero(scores),
        }
    }
}

/// How the first of two classes gets its score from that of the second, when there is only the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complement {
    /// The score is a probability, the other class has the rest.
    Rest,
    /// The score is above zero for one class and below for the other.
    Opposite,
}

/// Both scores of a row with one, in the order of the classes. Other transforms have no meaning for one score.
pub(super) fn both_scores(score: f32, complement: Complement, transform: Transform) -> [f32; 2] {
    match (complement, transform) {
        (_, Transform::Logistic) => [logistic(-score), logistic(score)],
        (Complement::Rest, _) => [1.0 - score, score],
        (Complement::Opposite, _) => [-score, score],
    }
}

pub(super) fn logistic(value: f32) -> f32 {
    let above = 1.0 / (1.0 + (-value.abs()).exp());
    if value < 0.0 { 1.0 - above } else { above }
}

/// The quantile function of the normal distribution, by Winitzki's approximation of the inverse error function.
pub(super) fn probit(value: f32) -> f32 {
    const A: f32 = 0.147;
    let x = 2.0 * value - 1.0;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let first = 2.0 / (std::f32::consts::PI * A) + 0.5 * log;
    let inner = (first * first - log / A).sqrt() - first;
    std::f32::consts::SQRT_2 * inner.sqrt().copysign(x)
}

pub(super) fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = (*score - most).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// A softmax in which scores of zero stay zero.
fn softmax_zero(scores: &mut [f32]) {
    const ALMOST_ZERO: f32 = 1e-7;
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in &mut *scores {
        if score.abs() > ALMOST_ZERO {
            *score = (*score - most).exp();
            sum += *score;
        } else {
            *score *= (-most).exp();
        }
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The index of the largest score, the first of several. A score that is no number is never the largest but the first.
pub(super) fn largest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (index, score) in scores.iter().enumerate().skip(1) {
        if *score > scores[best] {
            best = index;
        }
    }
    best
}

/// A classifier's answer: the label at each row's index.
pub(super) fn labels(classes: &Data, chosen: &[usize]) -> Result<Tensor, TensorError> {
    let shape = vec![chosen.len()];
    match classes {
        Data::Int64(labels) => Tensor::of(shape, chosen.iter().map(|index| labels[*index]).collect()),
        Data::Bytes(labels) => Tensor::of::<Bytes>(shape, chosen.iter().map(|index| labels[*index].clone()).collect()),
        other => Tensor::zeros(other.data_type(), shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_are_what_their_names_say() {
        let apply = |transform: Transform, scores: &[f32]| {
            let mut scores = scores.to_vec();
            transform.apply(&mut scores);
            scores
        };
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3) && a.len() == b.len();
        assert_eq!(apply(Transform::None, &[1.5]), [1.5]);
        assert_eq!(apply(Transform::Logistic, &[0.0, 200.0, -200.0]), [0.5, 1.0, 0.0]);
        assert!(close(&apply(Transform::Softmax, &[1.0, 1.0]), &[0.5, 0.5]));
        assert!(close(
            &apply(Transform::SoftmaxZero, &[2.0, 0.0, 2.0]),
            &[0.5, 0.0, 0.5]
        ));
        // The quantiles of the normal distribution at 2.5 %, 50 % and 97.5 %.
        assert!(close(
            &apply(Transform::Probit, &[0.025, 0.5, 0.975]),
            &[-1.9586, 0.0, 1.9586]
        ));
    }
}
