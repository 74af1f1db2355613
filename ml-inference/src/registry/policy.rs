//! The pull policy, decided elsewhere: which versions are pulled, and which may be removed.

use std::collections::BTreeSet;

pub trait Policy: Send + Sync {
    /// Selects which of the versions `offered`, in rising order, are to be in the directory, the most wanted first. `config` is the
    /// text of the `config.yaml` that goes with them. The error says why that text cannot stand; nothing is pulled then.
    fn wanted(&self, offered: &[u64], config: Option<&str>) -> Result<Vec<u64>, String>;

    /// True if a pulled version that is not wanted may be removed now; called right before the removal.
    fn may_remove(&self, version: u64) -> bool;

    /// Notification that the directory has changed, or that versions were `withdrawn`: they were pulled, and the registry no longer
    /// has them. `None` if the pull was not complete. Returns true if the notification was accepted.
    fn pulled(&self, withdrawn: Option<&BTreeSet<u64>>) -> bool;
}

/// Versions that were `pulled` and need not stay for the registry's sake: those that it has no more, and of those that
/// are not `wanted` all but the `keep` highest.
pub(super) fn superfluous(pulled: &[u64], listed: &BTreeSet<u64>, wanted: &[u64], keep: usize) -> BTreeSet<u64> {
    let is_kept = |number: &&u64| listed.contains(number) && !wanted.contains(number);
    let mut unwanted: Vec<u64> = pulled.iter().filter(is_kept).copied().collect();
    unwanted.sort_unstable_by(|one, other| other.cmp(one));
    let withdrawn = pulled.iter().filter(|number| !listed.contains(number)).copied();
    unwanted.into_iter().skip(keep).chain(withdrawn).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn versions() -> impl Strategy<Value = BTreeSet<u64>> {
        prop::collection::btree_set(1_u64..12, 0..10)
    }

    proptest! {
        #[test]
        fn what_is_wanted_and_the_latest_of_the_rest_stay(
            pulled in versions(),
            listed in versions(),
            wanted in versions(),
            keep in 0_usize..4,
        ) {
            let pulled: Vec<u64> = pulled.into_iter().collect();
            let wanted: Vec<u64> = wanted.intersection(&listed).copied().collect();
            let removed = superfluous(&pulled, &listed, &wanted, keep);
            prop_assert!(removed.iter().all(|number| pulled.contains(number) && !wanted.contains(number)));
            let stays: Vec<u64> = pulled.iter().copied().filter(|number| !removed.contains(number)).collect();
            prop_assert!(stays.iter().all(|number| listed.contains(number)));
            let spare: Vec<u64> = stays.into_iter().filter(|number| !wanted.contains(number)).collect();
            prop_assert!(spare.len() <= keep);
            let removed_though_listed: Vec<u64> = removed.into_iter().filter(|number| listed.contains(number)).collect();
            prop_assert!(removed_though_listed.is_empty() || spare.len() == keep);
            prop_assert!(spare.iter().all(|spare| removed_though_listed.iter().all(|removed| removed < spare)));
        }
    }
}
