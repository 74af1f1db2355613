//! TreeEnsembleRegressor, TreeEnsembleClassifier and TreeEnsemble: forests of decision trees.
//!
//! `listing.rs` checks what the file says and makes trees of it, `forest.rs` lays them out for walking, `walk.rs` walks, and here is what becomes
//! of the leaves that rows end at. Weights are summed in the width of the thresholds, tree after tree, as onnxruntime does.

mod aggregate;
mod forest;
mod listing;
mod number;
mod walk;

use aggregate::Aggregate;
use forest::Forest;
use number::Number;
use walk::Sums;

use super::matrix::{Rows, as_rows, row_shape};
use super::node::{OpError, Operator, OperatorNode, Outputs, input, one, unsupported};
use super::scores::{Complement, Transform, both_scores, labels};
use crate::error::LoadError;
use crate::tensor::{Data, DataType, Tensor};

/// A forest in one of the widths that thresholds have.
enum Ensemble {
    Single(Forest<f32>, Vec<f32>),
    Double(Forest<f64>, Vec<f64>),
}

/// The sums of every row and target, with the base values not yet added, in the width of the thresholds.
enum Collected {
    Single(Sums<f32>),
    Double(Sums<f64>),
}

impl Ensemble {
    fn collect(&self, x: &Tensor, aggregate: Aggregate) -> Result<(usize, Collected), OpError> {
        let rows = row_shape(x)?;
        Ok(match (self, x.data()) {
            (Self::Single(forest, _), Data::Fp64(values)) => {
                (rows.0, Collected::Single(forest.collect(values, rows, aggregate)?))
            }
            (Self::Single(forest, _), _) => {
                let Rows { values, .. } = as_rows(x)?;
                (rows.0, Collected::Single(forest.collect(&values, rows, aggregate)?))
            }
            (Self::Double(forest, _), data) => {
                let sums = match data {
                    Data::Fp64(values) => forest.collect(values, rows, aggregate)?,
                    Data::Fp32(values) => forest.collect(&widen(values), rows, aggregate)?,
                    Data::Int32(values) => forest.collect(&widen(values), rows, aggregate)?,
                    Data::Int64(values) => {
                        let values: Vec<f64> = values.iter().map(|value| *value as f64).collect();
                        forest.collect(&values, rows, aggregate)?
                    }
                    _ => return Err(unsupported(x)),
                };
                (rows.0, Collected::Double(sums))
            }
        })
    }
}

fn widen<T: Copy + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| (*value).into()).collect()
}

/// Reads the forest of `TreeEnsembleRegressor` or `TreeEnsembleClassifier`, whose votes have a prefix of their own.
fn ensemble_of(node: &OperatorNode<'_>, names: &listing::Names, targets: usize) -> Result<Ensemble, LoadError> {
    match listing::read(node, names)? {
        listing::Listing::Single(listing) => {
            let base = listing.base.clone();
            Ok(Ensemble::Single(
                Forest::new(node, listing.trees(node, targets)?, targets)?,
                base,
            ))
        }
        listing::Listing::Double(listing) => {
            let base = listing.base.clone();
            Ok(Ensemble::Double(
                Forest::new(node, listing.trees(node, targets)?, targets)?,
                base,
            ))
        }
    }
}

pub(super) fn regressor(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let targets = usize::try_from(node.int("n_targets")?.unwrap_or(1)).unwrap_or(0);
    let aggregate = Aggregate::of(node)?;
    let transform = Transform::of(node)?;
    let ensemble = ensemble_of(node, &listing::TARGET, targets)?;
    Ok(Box::new(move |inputs| {
        let (rows, collected) = ensemble.collect(input(inputs, 0)?, aggregate)?;
        let results = match (collected, &ensemble) {
            (Collected::Single(sums), Ensemble::Single(forest, base)) => {
                targets_of(sums, base, forest.tree_count(), aggregate)
            }
            (Collected::Double(sums), Ensemble::Double(forest, base)) => {
                targets_of(sums, base, forest.tree_count(), aggregate)
            }
            _ => return Err(OpError::Kind("the widths of sums and base values differ".to_owned())),
        };
        let mut results: Vec<f32> = results.into_iter().map(|value| value as f32).collect();
        transform_targets(transform, &mut results, targets);
        one(Tensor::of(vec![rows, targets], results))
    }))
}

