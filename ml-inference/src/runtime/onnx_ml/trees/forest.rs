//! Trees laid out for walking.
//!
//! ```text
//! pair     0          1          2          3                 the children of one branch stand side by side:
//!        ┌────┬───┐ ┌────┬────┐ ┌────┬────┐ ┌────┬────┐       next + 0 where the test holds, next + 1 where not
//!        │root│ – │ │true│fals│ │true│fals│ │true│fals│
//!        └────┴───┘ └────┴────┘ └────┴────┘ └────┴────┘       a leaf leads to itself
//! ```
//!
//! A node of 32-bit thresholds has 16 bytes, so a pair never crosses a cache line, and the step from node to node is one load, one
//! comparison and one addition: nothing a processor could guess wrong. Each step waits for the one before it, so eight walks
//! go side by side: eight rows down one tree, which stays in the cache, or one row down eight trees. A tree ends when no walk
//! moved. Leaves are found in the order of the trees, so sums are the same whichever way it went.

use std::ops::{Add, Div, Sub};

use super::Aggregate;
use super::listing::{Plain, Test, Trees};
use crate::runtime::onnx_ml::elementwise::allowed;
use crate::runtime::onnx_ml::node::{Fault, LoadError, Node as OnnxNode};
use crate::tensor::Element;

/// Walks that go side by side.
const LANES: usize = 8;
/// Rows that go down a tree before the next tree is begun.
const ROWS_PER_BLOCK: usize = 64;

/// What thresholds and weights are made of.
pub(super) trait Number:
    Element + Copy + PartialOrd + Into<f64> + Add<Output = Self> + Sub<Output = Self> + Div<Output = Self>
{
    const NAN: Self;
    const HALF: Self;
    fn is_nan(self) -> bool;
    fn count(count: usize) -> Self;
}

impl Number for f32 {
    const NAN: Self = Self::NAN;
    const HALF: Self = 0.5;

    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn count(count: usize) -> Self {
        count as Self
    }
}

impl Number for f64 {
    const NAN: Self = Self::NAN;
    const HALF: Self = 0.5;

    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn count(count: usize) -> Self {
        count as Self
    }
}

