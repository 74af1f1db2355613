//! `config.yaml` of a model: which versions serve, what they are called, and how a new one shows that it works.
//!
//! ```yaml
//! version_policy: latest            # latest (so many of the highest), all, or specific
//! latest: 1
//! labels: {stable: 3, canary: 4}
//! runtime: auto                     # onnx_ml, onnxruntime or rten
//! warm_up:                          # bodies of predict requests
//!   - '{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
//! golden:                           # an answer that is known; a version that gives another is refused
//!   - version: 4                    # of this version only; without it of all
//!     request: '{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
//!     response: '{"predictions": [0]}'
//!     tolerance: 0.00001
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use model_runtime::{OnnxRuntimeError, RuntimeChoice, onnxruntime};
use serde_json::Value;
use shared::config::scalar::NAME;
use shared::config::{Key, Map, Node, Scalar, Shape, YamlFile, units};

use crate::catalog::VersionPolicy;

const MOST_VERSIONS: u64 = 1024;
const MOST_BYTES: u64 = 1024 * 1024;
const LONGEST_LABEL: usize = 63;

const VERSION_NUMBER: Scalar = Scalar::Whole(1, i64::MAX as u64);
const LATEST_NAME: &str = "latest";
const ALL_NAME: &str = "all";
const SPECIFIC_NAME: &str = "specific";

const CONFIG: Map = Map::of(&[VERSION_POLICY, LATEST, SPECIFIC, LABELS, RUNTIME, WARM_UP, GOLDEN]);
const VERSION_POLICY: Key = Key::scalar(
    "version_policy",
    Scalar::OneOf(&[LATEST_NAME, ALL_NAME, SPECIFIC_NAME]),
    "Which versions are served",
)
.default(LATEST_NAME);
const LATEST: Key = Key::scalar(
    "latest",
    Scalar::Whole(1, MOST_VERSIONS),
    "How many of the highest versions are served",
)
.default("1");
const SPECIFIC: Key = Key::new(
    "specific",
    Shape::List(&Shape::Scalar(VERSION_NUMBER), 1),
    "The versions that are served",
);
const LABELS: Key = Key::new("labels", Shape::MapOf(NAME, VERSION_NUMBER), "Names for versions");
const RUNTIME: Key = Key::scalar(
    "runtime",
    Scalar::OneOf(RuntimeChoice::NAMES),
    "What runs the model; auto goes by its operators",
)
.default("auto");
const BODY: Scalar = Scalar::quoted_text("the body of a predict request, as JSON", "");
const WARM_UP: Key = Key::new(
    "warm_up",
    Shape::List(&Shape::Scalar(BODY), 0),
    "Requests that a version answers before it serves",
);
const GOLDEN: Key = Key::new(
    "golden",
    Shape::List(&Shape::Map(&GOLDEN_MAP), 0),
    "Requests whose answers are known",
);
const GOLDEN_MAP: Map = Map::of(&[VERSION, REQUEST, RESPONSE, TOLERANCE]);
const VERSION: Key = Key::scalar(
    "version",
    VERSION_NUMBER,
    "The version that answers so; without the key every one",
);
const REQUEST: Key = Key::scalar("request", BODY, "What is asked").required();
const RESPONSE: Key = Key::scalar(
    "response",
    Scalar::quoted_text("the answer's body, or a part of its members, as JSON", ""),
    "What is answered",
)
.required();
const TOLERANCE: Key = Key::scalar(
    "tolerance",
    Scalar::quoted_text("a number from 0 to 1", r"^[0-9.eE+-]+$"),
    "How far a number may be off, relative to it",
)
.default("0.00001");

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelConfig {
    pub policy: VersionPolicy,
    pub labels: BTreeMap<String, u64>,
    pub runtime: RuntimeChoice,
    pub warm_up: Vec<String>,
    pub golden: Vec<Golden>,
}

/// A request with the answer that a version must give.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// Without it: of every version.
    pub version: Option<u64>,
    pub request: String,
    pub response: Value,
    pub tolerance: f64,
}

impl Golden {
    pub(super) fn is_for(&self, version: u64) -> bool {
        self.version.is_none_or(|only| only == version)
    }
}

impl ModelConfig {
    /// Every key that the file may have.
    pub const KEYS: &'static Map = &CONFIG;

    /// Reads and checks the file. What is wrong with it comes in one line.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let metadata = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if !metadata.is_file() {
            // A pipe would hold up the loads of all models until someone writes to it.
            return Err(format!("{}: is not a regular file", path.display()));
        }
        if metadata.len() > MOST_BYTES {
            return Err(format!("{}: more than {MOST_BYTES} bytes", path.display()));
        }
        let content = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(content, path)
    }

    pub fn parse(content: impl AsRef<[u8]>, path: &Path) -> Result<Self, String> {
        let file = YamlFile::read(content, path);
        file.take(|root| {
            root.expect(&CONFIG);
            Self {
                policy: policy(root),
                labels: root.entries(&LABELS, is_label, number).into_iter().collect(),
                runtime: runtime(root),
                warm_up: root.values(&WARM_UP, text_of),
                golden: root.list(&GOLDEN).iter().filter_map(golden).collect(),
            }
        })
        .map_err(|faults| faults.in_one_line())
    }
}

