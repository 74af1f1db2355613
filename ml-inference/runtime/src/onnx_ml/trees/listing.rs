//! The forest of a file: lists in which nodes, children and votes refer to one another by number. All of it is validated here:
//! every number refers to an entry, and connected nodes are a tree.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::number::Number;
use crate::error::LoadError;
use crate::onnx_ml::node::OperatorNode;
use crate::tensor::{Data, Tensor};

/// How a branch compares a feature with its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
}

/// A node that points to others by their place in the list.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plain<T> {
    Branch {
        test: Test,
        feature: u32,
        threshold: T,
        /// True if a missing number (NaN) takes the branch of a true test.
        missing_is_true: bool,
        on_true: usize,
        on_false: usize,
    },
    Leaf {
        /// Which targets get how much.
        votes: Vec<(u32, T)>,
    },
}

/// Trees, of which nothing is checked but that all numbers point somewhere.
#[derive(Debug, Clone)]
pub(super) struct Trees<T> {
    pub(super) nodes: Vec<Plain<T>>,
    pub(super) roots: Vec<usize>,
}

/// Names of the attributes of votes.
pub(super) struct Names {
    ids: &'static str,
    nodes: &'static str,
    trees: &'static str,
    weights: &'static str,
    weights_as_tensor: &'static str,
}

pub(super) const TARGET: Names = Names {
    ids: "target_ids",
    nodes: "target_nodeids",
    trees: "target_treeids",
    weights: "target_weights",
    weights_as_tensor: "target_weights_as_tensor",
};

pub(super) const CLASS: Names = Names {
    ids: "class_ids",
    nodes: "class_nodeids",
    trees: "class_treeids",
    weights: "class_weights",
    weights_as_tensor: "class_weights_as_tensor",
};

pub(super) enum Listing {
    Single(Lists<f32>),
    Double(Lists<f64>),
}

/// The lists of the older operators, in one of the widths.
pub(super) struct Lists<T> {
    trees: Vec<i64>,
    ids: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<Option<Test>>,
    values: Vec<T>,
    on_true: Vec<i64>,
    on_false: Vec<i64>,
    missing: Vec<i64>,
    vote_trees: Vec<i64>,
    vote_nodes: Vec<i64>,
    vote_targets: Vec<i64>,
    weights: Vec<T>,
    pub(super) base: Vec<T>,
}

pub(super) fn read(node: &OperatorNode<'_>, names: &Names) -> Result<Listing, LoadError> {
    node.ignore(&["nodes_hitrates", "nodes_hitrates_as_tensor"]);
    let values = floats(node, "nodes_values", "nodes_values_as_tensor")?;
    let weights = floats(node, names.weights, names.weights_as_tensor)?;
    let base = floats(node, "base_values", "base_values_as_tensor")?;
    // One tensor of doubles makes all of it double.
    let doubles = [&values, &weights, &base]
        .iter()
        .any(|floats| matches!(floats, Floats::Double(_)));
    Ok(if doubles {
        Listing::Double(lists(node, names, [values.double(), weights.double(), base.double()])?)
    } else {
        Listing::Single(lists(node, names, [values.single(), weights.single(), base.single()])?)
    })
}

enum Floats {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl Floats {
    /// Only for what is single anyway.
    fn single(self) -> Vec<f32> {
        match self {
            Self::Single(values) => values,
            Self::Double(values) => values.into_iter().map(|value| value as f32).collect(),
        }
    }

