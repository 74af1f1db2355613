//! Which versions of a model are served.

use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPolicy {
    /// So many of the highest.
    Latest(usize),
    All,
    Specific(BTreeSet<u64>),
}

impl Default for VersionPolicy {
    fn default() -> Self {
        Self::Latest(1)
    }
}

impl VersionPolicy {
    /// Those of `there` that are wanted, the highest first.
    pub fn choose(&self, there: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut there: Vec<u64> = there.into_iter().collect();
        there.sort_unstable_by(|one, other| other.cmp(one));
        match self {
            Self::Latest(count) => there.truncate(*count),
            Self::All => {}
            Self::Specific(wanted) => there.retain(|number| wanted.contains(number)),
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_policy_takes_what_it_says() {
        let choose = |policy: VersionPolicy| policy.choose([3, 1, 20, 2]);
        assert_eq!(choose(VersionPolicy::default()), [20]);
        assert_eq!(choose(VersionPolicy::Latest(3)), [20, 3, 2]);
        assert_eq!(choose(VersionPolicy::All), [20, 3, 2, 1]);
        assert_eq!(choose(VersionPolicy::Specific(BTreeSet::from([2, 3, 7]))), [3, 2]);
    }

    proptest! {
        #[test]
        fn nothing_higher_than_the_latest_is_left_out(there in prop::collection::btree_set(1_u64..100, 0..20), count in 1_usize..5) {
            let chosen = VersionPolicy::Latest(count).choose(there.iter().copied());
            prop_assert_eq!(chosen.len(), count.min(there.len()));
            let left: Vec<u64> = there.iter().copied().filter(|number| !chosen.contains(number)).collect();
            prop_assert!(left.iter().all(|left| chosen.iter().all(|chosen| chosen > left)));
        }
    }
}