/// A single target is left alone, except by probit: a softmax over one number would be a constant.
fn transform_targets(transform: Transform, results: &mut [f32], targets: usize) {
    if targets > 1 || transform == Transform::Probit {
        results.chunks_exact_mut(targets).for_each(|row| transform.apply(row));
    }
}

/// The targets of every row; 64 bits hold either width exactly.
fn targets_of<T: Number>(sums: Sums<T>, base: &[T], trees: usize, aggregate: Aggregate) -> Vec<f64> {
    let targets = sums.targets;
    let base = |target: usize| {
        if base.len() == targets {
            base[target]
        } else {
            T::default()
        }
    };
    let value = |(index, sum): (usize, &T)| {
        let sum = match aggregate {
            Aggregate::Average => *sum / T::count(trees),
            Aggregate::Sum => *sum,
            Aggregate::Min | Aggregate::Max if sums.has(index) => *sum,
            Aggregate::Min | Aggregate::Max => T::default(),
        };
        (sum + base(index % targets)).into()
    };
    sums.values.iter().enumerate().map(value).collect()
}

pub(super) fn classifier(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let classes = node.ints_or_texts("classlabels_int64s", "classlabels_strings")?;
    let transform = Transform::of(node)?;
    let count = classes.len();
    let votes = Votes::of(node, count)?;
    let ensemble = ensemble_of(node, &listing::CLASS, count)?;
    Ok(Box::new(move |inputs| {
        let (rows, collected) = ensemble.collect(input(inputs, 0)?, Aggregate::Sum)?;
        let mut answer = ClassifierRows {
            chosen: Vec::with_capacity(rows),
            scores: Vec::with_capacity(rows * count),
            transform,
            votes,
        };
        match (collected, &ensemble) {
            (Collected::Single(sums), Ensemble::Single(_, base)) => answer.rows(&sums, base),
            (Collected::Double(sums), Ensemble::Double(_, base)) => answer.rows(&sums, base),
            _ => return Err(OpError::Kind("the widths of sums and base values differ".to_owned())),
        }
        let ClassifierRows { chosen, scores, .. } = answer;
        Ok(vec![
            labels(&classes, &chosen)?,
            Tensor::of(vec![rows, scores.len().checked_div(rows).unwrap_or(count)], scores)?,
        ])
    }))
}

/// How the votes of a classifier are to be read, which depends on all of them together.
#[derive(Debug, Clone, Copy)]
struct Votes {
    classes: usize,
    /// Two classes, but all votes are for one of them: the other has what is left.
    one_sided: bool,
    all_positive: bool,
}

impl Votes {
    fn of(node: &OperatorNode<'_>, classes: usize) -> Result<Self, LoadError> {
        let ids = node.ints("class_ids")?;
        let weights = match node.tensor("class_weights_as_tensor")? {
            Some(tensor) => tensor.values::<f64>().unwrap_or_default().to_vec(),
            None => node.floats("class_weights")?.into_iter().map(f64::from).collect(),
        };
        let one_sided = classes == 2 && ids.iter().all(|id| Some(id) == ids.first());
        Ok(Self {
            classes,
            one_sided,
            all_positive: weights.iter().all(|weight| *weight >= 0.0),
        })
    }
}

/// A classifier's answer while it is put together.
struct ClassifierRows {
    chosen: Vec<usize>,
    scores: Vec<f32>,
    transform: Transform,
    votes: Votes,
}

impl ClassifierRows {
    fn rows<T: Number>(&mut self, sums: &Sums<T>, base: &[T]) {
        let classes = self.votes.classes;
        for (row, sums_of_row) in sums.values.chunks_exact(classes).enumerate() {
            let has = |class: usize| sums.has(row * classes + class);
            if classes == 2 {
                self.row_of_two(sums_of_row, [has(0), has(1)], base);
            } else {
                self.row_of_many(sums_of_row, has, base);
            }
        }
    }

    fn row_of_many<T: Number>(&mut self, sums: &[T], has: impl Fn(usize) -> bool, base: &[T]) {
        let begin = self.scores.len();
        let mut best: Option<(usize, T)> = None;
        for (class, sum) in sums.iter().enumerate() {
            let score = base.get(class).map_or(*sum, |base| *sum + *base);
            let counts = has(class) || class < base.len();
            if counts && best.is_none_or(|(_, most)| score > most) {
                best = Some((class, score));
            }
            self.scores.push(score.into() as f32);
        }
        self.chosen.push(best.map_or(0, |(class, _)| class));
        self.transform.apply(&mut self.scores[begin..]);
    }