    fn double(self) -> Vec<f64> {
        match self {
            Self::Single(values) => values.into_iter().map(f64::from).collect(),
            Self::Double(values) => values,
        }
    }
}

fn floats(node: &OperatorNode<'_>, name: &'static str, as_tensor: &'static str) -> Result<Floats, LoadError> {
    match node.tensor(as_tensor)?.map(Tensor::into_data) {
        None => Ok(Floats::Single(node.floats(name)?)),
        Some(Data::Fp32(values)) => Ok(Floats::Single(values)),
        Some(Data::Fp64(values)) => Ok(Floats::Double(values)),
        Some(_) => Err(node.fault(format!("{as_tensor} is not of floats"))),
    }
}

fn lists<T: Number>(
    node: &OperatorNode<'_>,
    names: &Names,
    [values, weights, base]: [Vec<T>; 3],
) -> Result<Lists<T>, LoadError> {
    let modes: Result<Vec<Option<Test>>, LoadError> = node
        .texts("nodes_modes")?
        .iter()
        .map(|mode| test_of(node, mode))
        .collect();
    let lists = Lists {
        trees: node.ints("nodes_treeids")?,
        ids: node.ints("nodes_nodeids")?,
        features: node.ints("nodes_featureids")?,
        modes: modes?,
        values,
        on_true: node.ints("nodes_truenodeids")?,
        on_false: node.ints("nodes_falsenodeids")?,
        missing: node.ints("nodes_missing_value_tracks_true")?,
        vote_trees: node.ints(names.trees)?,
        vote_nodes: node.ints(names.nodes)?,
        vote_targets: node.ints(names.ids)?,
        weights,
        base,
    };
    let count = lists.ids.len();
    let same = [
        lists.trees.len(),
        lists.features.len(),
        lists.modes.len(),
        lists.values.len(),
        lists.on_true.len(),
        lists.on_false.len(),
    ];
    if count == 0
        || same.iter().any(|length| *length != count)
        || !matches!(lists.missing.len(), 0) && lists.missing.len() != count
    {
        return Err(node.fault("the lists of nodes are empty or not of one length"));
    }
    let votes = lists.vote_nodes.len();
    if [lists.vote_trees.len(), lists.vote_targets.len(), lists.weights.len()] != [votes; 3] {
        return Err(node.fault("the lists of votes are not of one length"));
    }
    Ok(lists)
}

/// `None` for a leaf.
fn test_of(node: &OperatorNode<'_>, mode: &[u8]) -> Result<Option<Test>, LoadError> {
    Ok(Some(match mode {
        b"BRANCH_LEQ" => Test::LessOrEqual,
        b"BRANCH_LT" => Test::Less,
        b"BRANCH_GTE" => Test::GreaterOrEqual,
        b"BRANCH_GT" => Test::Greater,
        b"BRANCH_EQ" => Test::Equal,
        b"BRANCH_NEQ" => Test::NotEqual,
        b"LEAF" => return Ok(None),
        other => {
            let mode = String::from_utf8_lossy(other);
            return Err(node.fault(format!("the mode {mode} of a tree's node is not known")));
        }
    }))
}

impl<T: Number> Lists<T> {
    /// Makes nodes of the lists. The first node that is listed of each tree is its root.
    pub(super) fn trees(&self, node: &OperatorNode<'_>, targets: usize) -> Result<Trees<T>, LoadError> {
        let mut places: HashMap<(i64, i64), usize> = HashMap::with_capacity(self.ids.len());
        let mut roots = Vec::new();
        let mut begun: HashMap<i64, ()> = HashMap::new();
        for (place, (tree, id)) in self.trees.iter().zip(&self.ids).enumerate() {
            if places.insert((*tree, *id), place).is_some() {
                return Err(node.fault(format!("node {id} of tree {tree} is listed twice")));
            }
            if let Entry::Vacant(entry) = begun.entry(*tree) {
                entry.insert(());
                roots.push(place);
            }
        }
        let mut nodes = Vec::with_capacity(self.ids.len());
        for place in 0..self.ids.len() {
            nodes.push(self.node(node, &places, place)?);
        }
        for (index, target) in self.vote_targets.iter().enumerate() {
            let (tree, id) = (self.vote_trees[index], self.vote_nodes[index]);
            let target = u32::try_from(*target)
                .ok()
                .filter(|target| (*target as usize) < targets);
            let target = target.ok_or_else(|| node.fault(format!("node {id} of tree {tree} votes for no target")))?;
            let place = places.get(&(tree, id));
            let place = place
                .ok_or_else(|| node.fault(format!("a vote is of node {id} of tree {tree}, which is not there")))?;
            match &mut nodes[*place] {
                Plain::Leaf { votes } => votes.push((target, self.weights[index])),
                // Some exporters list weights of branches, which no row ends at.
                Plain::Branch { .. } => {}
            }
        }
        Ok(Trees { nodes, roots })
    }

