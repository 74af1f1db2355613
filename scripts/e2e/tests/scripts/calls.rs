//! The recorded calls of the stand-ins, with what differs from run to run masked.

use e2e::repository;

use crate::stage::Stage;

/// The beginning of every call of kubectl in the namespace of the base.
const IN_NAMESPACE: &str = "kubectl --context kind-mlops-lab --namespace mlops-lab ";
/// The calls with which a demonstration finds its way: context, version, namespace, both deployments, the Service.
const CHECKS: usize = 6;

impl Stage {
    /// Every call, in order: the repository is ROOT, a script's own directory TMP.
    pub(crate) fn calls(&self) -> Vec<String> {
        let root = repository().canonicalize().expect("it is there").display().to_string();
        self.read("calls")
            .lines()
            .map(|call| mask(&call.replace(&root, "ROOT")))
            .collect()
    }

    /// Calls of kubectl after the checks, without the options that every call has.
    pub(crate) fn calls_after_checks(&self) -> Vec<String> {
        let calls = self.calls().into_iter().skip(CHECKS);
        calls
            .map(|call| call.strip_prefix(IN_NAMESPACE).unwrap_or(&call).to_owned())
            .collect()
    }

    #[track_caller]
    pub(crate) fn expect_calls(&self, expected: &str) {
        assert_same(&self.calls(), expected);
    }

    #[track_caller]
    pub(crate) fn expect_calls_after_checks(&self, expected: &str) {
        assert_same(&self.calls_after_checks(), expected);
    }

    /// The number of calls that contain the text.
    pub(crate) fn count_calls(&self, text: &str) -> usize {
        self.calls().iter().filter(|call| call.contains(text)).count()
    }

    #[track_caller]
    pub(crate) fn expect_no_call(&self, text: &str) {
        assert_eq!(self.count_calls(text), 0, "{text}: {:#?}", self.calls());
    }

    #[track_caller]
    pub(crate) fn expect_a_call(&self, text: &str) {
        assert_ne!(self.count_calls(text), 0, "{text}: {:#?}", self.calls());
    }
}

#[track_caller]
fn assert_same(calls: &[String], expected: &str) {
    let expected: Vec<&str> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(calls, expected, "{calls:#?}\ninstead of\n{expected:#?}");
}

fn mask(call: &str) -> String {
    let words = call
        .split(' ')
        .filter(|word| !word.starts_with("org.opencontainers.image.revision="));
    let words: Vec<String> = words.map(mask_directory).collect();
    // The label's option goes with its value.
    words.join(" ").replace(" --label", "")
}

/// …/mlops-lab.x/file becomes TMP/file, also after a colon or an equals sign.
fn mask_directory(word: &str) -> String {
    let Some(at) = word.find("/mlops-lab.") else {
        return word.to_owned();
    };
    let before = word[..at].rfind([':', '=']).map_or(0, |separator| separator + 1);
    let after = word[at + 1..].find('/').map_or(word.len(), |slash| at + 1 + slash);
    format!("{}TMP{}", &word[..before], &word[after..])
}
