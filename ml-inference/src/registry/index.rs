//! The list of a model's files at the registry: `SHA256SUMS`, as `sha256sum` writes it.
//!
//! ```text
//! 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  1/model.onnx
//! 6f0378f21a495f5c13247317d158e9d51da45a5bf68fc2f366e450deafdc8302  2/model.onnx
//! b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c  config.yaml
//! ```
//!
//! One file gives names and digests for every kind of registry, and needs no permission to list. It comes from elsewhere
//! and its paths become files here, so nothing but a plain name below the model's directory is taken.

use std::collections::{BTreeMap, BTreeSet};

use super::digest::Sha256;

/// The list's own name in the model's directory.
pub(super) const INDEX: &str = "SHA256SUMS";
pub(super) const CONFIG: &str = "config.yaml";
/// The list of its files that is kept in each version that was pulled.
pub(super) const MARKER: &str = "SHA256SUMS";

/// 4,096 lines of the longest path fit.
pub(super) const LARGEST_INDEX: u64 = 4 << 20;
const MOST_FILES: usize = 4096;
const LONGEST_PATH: usize = 512;
const LONGEST_NAME: usize = 255;

/// The registry's files of one model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) config: Option<Sha256>,
    /// The files of each version by their paths in the version's directory.
    pub(super) versions: BTreeMap<u64, Files>,
    /// The directory of each version at the registry: `2`, or `00000002`.
    directories: BTreeMap<u64, String>,
}

pub(super) type Files = BTreeMap<String, Sha256>;

/// Error of an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexFault {
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: String },
    #[error("is not UTF-8 text")]
    NotText,
    #[error("lists more than {MOST_FILES} files")]
    TooMany,
    #[error("lists no version, such as 1/model.onnx")]
    NoVersion,
    #[error("does not end with a line break: it is not whole")]
    CutOff,
}

impl Index {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, IndexFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| IndexFault::NotText)?;
        if text.is_empty() {
            return Err(IndexFault::NoVersion);
        }
        let text = text.strip_suffix('\n').ok_or(IndexFault::CutOff)?;
        if text.split('\n').nth(MOST_FILES).is_some() {
            return Err(IndexFault::TooMany);
        }
        let mut index = Self::default();
        for (number, line) in text.split('\n').enumerate() {
            let added = parse_line(line).and_then(|(digest, path)| index.add(digest, path));
            added.map_err(|problem| IndexFault::Line {
                line: number + 1,
                problem,
            })?;
        }
        if index.versions.is_empty() {
            return Err(IndexFault::NoVersion);
        }
        Ok(index)
    }

    /// Digests of all files.
    pub(super) fn digests(&self) -> BTreeSet<Sha256> {
        let files = self.versions.values().flat_map(BTreeMap::values);
        files.chain(&self.config).copied().collect()
    }

    /// A file's path at the registry.
    pub(super) fn path(&self, version: u64, file: &str) -> String {
        match self.directories.get(&version) {
            Some(directory) => format!("{directory}/{file}"),
            None => format!("{version}/{file}"),
        }
    }

    fn add(&mut self, digest: Sha256, path: &str) -> Result<(), String> {
        if path == CONFIG {
            return match self.config.replace(digest) {
                None => Ok(()),
                Some(_) => Err(format!("{path} is there twice")),
            };
        }
        let (version, file) = path.split_once('/').ok_or_else(|| unexpected(path))?;
        let number = version_number(version).ok_or_else(|| unexpected(path))?;
        if file == MARKER {
            return Err(format!("{path}: the name {MARKER} is taken"));
        }
        let directory = self.directories.entry(number).or_insert_with(|| version.to_owned());
        if directory != version {
            return Err(format!("{path}: {directory} and {version} are both version {number}"));
        }
        let files = self.versions.entry(number).or_default();
        if files.insert(file.to_owned(), digest).is_some() {
            return Err(format!("{path} is there twice"));
        }
        // Each directory above a file must not be a file, nor the file one of the directories.
        let below = format!("{file}/");
        let next = files.range(below.clone()..).next();
        let is_directory = next.is_some_and(|(next, _)| next.starts_with(&below));
        let mut above = file.match_indices('/').map(|(at, _)| &file[..at]);
        if is_directory || above.any(|above| files.contains_key(above)) {
            return Err(format!("{path} is a file and a directory"));
        }
        Ok(())
    }
}

