//! The repository's pull policy: which versions of the registry are pulled, and which may be removed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::commands::Commands;
use super::model_config::ModelConfig;
use super::scan::CONFIG_FILE;
use crate::catalog::{Published, Servable, VersionState};
use crate::registry::Policy;

/// The served model, whose catalog entry and configuration decide.
pub struct Served {
    pub model: String,
    pub catalog: Arc<Published>,
    pub commands: Commands,
}

impl Policy for Served {
    /// The versions that the version policy of the model's `config.yaml` selects.
    fn wanted(&self, offered: &[u64], config: Option<&str>) -> Result<Vec<u64>, String> {
        let config = config
            .map(|text| ModelConfig::parse(text, Path::new(CONFIG_FILE)))
            .transpose()?;
        Ok(config.unwrap_or_default().policy.choose(offered.iter().copied()))
    }

    fn may_remove(&self, version: u64) -> bool {
        let catalog = self.catalog.load();
        catalog
            .model(&self.model)
            .is_ok_and(|servable| is_needless(servable, version))
    }

    fn pulled(&self, withdrawn: Option<&BTreeSet<u64>>) -> bool {
        self.commands.pulled(&self.model, withdrawn.cloned())
    }
}

/// True if a version is not in use while another serves. The last working version is therefore kept.
fn is_needless(servable: &Servable, version: u64) -> bool {
    let in_use = |state: VersionState| {
        matches!(
            state,
            VersionState::Loading | VersionState::Available | VersionState::Unloading
        )
    };
    let mut serves_another = false;
    for known in &servable.versions {
        if known.number == version && in_use(known.state) {
            return false;
        }
        serves_another |= known.number != version && known.loaded.is_some();
    }
    serves_another
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Version;
    use crate::engine::LoadedModel;
    use crate::metrics::Metrics;
    use crate::model::{BuiltIn, Model, ModelVersion};

    proptest! {
        #[test]
        fn what_serves_or_may_soon_is_never_needless_and_one_always_serves(states in prop::collection::vec(0_usize..5, 0..6)) {
            let metrics = Metrics::new().expect("registers");
            let loaded = || Arc::new(LoadedModel::new(Model::built_in(BuiltIn::Sum, ModelVersion::of_repository(1)), &metrics));
            let all = [VersionState::Start, VersionState::Loading, VersionState::Available, VersionState::Unloading, VersionState::End];
            let versions = states.iter().zip(1_u64..).map(|(state, number)| Version {
                number,
                state: all[*state],
                problem: None,
                loaded: (all[*state] == VersionState::Available).then(loaded),
            });
            let servable = Servable { versions: versions.collect(), ..Servable::default() };
            let stays = servable.versions.iter().filter(|version| !is_needless(&servable, version.number));
            let stays: Vec<&Version> = stays.collect();
            let serves = |version: &&Version| version.state == VersionState::Available;
            prop_assert_eq!(stays.iter().filter(|version| serves(version)).count(), servable.versions.iter().filter(serves).count());
            if !servable.versions.iter().any(|version| serves(&version)) {
                prop_assert_eq!(stays.len(), servable.versions.len());
            }
            for version in &servable.versions {
                if matches!(version.state, VersionState::Loading | VersionState::Unloading) {
                    prop_assert!(!is_needless(&servable, version.number));
                }
            }
        }
    }
}
