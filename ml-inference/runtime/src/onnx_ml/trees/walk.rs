//! Walks down laid-out trees, and what they collect.
//!
//! The step from node to node is one load, one comparison and one addition: nothing a processor could guess wrong. Each step
//! waits for the one before it, so eight walks go side by side: eight rows down one tree, which stays in the cache, or one row
//! down eight trees. A tree ends when no walk moved. Leaves are found in the order of the trees, so sums are the same whichever
//! way it went.

use super::aggregate::Aggregate;
use super::forest::{Forest, Leaves, MISSING_IS_TRUE, TEST, Tests, Tree, TreeNode};
use super::number::Number;
use crate::onnx_ml::elementwise::allowed;
use crate::onnx_ml::node::OpError;

/// Walks that go side by side.
const LANES: usize = 8;
/// Rows that go down a tree before the next tree is begun.
const ROWS_PER_BLOCK: usize = 64;

/// The sums of each row's votes: row after row, a number for each target.
#[derive(Debug)]
pub(super) struct Sums<T> {
    pub(super) values: Vec<T>,
    pub(super) targets: usize,
    /// Which of them got a vote at all; empty when all did.
    seen: Vec<bool>,
}

impl<T> Sums<T> {
    pub(super) fn has(&self, index: usize) -> bool {
        self.seen.is_empty() || self.seen[index]
    }
}

impl<T: Number> Forest<T> {
    /// Takes every row of `x` down every tree. Features are compared in their own width, which holds the thresholds exactly.
    pub(super) fn collect<V>(
        &self,
        x: &[V],
        (rows, length): (usize, usize),
        aggregate: Aggregate,
    ) -> Result<Sums<T>, OpError>
    where
        V: Number + From<T>,
    {
        if length < self.features {
            let needed = self.features;
            return Err(OpError::Kind(format!(
                "the trees test {needed} features, but a row has {length}"
            )));
        }
        let dense = matches!(self.leaves, Leaves::Dense(_));
        let count = allowed(&[rows, self.targets])?;
        let mut sums = Sums {
            values: vec![T::default(); count],
            targets: self.targets,
            seen: if dense { Vec::new() } else { vec![false; count] },
        };
        let walk = Walk { x, length, rows };
        match (&self.leaves, aggregate) {
            (Leaves::Dense(weights), Aggregate::Sum | Aggregate::Average) if self.targets == 1 => {
                self.walk(walk, |row, leaf| sums.values[row] = sums.values[row] + weights[leaf]);
            }
            (Leaves::Dense(weights), Aggregate::Sum | Aggregate::Average) => {
                let targets = self.targets;
                self.walk(walk, |row, leaf| {
                    let sums = &mut sums.values[row * targets..(row + 1) * targets];
                    for (sum, weight) in sums.iter_mut().zip(&weights[leaf * targets..(leaf + 1) * targets]) {
                        *sum = *sum + *weight;
                    }
                });
            }
            (Leaves::Dense(weights), _) => {
                // Whether a vote is the first must be known for the least and the most.
                sums.seen = vec![false; rows * self.targets];
                let targets = self.targets;
                self.walk(walk, |row, leaf| {
                    for (target, weight) in weights[leaf * targets..(leaf + 1) * targets].iter().enumerate() {
                        sums.add(row * targets + target, *weight, aggregate);
                    }
                });
            }
            (Leaves::Sparse { begin, votes }, _) => {
                let targets = self.targets;
                self.walk(walk, |row, leaf| {
                    for (target, weight) in &votes[begin[leaf] as usize..begin[leaf + 1] as usize] {
                        sums.add(row * targets + *target as usize, *weight, aggregate);
                    }
                });
            }
        }
        Ok(sums)
    }

    fn walk<V: Number + From<T>>(&self, walk: Walk<'_, V>, visit: impl FnMut(usize, usize)) {
        match self.tests {
            Tests::LessOrEqual => self.walk_by::<V, LessOrEqual>(walk, visit),
            Tests::Less => self.walk_by::<V, Less>(walk, visit),
            Tests::LessOrEqualOrMissing => self.walk_by::<V, OrMissing<LessOrEqual>>(walk, visit),
            Tests::LessOrMissing => self.walk_by::<V, OrMissing<Less>>(walk, visit),
            Tests::Mixed => self.walk_by::<V, Mixed>(walk, visit),
        }
    }

