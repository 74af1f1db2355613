use proptest::prelude::*;

use super::super::test_node::{TestNode, tensor};
use super::*;
use crate::error::LoadError;

/// The lists of a file, one entry a node.
#[derive(Debug, Clone, Default)]
struct Lists {
    trees: Vec<i64>,
    ids: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<&'static str>,
    values: Vec<f32>,
    on_true: Vec<i64>,
    on_false: Vec<i64>,
    missing: Vec<i64>,
    vote_trees: Vec<i64>,
    vote_nodes: Vec<i64>,
    vote_targets: Vec<i64>,
    weights: Vec<f32>,
}

impl Lists {
    fn node(&self, targets: i64) -> TestNode {
        TestNode::ml("TreeEnsembleRegressor")
            .int("n_targets", targets)
            .ints("nodes_treeids", &self.trees)
            .ints("nodes_nodeids", &self.ids)
            .ints("nodes_featureids", &self.features)
            .texts("nodes_modes", &self.modes)
            .floats("nodes_values", &self.values)
            .ints("nodes_truenodeids", &self.on_true)
            .ints("nodes_falsenodeids", &self.on_false)
            .ints("nodes_missing_value_tracks_true", &self.missing)
            .ints("target_treeids", &self.vote_trees)
            .ints("target_nodeids", &self.vote_nodes)
            .ints("target_ids", &self.vote_targets)
            .floats("target_weights", &self.weights)
    }

    fn problem(&self) -> String {
        match self.node(1).make() {
            Err(LoadError::Node { problem, .. }) => problem,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was made of {self:?}"),
        }
    }