fn unexpected(path: &str) -> String {
    format!("expected {CONFIG} or a version's file such as 1/model.onnx, found {path:?}")
}

/// The digest and the path of one line, in either of the two forms of `sha256sum`.
fn parse_line(line: &str) -> Result<(Sha256, &str), String> {
    const EXPECTED: &str = "expected 64 hexadecimal digits, two spaces and a path, as sha256sum writes them";
    let (digest, rest) = line.split_at_checked(Sha256::HEX_LEN).ok_or(EXPECTED)?;
    let digest = Sha256::parse(digest).ok_or(EXPECTED)?;
    let path = rest
        .strip_prefix("  ")
        .or_else(|| rest.strip_prefix(" *"))
        .ok_or(EXPECTED)?;
    check_path(path)?;
    Ok((digest, path))
}

/// Names that mean the same in a URL, an S3 key and a file system, and stay below the directory.
fn check_path(path: &str) -> Result<(), String> {
    let problem = |problem: &str| Err(format!("{path:?}: {problem}"));
    if path.len() > LONGEST_PATH {
        return Err(format!("a path of more than {LONGEST_PATH} bytes"));
    }
    if path.starts_with('/') {
        return problem("an absolute path is not taken");
    }
    for name in path.split('/') {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '=' | '@');
        match name {
            "" => return problem("has an empty part"),
            "." | ".." => return problem("has a part \".\" or \"..\""),
            name if name.starts_with('.') => return problem("has a part that begins with a dot"),
            name if name.len() > LONGEST_NAME => return problem("has a part of more than 255 bytes"),
            name if !name.chars().all(allowed) => {
                return problem("is made of more than letters, digits, '/' and any of -_.+=@");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The version that a directory of this name has: a whole number from 1. TensorFlow Serving's exporters write leading zeros.
pub(crate) fn version_number(name: &str) -> Option<u64> {
    let plain = name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|number| plain && *number > 0)
}

/// The files of one version, in the form of the index: what is kept beside them, and can be given to `sha256sum --check`.
pub(super) fn write_files(files: &Files) -> String {
    files
        .iter()
        .map(|(path, digest)| format!("{digest}  {path}\n"))
        .collect()
}

/// Reads the text of [`write_files`].
pub(super) fn read_files(text: &str) -> Option<Files> {
    text.lines()
        .map(|line| parse_line(line).ok().map(|(digest, path)| (path.to_owned(), digest)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

    fn lines(paths: &[&str]) -> String {
        paths.iter().map(|path| format!("{DIGEST}  {path}\n")).collect()
    }

    fn fault(text: &str) -> String {
        Index::parse(text.as_bytes()).expect_err("is refused").to_string()
    }

    #[test]
    fn both_forms_of_sha256sum_are_read() {
        let text = format!(
            "{DIGEST}  1/model.onnx\n{DIGEST} *20/model.onnx\n{DIGEST}  20/data/w.bin\n{DIGEST}  config.yaml\n"
        );
        let index = Index::parse(text.as_bytes()).expect("is one");
        assert_eq!(index.path(20, "model.onnx"), "20/model.onnx");
        let digest = Sha256::parse(DIGEST).expect("64 digits");
        assert_eq!(index.config, Some(digest));
        assert_eq!(index.versions.keys().copied().collect::<Vec<u64>>(), [1, 20]);
        assert_eq!(
            index.versions[&20].keys().collect::<Vec<_>>(),
            ["data/w.bin", "model.onnx"]
        );
    }

    #[test]
    fn what_could_leave_the_directory_or_mean_two_things_is_refused_with_its_line() {
        for (path, problem) in [
            ("../iris/1/model.onnx", "\"..\""),
            ("1/../../etc/passwd", "\"..\""),
            ("1/./model.onnx", "\".\""),
            ("/etc/passwd", "absolute"),
            ("1//model.onnx", "empty part"),
            ("1/", "empty part"),
            ("", "empty part"),
            (".registry/x", "begins with a dot"),
            ("1/.model.onnx", "begins with a dot"),
            ("1/a\\b", "more than letters"),
            ("1/a%2e", "more than letters"),
            ("1/a b", "more than letters"),
            ("1/\u{e9}", "more than letters"),
            ("1/model.onnx\r", "more than letters"),
            ("1", "expected config.yaml or a version's file"),
            ("README", "expected config.yaml or a version's file"),
            ("SHA256SUMS", "expected config.yaml or a version's file"),
            ("0/model.onnx", "expected config.yaml or a version's file"),
            ("00/model.onnx", "expected config.yaml or a version's file"),
            ("03/weights.bin", "3 and 03 are both version 3"),
            ("+1/model.onnx", "expected config.yaml or a version's file"),
            (
                "18446744073709551616/model.onnx",
                "expected config.yaml or a version's file",
            ),
            ("1/SHA256SUMS", "is taken"),
        ] {
            let fault = fault(&lines(&["3/model.onnx", path]));
            assert!(fault.starts_with("line 2: "), "{path:?}: {fault}");
            assert!(fault.contains(problem), "{path:?}: {fault}");
        }
        assert!(fault(&lines(&[&format!("1/{}", "a".repeat(256))])).contains("more than 255 bytes"));
        assert!(fault(&lines(&[&format!("1{}", "/a".repeat(256))])).contains("more than 512 bytes"));
    }

    #[test]
    fn a_version_with_leading_zeros_keeps_its_path_at_the_registry() {
        let index = Index::parse(lines(&["00000123/model.onnx", "00000123/w.bin"]).as_bytes()).expect("is one");
        assert_eq!(index.versions.keys().copied().collect::<Vec<u64>>(), [123]);
        assert_eq!(index.path(123, "w.bin"), "00000123/w.bin");
    }

    #[test]
    fn what_is_there_twice_is_refused() {
        assert_eq!(fault(&lines(&["1/m", "1/m"])), "line 2: 1/m is there twice");
        assert_eq!(fault(&lines(&[CONFIG, CONFIG])), "line 2: config.yaml is there twice");
        assert_eq!(
            fault(&lines(&["1/m", "1/m/w"])),
            "line 2: 1/m/w is a file and a directory"
        );
        assert_eq!(
            fault(&lines(&["1/m/v/w", "1/m"])),
            "line 2: 1/m is a file and a directory"
        );
    }

    #[test]
    fn what_is_no_index_is_refused() {
        assert_eq!(fault(""), IndexFault::NoVersion.to_string());
        assert_eq!(fault(&lines(&[CONFIG])), IndexFault::NoVersion.to_string());
        assert_eq!(fault(&format!("{DIGEST}  1/mod")), IndexFault::CutOff.to_string());
        assert_eq!(Index::parse(b"\xff\n"), Err(IndexFault::NotText));
        for line in [
            "<html>",
            "",
            DIGEST,
            &format!("{DIGEST} 1/m"),
            &format!("{}  1/m", &DIGEST[1..]),
        ] {
            assert!(
                fault(&format!("{line}\n")).starts_with("line 1: expected 64 hexadecimal digits"),
                "{line:?}"
            );
        }
        let many: String = (1..=4097).map(|number| format!("{DIGEST}  {number}/m\n")).collect();
        assert_eq!(fault(&many), IndexFault::TooMany.to_string());
    }

    proptest! {
        #[test]
        fn nothing_in_an_index_makes_a_path_outside(text in "[0-9a-zA-Z./\\\\ *\u{0}-\u{7f}é]{0,80}") {
            let line = format!("{DIGEST}  {text}\n");
            if let Ok(index) = Index::parse(line.as_bytes()) {
                for path in index.versions.values().flat_map(Files::keys) {
                    let parts = std::path::Path::new(path).components();
                    prop_assert!(parts.into_iter().all(|part| matches!(part, std::path::Component::Normal(_))));
                }
            }
        }

        #[test]
        fn what_is_kept_beside_a_version_is_read_back(names in prop::collection::btree_map("[a-z]{1,5}", "[0-9a-f]{64}", 1..5)) {
            let digest = |text: &String| Sha256::parse(text).expect("64 digits");
            let files: Files = names.iter().map(|(name, text)| (name.clone(), digest(text))).collect();
            prop_assert_eq!(read_files(&write_files(&files)), Some(files));
        }
    }
}