    fn row_of_two<T: Number>(&mut self, sums: &[T], has: [bool; 2], base: &[T]) {
        let zero = T::default();
        let scores = match (has, base) {
            (_, [first, second]) => Two::Both(sums[0] + *first, sums[1] + *second),
            // One base value is for the first class, if that gets votes at all.
            ([true, true], [base]) => Two::Both(sums[0] + *base, sums[1]),
            ([_, true], _) => Two::Both(sums[0], sums[1]),
            ([_, false], [base]) => Two::One(sums[0] + *base),
            ([_, false], _) => Two::One(sums[0]),
        };
        let positive = match scores {
            Two::One(score) | Two::Both(_, score) => score,
        };
        let limit = if self.votes.one_sided && self.votes.all_positive {
            T::HALF
        } else {
            zero
        };
        self.chosen.push(usize::from(positive > limit));
        match scores {
            Two::Both(first, second) => {
                let mut both = [first.into() as f32, second.into() as f32];
                self.transform.apply(&mut both);
                self.scores.extend(both);
            }
            Two::One(score) => {
                let rest = self.votes.one_sided && self.votes.all_positive;
                let complement = if rest { Complement::Rest } else { Complement::Opposite };
                self.scores
                    .extend(both_scores(score.into() as f32, complement, self.transform));
            }
        }
    }
}

/// The scores of two classes, or the one that they share.
enum Two<T> {
    One(T),
    Both(T, T),
}

/// The newer operator, in which trees of both kinds are one, and which answers in the width of its input.
pub(super) fn ensemble(node: &OperatorNode<'_>) -> Result<Operator, LoadError> {
    let targets = usize::try_from(node.int("n_targets")?.unwrap_or(1)).unwrap_or(0);
    let aggregate = node.int("aggregate_function")?.unwrap_or(1);
    let aggregate = Aggregate::numbered(aggregate);
    let aggregate = aggregate.ok_or_else(|| node.fault("the aggregate_function is not known"))?;
    let transform = Transform::numbered(node.int("post_transform")?.unwrap_or(0));
    let transform = transform.ok_or_else(|| node.fault("the post_transform is not known"))?;
    let ensemble = match listing::read_ensemble(node, targets)? {
        listing::AnyTrees::Single(trees) => Ensemble::Single(Forest::new(node, trees, targets)?, Vec::new()),
        listing::AnyTrees::Double(trees) => Ensemble::Double(Forest::new(node, trees, targets)?, Vec::new()),
    };
    Ok(Box::new(move |inputs| {
        let x = input(inputs, 0)?;
        let expected = match &ensemble {
            Ensemble::Single(..) => DataType::Fp32,
            Ensemble::Double(..) => DataType::Fp64,
        };
        if x.data_type() != expected {
            return Err(OpError::Kind(format!("expected {expected}, found {}", x.describe())));
        }
        match (ensemble.collect(x, aggregate)?, &ensemble) {
            ((rows, Collected::Single(sums)), Ensemble::Single(forest, _)) => {
                let results = targets_of(sums, &[], forest.tree_count(), aggregate);
                let mut results: Vec<f32> = results.into_iter().map(|value| value as f32).collect();
                transform_targets(transform, &mut results, targets);
                one(Tensor::of(vec![rows, targets], results))
            }
            ((rows, Collected::Double(sums)), Ensemble::Double(forest, _)) => doubles(
                transform,
                targets_of(sums, &[], forest.tree_count(), aggregate),
                rows,
                targets,
            ),
            _ => Err(unsupported(x)),
        }
    }))
}

/// Transforms are defined in 32 bits; without one, all 64 stay.
fn doubles(transform: Transform, results: Vec<f64>, rows: usize, targets: usize) -> Outputs {
    if transform == Transform::None {
        return one(Tensor::of(vec![rows, targets], results));
    }
    let mut single: Vec<f32> = results.into_iter().map(|value| value as f32).collect();
    transform_targets(transform, &mut single, targets);
    one(Tensor::of(vec![rows, targets], widen(&single)))
}

#[cfg(test)]
mod tests;
