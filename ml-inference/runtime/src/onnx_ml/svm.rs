//! SVMClassifier and SVMRegressor: sums of a kernel over support vectors, in libsvm's layout.

use super::linear::dot;
use super::matrix::as_rows;
use super::node::{OpError, Operator, OperatorNode, input, one};
use super::scores::{self, Transform, labels, logistic};
use crate::error::LoadError;
use crate::tensor::Tensor;

#[derive(Debug, Clone, Copy)]
enum Shape {
    Linear,
    Poly,
    Rbf,
    Sigmoid,
}

#[derive(Debug, Clone, Copy)]
struct Kernel {
    shape: Shape,
    gamma: f32,
    coef0: f32,
    degree: f32,
}

impl Kernel {
    fn of(node: &OperatorNode<'_>) -> Result<Self, LoadError> {
        let shape = match node.text("kernel_type", "LINEAR")? {
            "LINEAR" => Shape::Linear,
            "POLY" => Shape::Poly,
            "RBF" => Shape::Rbf,
            "SIGMOID" => Shape::Sigmoid,
            other => return Err(node.fault(format!("the kernel {other} is not known"))),
        };
        let [gamma, coef0, degree] = match node.floats("kernel_params")?.as_slice() {
            [] => [0.0; 3],
            [gamma, coef0, degree] => [*gamma, *coef0, *degree],
            _ => return Err(node.fault("kernel_params has not three numbers")),
        };
        Ok(Self {
            shape,
            gamma,
            coef0,
            degree,
        })
    }

    fn of_pair(self, a: &[f32], b: &[f32]) -> f32 {
        match self.shape {
            Shape::Linear => dot(a, b),
            Shape::Poly => (self.gamma * dot(a, b) + self.coef0).powf(self.degree),
            Shape::Sigmoid => (self.gamma * dot(a, b) + self.coef0).tanh(),
            Shape::Rbf => {
                let squared: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
                (-self.gamma * squared).exp()
            }
        }
    }
}

/// The rows of `x`, each with `features` features.
fn each_row(x: &Tensor, features: usize, mut run: impl FnMut(&[f32])) -> Result<usize, OpError> {
    let rows = as_rows(x)?;
    if rows.length != features {
        let found = x.describe();
        return Err(OpError::Kind(format!(
            "expected {features} features a row, found {found}"
        )));
    }
    rows.values.chunks_exact(features).for_each(&mut run);
    Ok(rows.count)
}

pub(super) fn regressor(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let kernel = Kernel::of(node)?;
    let coefficients = node.floats("coefficients")?;
    let supports = usize::try_from(node.int("n_supports")?.unwrap_or(0)).unwrap_or(0);
    let vectors = node.floats("support_vectors")?;
    let rho = node.floats("rho")?.first().copied().unwrap_or(0.0);
    let one_class = node.int("one_class")?.unwrap_or(0) != 0;
    if Transform::of(node)? != Transform::None {
        return Err(node.fault("a post_transform of an SVM regressor is not supported"));
    }
    // Without support vectors the coefficients are the one vector.
    let (vectors, weights) = match supports {
        0 => (coefficients, vec![1.0]),
        _ => (vectors, coefficients),
    };
    if vectors.is_empty() || weights.len() != supports.max(1) || !vectors.len().is_multiple_of(weights.len()) {
        return Err(node.fault("coefficients and support_vectors do not go together"));
    }
    let features = vectors.len() / weights.len();
    Ok(Box::new(move |inputs| {
        let mut values = Vec::new();
        let rows = each_row(input(inputs, 0)?, features, |row| {
            let each = vectors.chunks_exact(features).zip(&weights);
            let sum: f32 = each.map(|(vector, weight)| weight * kernel.of_pair(row, vector)).sum();
            let value = sum + rho;
            values.push(match one_class {
                true if value > 0.0 => 1.0,
                true => -1.0,
                false => value,
            });
        })?;
        one(Tensor::of(vec![rows, 1], values))
    }))
}

/// One decision between each two classes, the first of them where it is above zero.
#[derive(Debug)]
struct Pairs {
    kernel: Kernel,
    features: usize,
    vectors: Vec<f32>,
    /// How many of the vectors are of each class, in their order.
    per_class: Vec<usize>,
    /// `classes - 1` rows, one entry a vector.
    coefficients: Vec<f32>,
    rho: Vec<f32>,
    /// Two numbers a pair turn decisions into probabilities; without them there are none.
    probabilities: Vec<(f32, f32)>,
}