    fn branch(&mut self, tree: i64, id: i64, children: [i64; 2], test: (&'static str, i64, f32, bool)) {
        let (mode, feature, value, missing) = test;
        self.add(tree, id, mode, feature, value, i64::from(missing), children);
    }

    fn leaf(&mut self, tree: i64, id: i64, votes: &[(i64, f32)]) {
        self.add(tree, id, "LEAF", 0, 0.0, 0, [0, 0]);
        for (target, weight) in votes {
            self.vote_trees.push(tree);
            self.vote_nodes.push(id);
            self.vote_targets.push(*target);
            self.weights.push(*weight);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a row of seven lists")]
    fn add(
        &mut self,
        tree: i64,
        id: i64,
        mode: &'static str,
        feature: i64,
        value: f32,
        missing: i64,
        children: [i64; 2],
    ) {
        self.trees.push(tree);
        self.ids.push(id);
        self.modes.push(mode);
        self.features.push(feature);
        self.values.push(value);
        self.missing.push(missing);
        self.on_true.push(children[0]);
        self.on_false.push(children[1]);
    }

    /// One branch with two leaves.
    fn stump() -> Self {
        let mut lists = Self::default();
        lists.branch(0, 0, [1, 2], ("BRANCH_LEQ", 0, 0.5, false));
        lists.leaf(0, 1, &[(0, 1.0)]);
        lists.leaf(0, 2, &[(0, 2.0)]);
        lists
    }
}

/// A tree as one would draw it.
#[derive(Debug, Clone)]
enum Drawn {
    Leaf(Vec<(i64, f32)>),
    Branch(&'static str, i64, f32, bool, Box<[Drawn; 2]>),
}

const FEATURES: usize = 3;
const TARGETS: i64 = 2;

/// Few values, so that features often equal thresholds.
fn number() -> impl Strategy<Value = f32> {
    prop::sample::select(vec![-1.0, -0.0, 0.0, 0.1, 0.5, 1.0, f32::INFINITY, f32::MIN_POSITIVE])
}

fn drawn(modes: Vec<&'static str>) -> impl Strategy<Value = Drawn> {
    let weight = (-8_i8..8).prop_map(f32::from);
    let leaf = prop::collection::vec((0..TARGETS, weight), 0..3).prop_map(Drawn::Leaf);
    leaf.prop_recursive(6, 40, 2, move |inner| {
        let test = (
            prop::sample::select(modes.clone()),
            0..FEATURES as i64,
            number(),
            any::<bool>(),
        );
        (test, inner.clone(), inner).prop_map(|((mode, feature, value, missing), a, b)| {
            Drawn::Branch(mode, feature, value, missing, Box::new([a, b]))
        })
    })
}

impl Drawn {
    /// Lists this tree's nodes, and gives the number of its root.
    fn list(&self, tree: i64, next: &mut i64, lists: &mut Lists) -> i64 {
        let id = *next;
        *next += 1;
        match self {
            Self::Leaf(votes) => lists.leaf(tree, id, votes),
            Self::Branch(mode, feature, value, missing, children) => {
                let place = lists.ids.len();
                lists.branch(tree, id, [0, 0], (mode, *feature, *value, *missing));
                lists.on_true[place] = children[0].list(tree, next, lists);
                lists.on_false[place] = children[1].list(tree, next, lists);
            }
        }
        id
    }

    /// The leaf of a row, as the standard says it.
    fn walk(&self, row: &[f32]) -> &[(i64, f32)] {
        match self {
            Self::Leaf(votes) => votes,
            Self::Branch(mode, feature, threshold, missing, children) => {
                let value = row[usize::try_from(*feature).expect("small")];
                let holds = match *mode {
                    "BRANCH_LEQ" => value <= *threshold,
                    "BRANCH_LT" => value < *threshold,
                    "BRANCH_GTE" => value >= *threshold,
                    "BRANCH_GT" => value > *threshold,
                    "BRANCH_EQ" => value == *threshold,
                    _ => value != *threshold,
                };
                children[usize::from(!(holds || (*missing && value.is_nan())))].walk(row)
            }
        }
    }
}

fn check(forest: &[Drawn], rows: &[f32]) -> Result<(), TestCaseError> {
    let mut lists = Lists::default();
    for (tree, drawn) in (0..).zip(forest) {
        drawn.list(tree, &mut 0, &mut lists);
    }
    let count = rows.len() / FEATURES;
    let given = lists.node(TARGETS).run(&[&tensor(&[count, FEATURES], rows)]);
    let mut expected = vec![0.0_f32; count * 2];
    for (row, sums) in rows.chunks(FEATURES).zip(expected.chunks_mut(2)) {
        for drawn in forest {
            for (target, weight) in drawn.walk(row) {
                sums[usize::try_from(*target).expect("small")] += weight;
            }
        }
    }
    prop_assert_eq!(given.values::<f32>().expect("floats"), expected);
    Ok(())
}

fn rows() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![5 => number(), 1 => Just(f32::NAN), 1 => Just(f32::NEG_INFINITY)];
    // Fewer rows than go side by side, just as many, and more than a block.
    let count = prop_oneof![Just(1_usize), Just(7), Just(8), Just(9), Just(70)];
    count.prop_flat_map(move |count| prop::collection::vec(value.clone(), count * FEATURES))
}

fn forests(modes: Vec<&'static str>) -> impl Strategy<Value = Vec<Drawn>> {
    prop::collection::vec(drawn(modes), 1..20)
}

proptest! {
    #[test]
    fn walks_of_any_tests_end_where_the_standard_says(
        forest in forests(vec!["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]),
        rows in rows()
    ) {
        check(&forest, &rows)?;
    }

    #[test]
    fn walks_of_one_test_do_too(forest in forests(vec!["BRANCH_LEQ"]), rows in rows()) {
        check(&forest, &rows)?;
    }

    #[test]
    fn and_of_the_other_usual_one(forest in forests(vec!["BRANCH_LT"]), rows in rows()) {
        check(&forest, &rows)?;
    }

    #[test]
    fn no_lists_make_it_panic(
        ids in prop::collection::vec(-1_i64..6, 6), on_true in prop::collection::vec(-1_i64..7, 6),
        on_false in prop::collection::vec(-1_i64..7, 6), trees in prop::collection::vec(0_i64..2, 6),
        leaves in prop::collection::vec(any::<bool>(), 6), feature in -1_i64..4, votes in prop::collection::vec(-1_i64..7, 3)
    ) {
        let mut lists = Lists::default();
        for index in 0..6 {
            let mode = if leaves[index] { "LEAF" } else { "BRANCH_LEQ" };
            lists.add(trees[index], ids[index], mode, feature, 0.5, 0, [on_true[index], on_false[index]]);
        }
        lists.vote_nodes = votes;
        lists.vote_trees = vec![0; 3];
        lists.vote_targets = vec![0; 3];
        lists.weights = vec![1.0; 3];
        if let Ok(forest) = lists.node(1).make() {
            let x = tensor(&[9, 4], &[0.25_f32; 36]);
            prop_assert!(forest(&[Some(&x)]).is_ok());
        }
    }
}

#[test]
fn thresholds_are_compared_in_their_own_width() {
    let mut lists = Lists::stump();
    lists.values[0] = 0.1;
    let node = lists.node(1);
    // 0.1 in 64 bits is less than the nearest number of 32 bits, which is the threshold.
    let singles = tensor(&[2, 1], &[0.1_f32, 0.100_000_01]);
    assert_eq!(node.run(&[&singles]), tensor(&[2, 1], &[1.0_f32, 2.0]));
    let doubles = tensor(&[3, 1], &[0.1_f64, f64::from(0.1_f32), f64::from(0.1_f32) + 1e-12]);
    assert_eq!(node.run(&[&doubles]), tensor(&[3, 1], &[1.0_f32, 1.0, 2.0]));
}

#[test]
fn a_row_with_too_few_features_is_refused_and_no_rows_are_none() {
    let mut lists = Lists::stump();
    lists.features[0] = 2;
    let forest = lists.node(1).make().expect("is made");
    assert!(matches!(
        forest(&[Some(&tensor(&[1, 2], &[0.0_f32; 2]))]),
        Err(OpError::Kind(_))
    ));
    let none = forest(&[Some(&tensor::<f32>(&[0, 3], &[]))]);
    assert_eq!(none, Ok(vec![tensor::<f32>(&[0, 1], &[])]));
}

#[test]
fn lists_that_are_no_trees_are_refused_with_what_is_wrong() {
    type Change = fn(&mut Lists);
    let changes: [(Change, &str); 13] = [
        (|lists| lists.on_true[0] = 7, "has the child 7, which is not there"),
        (|lists| lists.on_true[0] = -1, "has the child -1"),
        (|lists| lists.on_true[0] = 0, "its own child's child"),
        (|lists| lists.features[0] = -1, "tests the feature -1"),
        (|lists| lists.features[0] = i64::MAX, "tests the feature"),
        (|lists| lists.values[0] = f32::NAN, "not a number"),
        (|lists| lists.ids[2] = 1, "is listed twice"),
        (|lists| lists.modes[0] = "BRANCH_MAYBE", "BRANCH_MAYBE"),
        (|lists| lists.vote_nodes[0] = 9, "a vote is of node 9"),
        (|lists| lists.vote_targets[0] = 1, "votes for no target"),
        (|lists| lists.vote_targets[0] = -1, "votes for no target"),
        (|lists| lists.values.truncate(1), "not of one length"),
        (|lists| lists.weights.truncate(1), "not of one length"),
    ];
    for (change, expected) in changes {
        let mut lists = Lists::stump();
        change(&mut lists);
        let problem = lists.problem();
        assert!(problem.contains(expected), "{problem}");
    }
    assert!(Lists::default().problem().contains("empty"));
    assert!(Lists::stump().node(0).make().is_err(), "no targets");
    assert!(Lists::stump().node(-1).make().is_err(), "no targets");
}

#[test]
fn a_long_loop_and_a_shared_branch_are_no_trees() {
    let mut chain = Lists::default();
    for id in 0..1000 {
        chain.branch(0, id, [id + 1, 1001], ("BRANCH_LEQ", 0, 0.5, false));
    }
    let mut looped = chain.clone();
    looped.branch(0, 1000, [500, 1001], ("BRANCH_LEQ", 0, 0.5, false));
    looped.leaf(0, 1001, &[(0, 1.0)]);
    assert!(looped.problem().contains("two parents"));
    // A leaf may have any number of parents, and a tree any depth.
    chain.leaf(0, 1000, &[(0, 2.0)]);
    chain.leaf(0, 1001, &[(0, 1.0)]);
    let x = tensor(&[2, 1], &[0.0_f32, 1.0]);
    assert_eq!(chain.node(1).run(&[&x]), tensor(&[2, 1], &[2.0_f32, 1.0]));
}

#[test]
fn a_forest_of_more_targets_than_there_is_memory_for_does_not_run() {
    let mut lists = Lists::default();
    lists.leaf(0, 0, &[(0, 1.0)]);
    let forest = lists.node(1 << 44).make().expect("is made");
    let row = tensor(&[1, 1], &[0.0_f32]);
    assert!(matches!(forest(&[Some(&row)]), Err(OpError::Kind(_))));
}
