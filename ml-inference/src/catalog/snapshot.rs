//! The catalog snapshot that requests look models up in. It is published whole and never changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::version_policy::VersionPolicy;
use crate::engine::LoadedModel;

/// Where a version stands, in TensorFlow Serving's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionState {
    /// Known, and not begun with.
    Start,
    Loading,
    /// It answers requests.
    Available,
    /// Requests that have it still finish.
    Unloading,
    /// It is gone, or could not be loaded.
    End,
}

impl VersionState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Loading => "LOADING",
            Self::Available => "AVAILABLE",
            Self::Unloading => "UNLOADING",
            Self::End => "END",
        }
    }
}

/// One version of a model.
#[derive(Debug, Clone)]
pub struct Version {
    pub number: u64,
    pub state: VersionState,
    /// Why it is not available, or a later content of its file is not.
    pub problem: Option<String>,
    /// There while it is available.
    pub loaded: Option<Arc<LoadedModel>>,
}

impl Version {
    pub fn available(loaded: Arc<LoadedModel>) -> Self {
        Self {
            number: loaded.model.version.number(),
            state: VersionState::Available,
            problem: None,
            loaded: Some(loaded),
        }
    }
}

/// All versions of one model, in ascending order.
#[derive(Debug, Clone, Default)]
pub struct Servable {
    pub versions: Vec<Version>,
    /// Names for versions, such as `stable` and `canary`.
    pub labels: BTreeMap<String, u64>,
    /// Which versions are wanted.
    pub policy: VersionPolicy,
    /// True after an unload request, until a load request.
    pub unloaded: bool,
    /// Why the model's directory could not be read at the last scan.
    pub problem: Option<String>,
}

impl Servable {
    fn why_none_is_available(&self) -> Option<&String> {
        let newest = self.versions.last().and_then(|newest| newest.problem.as_ref());
        newest.or(self.problem.as_ref())
    }
}

/// Which version a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// The highest that is available.
    Latest,
    Number(u64),
    Label(&'a str),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    #[error("there is no model `{model}`")]
    NoModel { model: String },
    #[error("no version of model `{model}` is available{}", because(problem.as_deref()))]
    NoneAvailable {
        model: String,
        /// Why the newest is not.
        problem: Option<String>,
    },
    #[error("model `{model}` has no version {version}")]
    NoVersion { model: String, version: u64 },
    #[error("version {version} of model `{model}` is not available: it is {}{}", .state.name(), because(problem.as_deref()))]
    NotAvailable {
        model: String,
        version: u64,
        state: VersionState,
        /// Why it could not be loaded.
        problem: Option<String>,
    },
    #[error("model `{model}` has no version with the label `{label}`")]
    NoLabel { model: String, label: String },
}

/// `: PROBLEM`, the end of a message.
fn because(problem: Option<&str>) -> String {
    problem.map(|problem| format!(": {problem}")).unwrap_or_default()
}

#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub models: BTreeMap<String, Servable>,
    /// True until the first scan of MODELS_DIR has ended: a model that is not here may be one that is not found yet.
    pub is_scanning: bool,
}

impl Catalog {
    /// The versions of one model.
    pub fn model(&self, name: &str) -> Result<&Servable, FindError> {
        self.models
            .get(name)
            .ok_or_else(|| FindError::NoModel { model: name.to_owned() })
    }

    /// The version that is chosen, when it is available.
    pub fn find(&self, name: &str, choice: Choice<'_>) -> Result<&Arc<LoadedModel>, FindError> {
        let servable = self.model(name)?;
        let model = || name.to_owned();
        let number = match choice {
            Choice::Latest => {
                let available = servable
                    .versions
                    .iter()
                    .rev()
                    .find_map(|version| version.loaded.as_ref());
                return available.ok_or_else(|| FindError::NoneAvailable {
                    model: model(),
                    problem: servable.why_none_is_available().cloned(),
                });
            }
            Choice::Number(number) => number,
            Choice::Label(label) => *servable.labels.get(label).ok_or_else(|| FindError::NoLabel {
                model: model(),
                label: label.to_owned(),
            })?,
        };
        let version = servable.versions.iter().find(|version| version.number == number);
        let version = version.ok_or_else(|| FindError::NoVersion {
            model: model(),
            version: number,
        })?;
        version.loaded.as_ref().ok_or_else(|| FindError::NotAvailable {
            model: model(),
            version: number,
            state: version.state,
            problem: version.problem.clone(),
        })
    }

    /// Every version that is available.
    pub fn loaded(&self) -> impl Iterator<Item = &Arc<LoadedModel>> {
        let versions = self.models.values().flat_map(|model| &model.versions);
        versions.filter_map(|version| version.loaded.as_ref())
    }

    /// Adds a version that is available, or takes the place of the same version before.
    pub fn insert(&mut self, loaded: Arc<LoadedModel>) {
        let servable = self.models.entry(loaded.model.name.clone()).or_default();
        let version = Version::available(loaded);
        match servable
            .versions
            .binary_search_by_key(&version.number, |known| known.number)
        {
            Ok(place) => servable.versions[place] = version,
            Err(place) => servable.versions.insert(place, version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::model::{BuiltIn, Model, ModelVersion};

    fn loaded(version: &str) -> Arc<LoadedModel> {
        let metrics = Metrics::new().expect("registers");
        let version = ModelVersion::parse(version).expect("a version");
        Arc::new(LoadedModel::new(Model::built_in(BuiltIn::Sum, version), &metrics))
    }

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for version in ["3.0", "1.0", "2.0"] {
            catalog.insert(loaded(version));
        }
        let sum = catalog.models.get_mut("sum").expect("inserted");
        sum.labels.insert("stable".to_owned(), 1);
        sum.labels.insert("old".to_owned(), 9);
        sum.versions.push(Version {
            number: 4,
            state: VersionState::Loading,
            problem: None,
            loaded: None,
        });
        catalog
    }

    fn number(choice: Choice<'_>) -> Result<u64, FindError> {
        catalog()
            .find("sum", choice)
            .map(|loaded| loaded.model.version.number())
    }

    #[test]
    fn the_latest_is_the_highest_that_is_available() {
        assert_eq!(number(Choice::Latest), Ok(3));
        assert_eq!(number(Choice::Number(2)), Ok(2));
        assert_eq!(number(Choice::Label("stable")), Ok(1));
    }

    #[test]
    fn what_cannot_be_found_is_named() {
        let problem = |choice| number(choice).expect_err("not there").to_string();
        assert_eq!(
            problem(Choice::Number(4)),
            "version 4 of model `sum` is not available: it is LOADING"
        );
        assert_eq!(problem(Choice::Number(5)), "model `sum` has no version 5");
        assert_eq!(problem(Choice::Label("old")), "model `sum` has no version 9");
        assert_eq!(
            problem(Choice::Label("canary")),
            "model `sum` has no version with the label `canary`"
        );
        let nothing = Catalog::default().find("sum", Choice::Latest).map(|_loaded| ());
        assert_eq!(nothing.expect_err("empty").to_string(), "there is no model `sum`");
    }

    #[test]
    fn a_version_takes_the_place_of_the_same_one_before() {
        let mut catalog = catalog();
        catalog.insert(loaded("2.1"));
        let numbers: Vec<u64> = catalog.models["sum"]
            .versions
            .iter()
            .map(|version| version.number)
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        let second = catalog.find("sum", Choice::Number(2)).expect("there");
        assert_eq!(second.model.version.as_str(), "2.1");
    }
}