    fn node(
        &self,
        node: &OperatorNode<'_>,
        places: &HashMap<(i64, i64), usize>,
        place: usize,
    ) -> Result<Plain<T>, LoadError> {
        let (tree, id) = (self.trees[place], self.ids[place]);
        let Some(test) = self.modes[place] else {
            return Ok(Plain::Leaf { votes: Vec::new() });
        };
        let child = |child: i64| {
            let found = places.get(&(tree, child)).copied();
            found.ok_or_else(|| {
                node.fault(format!(
                    "node {id} of tree {tree} has the child {child}, which is not there"
                ))
            })
        };
        let feature = u32::try_from(self.features[place]);
        let feature = feature.map_err(|_range| {
            node.fault(format!(
                "node {id} of tree {tree} tests the feature {}",
                self.features[place]
            ))
        })?;
        let threshold = self.values[place];
        if threshold.into().is_nan() {
            return Err(node.fault(format!("node {id} of tree {tree} has a threshold that is not a number")));
        }
        Ok(Plain::Branch {
            test,
            feature,
            threshold,
            missing_is_true: self.missing.get(place).is_some_and(|missing| *missing != 0),
            on_true: child(self.on_true[place])?,
            on_false: child(self.on_false[place])?,
        })
    }
}

/// The trees of the newer operator, in one of the widths.
pub(super) enum AnyTrees {
    Single(Trees<f32>),
    Double(Trees<f64>),
}

pub(super) fn read_ensemble(node: &OperatorNode<'_>, targets: usize) -> Result<AnyTrees, LoadError> {
    node.ignore(&["nodes_hitrates"]);
    if node
        .tensor("membership_values")?
        .is_some_and(|values| !values.data().is_empty())
    {
        return Err(node.fault("tests of membership (BRANCH_MEMBER) are not supported"));
    }
    let data = |name: &'static str| node.tensor(name).map(|tensor| tensor.map(Tensor::into_data));
    match (data("nodes_splits")?, data("leaf_weights")?) {
        (Some(Data::Fp32(splits)), Some(Data::Fp32(weights))) => {
            newer(node, &splits, &weights, targets).map(AnyTrees::Single)
        }
        (Some(Data::Fp64(splits)), Some(Data::Fp64(weights))) => {
            newer(node, &splits, &weights, targets).map(AnyTrees::Double)
        }
        _ => Err(node.fault("nodes_splits and leaf_weights are not both of floats or both of doubles")),
    }
}

fn newer<T: Number>(
    node: &OperatorNode<'_>,
    splits: &[T],
    weights: &[T],
    targets: usize,
) -> Result<Trees<T>, LoadError> {
    let modes = match node.tensor("nodes_modes")?.map(Tensor::into_data) {
        Some(Data::Uint8(modes)) => modes,
        _ => return Err(node.fault("nodes_modes is not of bytes")),
    };
    let features = node.ints("nodes_featureids")?;
    let (on_true, on_false) = (node.ints("nodes_truenodeids")?, node.ints("nodes_falsenodeids")?);
    let (true_leafs, false_leafs) = (node.ints("nodes_trueleafs")?, node.ints("nodes_falseleafs")?);
    let missing = node.ints("nodes_missing_value_tracks_true")?;
    let leaf_targets = node.ints("leaf_targetids")?;
    let count = splits.len();
    let same = [
        modes.len(),
        features.len(),
        on_true.len(),
        on_false.len(),
        true_leafs.len(),
        false_leafs.len(),
    ];
    if same.iter().any(|length| *length != count) || (!missing.is_empty() && missing.len() != count) {
        return Err(node.fault("the lists of nodes are not of one length"));
    }
    if weights.is_empty() || leaf_targets.len() != weights.len() {
        return Err(node.fault("the lists of leaves are empty or not of one length"));
    }
    // Leaves stand behind the branches.
    let child = |id: i64, is_leaf: i64| {
        let (offset, count) = if is_leaf == 0 {
            (0, count)
        } else {
            (count, weights.len())
        };
        let place = usize::try_from(id).ok().filter(|place| *place < count);
        place
            .map(|place| offset + place)
            .ok_or_else(|| node.fault(format!("there is no child {id}")))
    };
    let mut nodes = Vec::with_capacity(count + weights.len());
    for place in 0..count {
        if splits[place].into().is_nan() {
            return Err(node.fault(format!("node {place} has a threshold that is not a number")));
        }
        nodes.push(Plain::Branch {
            test: numbered_test(node, modes[place])?,
            feature: u32::try_from(features[place])
                .map_err(|_range| node.fault(format!("node {place} tests the feature {}", features[place])))?,
            threshold: splits[place],
            missing_is_true: missing.get(place).is_some_and(|missing| *missing != 0),
            on_true: child(on_true[place], true_leafs[place])?,
            on_false: child(on_false[place], false_leafs[place])?,
        });
    }
    for (weight, target) in weights.iter().zip(&leaf_targets) {
        let target = u32::try_from(*target)
            .ok()
            .filter(|target| (*target as usize) < targets);
        let target = target.ok_or_else(|| node.fault("a leaf votes for no target"))?;
        nodes.push(Plain::Leaf {
            votes: vec![(target, *weight)],
        });
    }
    let roots = node.ints("tree_roots")?.into_iter().map(|root| {
        let place = usize::try_from(root).ok().filter(|place| *place < count);
        place.ok_or_else(|| node.fault(format!("there is no root {root}")))
    });
    Ok(Trees {
        roots: roots.collect::<Result<_, _>>()?,
        nodes,
    })
}

fn numbered_test(node: &OperatorNode<'_>, mode: u8) -> Result<Test, LoadError> {
    let tests = [
        Test::LessOrEqual,
        Test::Less,
        Test::GreaterOrEqual,
        Test::Greater,
        Test::Equal,
        Test::NotEqual,
    ];
    let test = tests.get(usize::from(mode)).copied();
    test.ok_or_else(|| node.fault(format!("the mode {mode} of a tree's node is not supported")))
}