    /// Tells `visit` of every row and the leaf it ends at in each tree, in the order of the trees.
    fn walk_by<V: Number + From<T>, H: Holds<V>>(&self, walk: Walk<'_, V>, mut visit: impl FnMut(usize, usize)) {
        let mut first = 0;
        while first < walk.rows {
            let end = walk.rows.min(first + ROWS_PER_BLOCK);
            // As many rows as go side by side; what is left goes down several trees at a time.
            let whole = first + (end - first) / LANES * LANES;
            for tree in &self.trees {
                for row in (first..whole).step_by(LANES) {
                    let rows: [&[V]; LANES] = std::array::from_fn(|lane| walk.row(row + lane));
                    let leaves = self.descend::<V, H>([tree.root; LANES], rows, tree.depth);
                    for (lane, leaf) in leaves.into_iter().enumerate() {
                        visit(row + lane, leaf);
                    }
                }
            }
            for row in whole..end {
                self.one_row::<V, H>(walk.row(row), |leaf| visit(row, leaf));
            }
            first = end;
        }
    }

    fn one_row<V: Number + From<T>, H: Holds<V>>(&self, row: &[V], mut visit: impl FnMut(usize)) {
        let (groups, rest) = self.trees.as_chunks::<LANES>();
        for group in groups {
            let depth = group.iter().map(|tree| tree.depth).max().unwrap_or(0);
            let leaves = self.descend::<V, H>(group.map(|tree| tree.root), [row; LANES], depth);
            leaves.into_iter().for_each(&mut visit);
        }
        // The last few go with the last tree once more, which nobody is told of.
        if let Some(last) = rest.last() {
            let group: [Tree; LANES] = std::array::from_fn(|lane| *rest.get(lane).unwrap_or(last));
            let depth = rest.iter().map(|tree| tree.depth).max().unwrap_or(0);
            let leaves = self.descend::<V, H>(group.map(|tree| tree.root), [row; LANES], depth);
            leaves.into_iter().take(rest.len()).for_each(&mut visit);
        }
    }

    /// The numbers of the leaves that these walks end at.
    fn descend<V: Number + From<T>, H: Holds<V>>(
        &self,
        roots: [u32; LANES],
        rows: [&[V]; LANES],
        depth: u32,
    ) -> [usize; LANES] {
        let mut at = roots;
        for _step in 0..depth {
            let mut moved = 0;
            for lane in 0..LANES {
                let node = self.node(at[lane]);
                let holds = H::holds(rows[lane][node.feature as usize], V::from(node.threshold), node.payload);
                let next = node.next.wrapping_add(u32::from(!holds));
                moved |= next ^ at[lane];
                at[lane] = next;
            }
            if moved == 0 {
                break;
            }
        }
        at.map(|at| self.node(at).payload as usize)
    }

    fn node(&self, at: u32) -> &TreeNode<T> {
        &self.pairs[(at >> 1) as usize].0[(at & 1) as usize]
    }
}

/// Rows of features, one after the other.
#[derive(Clone, Copy)]
struct Walk<'a, V> {
    x: &'a [V],
    length: usize,
    rows: usize,
}

impl<'a, V> Walk<'a, V> {
    fn row(&self, row: usize) -> &'a [V] {
        &self.x[row * self.length..(row + 1) * self.length]
    }
}

impl<T: Number> Sums<T> {
    fn add(&mut self, index: usize, weight: T, aggregate: Aggregate) {
        let before = self.values[index];
        let first = !std::mem::replace(&mut self.seen[index], true);
        self.values[index] = match aggregate {
            Aggregate::Sum | Aggregate::Average => before + weight,
            Aggregate::Min if first || weight < before => weight,
            Aggregate::Max if first || weight > before => weight,
            Aggregate::Min | Aggregate::Max => before,
        };
    }
}

/// A test that is compiled for itself. It holds for no threshold that is NaN: that is what stops a walk at a leaf.
trait Holds<V> {
    fn holds(value: V, threshold: V, payload: u32) -> bool;
}

struct LessOrEqual;
struct Less;
struct OrMissing<H>(H);
struct Mixed;

impl<V: Number> Holds<V> for LessOrEqual {
    fn holds(value: V, threshold: V, _payload: u32) -> bool {
        value <= threshold
    }
}

impl<V: Number> Holds<V> for Less {
    fn holds(value: V, threshold: V, _payload: u32) -> bool {
        value < threshold
    }
}

// The payload of a leaf is its number, so whether there is a threshold is asked too.
impl<V: Number, H: Holds<V>> Holds<V> for OrMissing<H> {
    fn holds(value: V, threshold: V, payload: u32) -> bool {
        let is_missing = value.is_nan();
        let is_branch = !threshold.is_nan();
        H::holds(value, threshold, payload) | (is_missing & is_branch & (payload & MISSING_IS_TRUE != 0))
    }
}

impl<V: Number> Holds<V> for Mixed {
    fn holds(value: V, threshold: V, payload: u32) -> bool {
        if threshold.is_nan() {
            return false;
        }
        let holds = match payload & TEST {
            0 => value <= threshold,
            1 => value < threshold,
            2 => value >= threshold,
            3 => value > threshold,
            4 => value == threshold,
            _ => value != threshold,
        };
        holds || (payload & MISSING_IS_TRUE != 0 && value.is_nan())
    }
}
