//! Trees laid out for walking.
//!
//! ```text
//! pair     0          1          2          3                 the children of one branch stand side by side:
//!        ┌────┬───┐ ┌────┬────┐ ┌────┬────┐ ┌────┬────┐       next + 0 where the test holds, next + 1 where not
//!        │root│ – │ │true│fals│ │true│fals│ │true│fals│
//!        └────┴───┘ └────┴────┘ └────┴────┘ └────┴────┘       a leaf leads to itself
//! ```
//!
//! A node of 32-bit thresholds has 16 bytes, so a pair never crosses a cache line.

use super::listing::{Plain, Test, Trees};
use super::number::Number;
use crate::error::LoadError;
use crate::onnx_ml::node::OperatorNode;

#[derive(Debug, Clone, Copy)]
pub(super) struct TreeNode<T> {
    /// NaN in a leaf: no test holds.
    pub(super) threshold: T,
    pub(super) feature: u32,
    /// The place of the child for when the test holds; a leaf's is the place before its own.
    pub(super) next: u32,
    /// Test of a branch, number of a leaf.
    pub(super) payload: u32,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub(super) struct Pair<T>(pub(super) [TreeNode<T>; 2]);

/// Where walks begin, and after how many steps they have ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    pub(super) root: u32,
    pub(super) depth: u32,
}

#[derive(Debug)]
pub(super) struct Forest<T> {
    pub(super) pairs: Vec<Pair<T>>,
    pub(super) trees: Vec<Tree>,
    pub(super) leaves: Leaves<T>,
    pub(super) tests: Tests,
    /// One more than the largest feature that is tested.
    pub(super) features: usize,
    pub(super) targets: usize,
}

/// Votes by the number of the leaf.
#[derive(Debug)]
pub(super) enum Leaves<T> {
    /// Every leaf has one weight for each target, in their order.
    Dense(Vec<T>),
    /// The votes of a leaf are between its entry and the next.
    Sparse { begin: Vec<u32>, votes: Vec<(u32, T)> },
}

/// Which tests are in a forest; the usual ones are compiled for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tests {
    LessOrEqual,
    Less,
    LessOrEqualOrMissing,
    LessOrMissing,
    Mixed,
}

impl<T: Number> Forest<T> {
    /// Lays out trees whose nodes point to nodes that are there.
    pub(super) fn new(node: &OperatorNode<'_>, trees: Trees<T>, targets: usize) -> Result<Self, LoadError> {
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
}

/// The bits of a branch's payload.
pub(super) const TEST: u32 = 0b0111;
pub(super) const MISSING_IS_TRUE: u32 = 0b1000;

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
        let empty = TreeNode {
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
                let leaf = TreeNode {
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
                let branch = TreeNode {
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