#[derive(Debug, Clone, Copy)]
struct Node<T> {
    /// NaN in a leaf: no test holds.
    threshold: T,
    feature: u32,
    /// The place of the child for when the test holds; a leaf's is the place before its own.
    next: u32,
    /// Of a branch its test, of a leaf its number.
    payload: u32,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Pair<T>([Node<T>; 2]);

/// Where walks begin, and after how many steps they have ended.
#[derive(Debug, Clone, Copy)]
struct Tree {
    root: u32,
    depth: u32,
}

#[derive(Debug)]
pub(super) struct Forest<T> {
    pairs: Vec<Pair<T>>,
    trees: Vec<Tree>,
    leaves: Leaves<T>,
    tests: Tests,
    /// One more than the largest feature that is tested.
    features: usize,
    targets: usize,
}

/// What leaves vote for, by the number of the leaf.
#[derive(Debug)]
enum Leaves<T> {
    /// Every leaf has one weight for each target, in their order.
    Dense(Vec<T>),
    /// The votes of a leaf are between its entry and the next.
    Sparse { begin: Vec<u32>, votes: Vec<(u32, T)> },
}

/// Which tests are in a forest; the usual ones are compiled for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tests {
    LessOrEqual,
    Less,
    LessOrEqualOrMissing,
    LessOrMissing,
    Mixed,
}

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
    /// Lays out trees whose nodes point to nodes that are there.
    pub(super) fn new(node: &OnnxNode<'_>, trees: Trees<T>, targets: usize) -> Result<Self, LoadError> {
        if targets == 0 || trees.roots.is_empty() {
            return Err(node.fault("a forest without trees or without targets"));
        }
        let mut layout = Layout {
            source: &trees.nodes,
            seen: vec![false; trees.nodes.len()],
            pairs: Vec::with_capacity(trees.nodes.len() / 2 + trees.roots.len()),
            begin: vec![0],
            votes: Vec::new(),
        };
        let mut laid_out = Vec::with_capacity(trees.roots.len());
        for root in &trees.roots {
            laid_out.push(layout.tree(*root).map_err(|problem| node.fault(problem))?);
        }
        let Layout {
            pairs, begin, votes, ..
        } = layout;
        let branches = trees.nodes.iter().filter_map(|plain| match plain {
            Plain::Branch { feature, .. } => Some(*feature as usize + 1),
            Plain::Leaf { .. } => None,
        });
        Ok(Self {
            pairs,
            trees: laid_out,
            leaves: leaves(begin, votes, targets),
            tests: tests_of(&trees.nodes),
            features: branches.max().unwrap_or(1),
            targets,
        })
    }

    pub(super) fn tree_count(&self) -> usize {
        self.trees.len()
    }

    /// Takes every row of `x` down every tree. Features are compared in their own width, which holds the thresholds exactly.
    pub(super) fn collect<V>(
        &self,
        x: &[V],
        (rows, length): (usize, usize),
        aggregate: Aggregate,
    ) -> Result<Sums<T>, Fault>
    where
        V: Number + From<T>,
    {
        if length < self.features {
            let needed = self.features;
            return Err(Fault::Kind(format!(
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

    fn node(&self, at: u32) -> &Node<T> {
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

/// The bits of a branch's payload.
const TEST: u32 = 0b0111;
const MISSING_IS_TRUE: u32 = 0b1000;

fn payload(test: Test, missing_is_true: bool) -> u32 {
    let test = match test {
        Test::LessOrEqual => 0,
        Test::Less => 1,
        Test::GreaterOrEqual => 2,
        Test::Greater => 3,
        Test::Equal => 4,
        Test::NotEqual => 5,
    };
    if missing_is_true { test | MISSING_IS_TRUE } else { test }
}

fn tests_of<T>(nodes: &[Plain<T>]) -> Tests {
    let (mut only, mut missing) = (None, false);
    for plain in nodes {
        if let Plain::Branch {
            test, missing_is_true, ..
        } = plain
        {
            missing |= *missing_is_true;
            if only.replace(*test).is_some_and(|before| before != *test) {
                return Tests::Mixed;
            }
        }
    }
    match (only, missing) {
        (None | Some(Test::LessOrEqual), false) => Tests::LessOrEqual,
        (Some(Test::Less), false) => Tests::Less,
        (Some(Test::LessOrEqual), true) => Tests::LessOrEqualOrMissing,
        (Some(Test::Less), true) => Tests::LessOrMissing,
        _ => Tests::Mixed,
    }
}

/// Dense when every leaf votes once for each target.
fn leaves<T: Number>(begin: Vec<u32>, votes: Vec<(u32, T)>, targets: usize) -> Leaves<T> {
    let is_dense = begin.iter().zip(&begin[1..]).all(|(first, end)| {
        let votes = &votes[*first as usize..*end as usize];
        votes.len() == targets
            && votes
                .iter()
                .enumerate()
                .all(|(index, (target, _))| *target as usize == index)
    });
    match is_dense {
        true => Leaves::Dense(votes.into_iter().map(|(_, weight)| weight).collect()),
        false => Leaves::Sparse { begin, votes },
    }
}

/// Trees on their way into pairs.
struct Layout<'a, T> {
    source: &'a [Plain<T>],
    seen: Vec<bool>,
    pairs: Vec<Pair<T>>,
    begin: Vec<u32>,
    votes: Vec<(u32, T)>,
}

impl<T: Number> Layout<'_, T> {
    /// Lays out one tree, level by level: what all walks pass stands close together.
    fn tree(&mut self, root: usize) -> Result<Tree, String> {
        let place = self.add_pair()?;
        let mut level = vec![(root, place)];
        let mut depth = 0;
        loop {
            let mut below = Vec::new();
            for (source, place) in level {
                if let Some(children) = self.put(source, place)? {
                    below.extend(children);
                }
            }
            if below.is_empty() {
                return Ok(Tree { root: place, depth });
            }
            level = below;
            depth += 1;
        }
    }

    /// Two empty nodes; gives the place of the first.
    fn add_pair(&mut self) -> Result<u32, String> {
        let empty = Node {
            threshold: T::NAN,
            feature: 0,
            next: 0,
            payload: 0,
        };
        let place = u32::try_from(self.pairs.len() * 2)
            .ok()
            .filter(|place| *place < u32::MAX - 1);
        self.pairs.push(Pair([empty; 2]));
        place.ok_or_else(|| "the forest has too many nodes".to_owned())
    }

    /// Puts one node into its place, and gives its children and theirs.
    fn put(&mut self, source: usize, place: u32) -> Result<Option<[(usize, u32); 2]>, String> {
        let (node, children) = match &self.source[source] {
            Plain::Leaf { votes } => {
                let number = u32::try_from(self.begin.len() - 1).map_err(|_many| "too many leaves".to_owned())?;
                self.votes.extend_from_slice(votes);
                let end = u32::try_from(self.votes.len()).map_err(|_many| "too many votes".to_owned())?;
                self.begin.push(end);
                let leaf = Node {
                    threshold: T::NAN,
                    feature: 0,
                    next: place.wrapping_sub(1),
                    payload: number,
                };
                (leaf, None)
            }
            Plain::Branch {
                test,
                feature,
                threshold,
                missing_is_true,
                on_true,
                on_false,
            } => {
                // A branch with two parents would be a loop, or grow without end.
                if std::mem::replace(&mut self.seen[source], true) {
                    return Err("a node has two parents, or is its own child's child".to_owned());
                }
                let next = self.add_pair()?;
                let branch = Node {
                    threshold: *threshold,
                    feature: *feature,
                    next,
                    payload: payload(*test, *missing_is_true),
                };
                (branch, Some([(*on_true, next), (*on_false, next + 1)]))
            }
        };
        self.pairs[(place >> 1) as usize].0[(place & 1) as usize] = node;
        Ok(children)
    }
}