fn policy(root: &Node<'_>) -> VersionPolicy {
    let name = root.get(&VERSION_POLICY, |text| Some(text.to_owned()));
    for (key, policy) in [(&LATEST, LATEST_NAME), (&SPECIFIC, SPECIFIC_NAME)] {
        let field = root.field(key);
        if field.exists() && name != policy {
            field.misplaced(format!("has a meaning only beside version_policy: {policy}"));
        }
    }
    let specific: BTreeSet<u64> = root.values(&SPECIFIC, number).into_iter().collect();
    match name.as_str() {
        ALL_NAME => VersionPolicy::All,
        SPECIFIC_NAME => {
            if !root.field(&SPECIFIC).exists() {
                root.field(&VERSION_POLICY).fault("needs the versions in `specific`");
            }
            VersionPolicy::Specific(specific)
        }
        _ => VersionPolicy::Latest(root.get(&LATEST, |text| text.parse().ok())),
    }
}

fn runtime(root: &Node<'_>) -> RuntimeChoice {
    let choice = root.get(&RUNTIME, RuntimeChoice::parse);
    if choice == RuntimeChoice::OnnxRuntime && !onnxruntime::IS_BUILT_IN {
        root.field(&RUNTIME).fault(OnnxRuntimeError::NotBuilt.to_string());
    }
    choice
}

fn golden(node: &Node<'_>) -> Option<Golden> {
    if !node.expect(&GOLDEN_MAP) {
        return None;
    }
    let version = node.find(&VERSION, number);
    let tolerance = node.get(&TOLERANCE, |text| {
        text.parse().ok().filter(|tolerance| (0.0..=1.0).contains(tolerance))
    });
    let request = node.find(&REQUEST, text_of);
    let response = node.find(&RESPONSE, |text| serde_json::from_str(text).ok());
    Some(Golden {
        version,
        request: request?,
        response: response?,
        tolerance,
    })
}

fn is_label(text: &str) -> bool {
    units::name(text, LONGEST_LABEL).is_some()
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn text_of(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<ModelConfig, String> {
        ModelConfig::parse(text, Path::new("iris/config.yaml"))
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse(""), Ok(ModelConfig::default()));
        assert_eq!(parse("# nothing yet\n"), Ok(ModelConfig::default()));
        assert_eq!(ModelConfig::default().policy, VersionPolicy::Latest(1));
    }

    #[test]
    fn every_key_is_taken_up() {
        let config = parse(
            r#"
version_policy: latest
latest: 2
labels: {stable: 3, canary: 4}
runtime: rten
warm_up:
  - '{"instances": [1]}'
golden:
  - version: 4
    request: '{"instances": [2]}'
    response: '{"predictions": [3.0]}'
    tolerance: 0.01
  - request: '{"instances": [5]}'
    response: '{"predictions": [4.5]}'
"#,
        )
        .expect("is right");
        assert_eq!(config.policy, VersionPolicy::Latest(2));
        assert_eq!(config.labels["canary"], 4);
        assert_eq!(config.runtime, RuntimeChoice::Rten);
        assert_eq!(config.warm_up, [r#"{"instances": [1]}"#]);
        assert_eq!(config.golden.len(), 2);
        assert_eq!(config.golden[0].response, json!({ "predictions": [3.0] }));
        assert!(config.golden[0].is_for(4) && !config.golden[0].is_for(3));
        assert!(config.golden[1].is_for(3));
        assert_eq!(
            (config.golden[0].tolerance, config.golden[1].tolerance),
            (0.01, 0.00001)
        );
        let all = parse("version_policy: all").expect("is right");
        assert_eq!(all.policy, VersionPolicy::All);
        let specific = parse("version_policy: specific\nspecific: [1, 7]").expect("is right");
        assert_eq!(specific.policy, VersionPolicy::Specific(BTreeSet::from([1, 7])));
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        for (text, place, problem) in [
            ("version_policy: newest", "1:17", "expected latest, all or specific"),
            ("version_policy: specific", "1:17", "needs the versions in `specific`"),
            ("latest: 0", "1:9", "expected a whole number from 1 to 1024"),
            (
                "specific: [1]",
                "1:1",
                "has a meaning only beside version_policy: specific",
            ),
            (
                "version_policy: specific\nspecific: [1, x]",
                "2:15",
                "expected a whole number",
            ),
            ("labels: {stable: 0}", "1:18", "expected a whole number"),
            ("labels: {a b: 1}", "1:10", "expected a name"),
            ("labels: [1]", "1:1", "expected a map"),
            ("golden: [{request: '{}'}]", "1:1", "response: is missing"),
            (
                "golden: [{request: '{}', response: 'yes!'}]",
                "1:36",
                "expected the answer's body",
            ),
            (
                "golden: [{request: '{}', response: '{}', tolerance: 2}]",
                "1:53",
                "expected a number from 0 to 1",
            ),
            ("runtime: tvm", "1:10", "expected auto, onnx_ml, onnxruntime or rten"),
            ("lables: {}", "1:1", "unknown key"),
            ("labels: {", "2:1", "is not valid YAML"),
        ] {
            let found = parse(text).expect_err(text);
            assert!(
                found.starts_with(&format!("iris/config.yaml:{place}")),
                "{text}: {found}"
            );
            assert!(found.contains(problem), "{text}: {found}");
        }
    }

    #[test]
    fn onnxruntime_can_be_asked_for_where_it_is_built_in() {
        let asked = parse("runtime: onnxruntime");
        if onnxruntime::IS_BUILT_IN {
            assert_eq!(asked.expect("is right").runtime, RuntimeChoice::OnnxRuntime);
        } else {
            let problem = asked.expect_err("nothing can run it");
            assert!(problem.starts_with("iris/config.yaml:1:10: runtime: "), "{problem}");
            assert!(problem.contains("built without onnxruntime"), "{problem}");
            assert!(problem.contains("cargo feature `onnxruntime`"), "{problem}");
        }
    }
}