impl Pairs {
    fn of(node: &OperatorNode<'_>, classes: usize) -> Result<Self, LoadError> {
        let per_class: Option<Vec<usize>> = node
            .ints("vectors_per_class")?
            .iter()
            .map(|count| usize::try_from(*count).ok())
            .collect();
        let per_class = per_class.unwrap_or_default();
        let total = per_class
            .iter()
            .try_fold(0_usize, |sum, count| sum.checked_add(*count))
            .unwrap_or(0);
        let vectors = node.floats("support_vectors")?;
        let (a, b) = (node.floats("prob_a")?, node.floats("prob_b")?);
        let pairs = Self {
            kernel: Kernel::of(node)?,
            features: vectors.len().checked_div(total).unwrap_or(0),
            coefficients: node.floats("coefficients")?,
            rho: node.floats("rho")?,
            probabilities: a.iter().copied().zip(b.iter().copied()).collect(),
            vectors,
            per_class,
        };
        let decisions = classes * classes.saturating_sub(1) / 2;
        let goes_together = classes >= 2
            && pairs.per_class.len() == classes
            && pairs.features > 0
            && pairs.vectors.len() == total * pairs.features
            && pairs.coefficients.len() == (classes - 1) * total
            && pairs.rho.len() == decisions
            && a.len() == b.len()
            && (a.is_empty() || a.len() == decisions);
        match goes_together {
            true => Ok(pairs),
            false => Err(node.fault("the support vectors, their coefficients and their classes do not go together")),
        }
    }

    /// The decision between each two classes, in the order 01, 02, …, 12, ….
    fn decisions(&self, row: &[f32]) -> Vec<f32> {
        let kernels: Vec<f32> = self
            .vectors
            .chunks_exact(self.features)
            .map(|vector| self.kernel.of_pair(row, vector))
            .collect();
        let mut first_of = Vec::with_capacity(self.per_class.len());
        let mut total = 0;
        for count in &self.per_class {
            first_of.push(total);
            total += count;
        }
        let part = |of: usize, against: usize| -> f64 {
            // A vector has one coefficient for each other class.
            let line = if against > of { against - 1 } else { against };
            let range = first_of[of]..first_of[of] + self.per_class[of];
            let weights = &self.coefficients[line * total..][range.clone()];
            weights
                .iter()
                .zip(&kernels[range])
                .map(|(weight, kernel)| f64::from(*weight) * f64::from(*kernel))
                .sum()
        };
        let pairs = self.pairs().zip(&self.rho);
        pairs
            .map(|((i, j), rho)| (part(i, j) + part(j, i) + f64::from(*rho)) as f32)
            .collect()
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let classes = self.per_class.len();
        (0..classes).flat_map(move |i| (i + 1..classes).map(move |j| (i, j)))
    }

    /// The class that wins the most decisions, the first of several.
    fn winner(&self, decisions: &[f32]) -> usize {
        let mut votes = vec![0.0; self.per_class.len()];
        for ((i, j), decision) in self.pairs().zip(decisions) {
            votes[if *decision > 0.0 { i } else { j }] += 1.0;
        }
        scores::largest(&votes)
    }

    /// A probability for each class.
    fn class_probabilities(&self, decisions: &[f32]) -> Vec<f32> {
        const LEAST: f32 = 1e-7;
        let classes = self.per_class.len();
        let mut of_pair = vec![0.0; classes * classes];
        for (((i, j), decision), (a, b)) in self.pairs().zip(decisions).zip(&self.probabilities) {
            let first = (1.0 - logistic(decision * a + b)).clamp(LEAST, 1.0 - LEAST);
            of_pair[i * classes + j] = first;
            of_pair[j * classes + i] = 1.0 - first;
        }
        couple(&of_pair, classes)
    }
}

/// Probabilities of classes from those of pairs: the second method of Wu, Lin and Weng (JMLR 5, 2004), as libsvm iterates it.
fn couple(of_pair: &[f32], classes: usize) -> Vec<f32> {
    const MOST_ROUNDS: usize = 100;
    let tolerance = 0.005 / classes as f32;
    let at = |i: usize, j: usize| of_pair[i * classes + j];
    let mut q = vec![0.0; classes * classes];
    for i in 0..classes {
        for j in (0..classes).filter(|j| *j != i) {
            q[i * classes + i] += at(j, i) * at(j, i);
            q[i * classes + j] = -at(j, i) * at(i, j);
        }
    }
    let mut p = vec![1.0 / classes as f32; classes];
    for _round in 0..MOST_ROUNDS {
        let mut qp: Vec<f32> = q.chunks_exact(classes).map(|line| dot(line, &p)).collect();
        let mut pqp = dot(&p, &qp);
        if qp.iter().all(|value| (value - pqp).abs() < tolerance) {
            break;
        }
        for i in 0..classes {
            let diagonal = q[i * classes + i];
            let step = (pqp - qp[i]) / diagonal;
            let scale = 1.0 + step;
            p[i] += step;
            pqp = (pqp + step * (step * diagonal + 2.0 * qp[i])) / scale / scale;
            for j in 0..classes {
                qp[j] = (qp[j] + step * q[i * classes + j]) / scale;
                p[j] /= scale;
            }
        }
    }
    p
}

pub(super) fn classifier(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let classes = node.ints_or_texts("classlabels_ints", "classlabels_strings")?;
    let transform = Transform::of(node)?;
    if node.ints("vectors_per_class")?.is_empty() {
        return Err(node.fault("an SVM classifier without support vectors is not supported"));
    }
    let pairs = Pairs::of(node, classes.len())?;
    Ok(Box::new(move |inputs| {
        let (mut chosen, mut values) = (Vec::new(), Vec::new());
        let mut columns = classes.len();
        let rows = each_row(input(inputs, 0)?, pairs.features, |row| {
            let decisions = pairs.decisions(row);
            chosen.push(pairs.winner(&decisions));
            let mut scores = match (pairs.probabilities.is_empty(), decisions.as_slice()) {
                (false, _) => pairs.class_probabilities(&decisions),
                (true, [decision]) => vec![-decision, *decision],
                (true, _) => decisions,
            };
            transform.apply(&mut scores);
            columns = scores.len();
            values.extend(scores);
        })?;
        Ok(vec![
            labels(&classes, &chosen)?,
            Tensor::of(vec![rows, columns], values)?,
        ])
    }))
}

#[cfg(test)]
mod tests {
    use super::super::test_node::{TestNode, tensor};
    use super::*;

    #[test]
    fn a_linear_kernel_of_one_vector_is_a_line() {
        let node = TestNode::ml("SVMRegressor")
            .floats("coefficients", &[2.0, -1.0])
            .floats("rho", &[0.5]);
        assert_eq!(
            node.run(&[&tensor(&[2, 2], &[1.0_f32, 1.0, 0.0, 3.0])]),
            tensor(&[2, 1], &[1.5_f32, -2.5])
        );
        let node = node.int("one_class", 1);
        assert_eq!(
            node.run(&[&tensor(&[2, 2], &[1.0_f32, 1.0, 0.0, 3.0])]),
            tensor(&[2, 1], &[1.0_f32, -1.0])
        );
    }

    #[test]
    fn probabilities_of_pairs_that_agree_are_those_of_the_classes() {
        // Of classes with 0.5, 0.3 and 0.2 the pairs are p / (p + q).
        let p = [0.5_f32, 0.3, 0.2];
        let of_pair: Vec<f32> = p.iter().flat_map(|i| p.iter().map(move |j| i / (i + j))).collect();
        let coupled = couple(&of_pair, 3);
        assert!(coupled.iter().zip(p).all(|(a, b)| (a - b).abs() < 0.01), "{coupled:?}");
    }

    #[test]
    fn parts_that_do_not_go_together_are_refused() {
        let node = || {
            TestNode::ml("SVMClassifier")
                .ints("classlabels_ints", &[0, 1])
                .floats("support_vectors", &[1.0, 2.0])
        };
        let whole = node()
            .ints("vectors_per_class", &[1, 1])
            .floats("coefficients", &[1.0, -1.0])
            .floats("rho", &[0.0]);
        assert_eq!(
            whole.run(&[&tensor(&[2, 1], &[-1.0_f32, 1.0])]),
            tensor(&[2], &[0_i64, 1])
        );
        for broken in [
            node()
                .ints("vectors_per_class", &[-1, 1])
                .floats("coefficients", &[1.0, -1.0])
                .floats("rho", &[0.0]),
            node()
                .ints("vectors_per_class", &[1, i64::MAX])
                .floats("coefficients", &[1.0, -1.0])
                .floats("rho", &[0.0]),
            node()
                .ints("vectors_per_class", &[1, 1])
                .floats("coefficients", &[1.0])
                .floats("rho", &[0.0]),
            node()
                .ints("vectors_per_class", &[1, 1])
                .floats("coefficients", &[1.0, -1.0]),
            node()
                .ints("vectors_per_class", &[2])
                .floats("coefficients", &[1.0, -1.0])
                .floats("rho", &[0.0]),
        ] {
            assert!(broken.make().is_err());
        }
    }
}
