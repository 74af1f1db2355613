//! A scan of the models' directory.
//!
//! ```text
//! MODELS_DIR/iris/1/model.onnx      version 1 of iris
//! MODELS_DIR/iris/2/model.onnx
//! MODELS_DIR/iris/config.yaml       optional: see model_config.rs
//! MODELS_DIR/wine.onnx              version 1 of wine, for who has just one file
//! ```
//!
//! Names that begin with a dot are passed over: volumes and tools keep their own things there.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) const MODEL_FILE: &str = "model.onnx";
pub(super) const CONFIG_FILE: &str = "config.yaml";
const MODEL_EXTENSION: &str = "onnx";

/// A model's name is a metric label, a path segment and a directory.
const LONGEST_NAME: usize = 128;
const MOST_MODELS: usize = 256;
const MOST_VERSIONS: usize = 1024;

/// A file's identity without reading it: size, time of the last change, device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    bytes: u64,
    changed: (i64, i64),
    file: (u64, u64),
}

impl FileStamp {
    /// One that no other number gives.
    #[cfg(test)]
    pub(super) fn numbered(number: u64) -> Self {
        Self {
            bytes: number,
            changed: (0, 0),
            file: (0, 0),
        }
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.size(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
            file: (metadata.dev(), metadata.ino()),
        }
    }
}

/// A file and its stamp at one scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScannedFile {
    pub path: PathBuf,
    pub stamp: FileStamp,
}

/// One model's directory, or its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ModelDir {
    pub config: Option<ScannedFile>,
    pub versions: BTreeMap<u64, ScannedFile>,
    /// Entries that are not versions, with the reason.
    pub warnings: Vec<String>,
}

/// The models of one scan by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub models: BTreeMap<String, ModelDir>,
    /// Models that could not be read, with the reason. Their loaded versions stay.
    pub unreadable: BTreeMap<String, String>,
    /// Entries that are not models, with the reason.
    pub warnings: Vec<String>,
}

/// Scans the whole directory. An error means that it could not be listed, and says nothing about its content.
pub(super) fn scan(root: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for (name, path) in entries(root)? {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // Gone between the two looks, or a link to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                let problem = format!("{}: {error}", path.display());
                scan.unreadable.insert(model_name(&path).to_owned(), problem);
                continue;
            }
        };
        if metadata.is_dir() {
            if let Err(problem) = check_name(&name) {
                scan.warnings.push(format!("{}: {problem}", path.display()));
                continue;
            }
            match scan_model(&path) {
                Ok(found) => {
                    scan.models.insert(name, found);
                }
                Err(error) => {
                    scan.unreadable.insert(name, error.to_string());
                }
            }
        } else if is_model_file(&path) {
            let name = model_name(&path);
            if let Err(problem) = check_name(name) {
                scan.warnings.push(format!("{}: {problem}", path.display()));
                continue;
            }
            let stamp = FileStamp::of(&metadata);
            let name = name.to_owned();
            let found = ModelDir {
                versions: BTreeMap::from([(1, ScannedFile { path, stamp })]),
                ..ModelDir::default()
            };
            // A directory of this name was, or will be, seen too: the directory wins, as it can say more.
            if !scan.unreadable.contains_key(&name) {
                scan.models.entry(name).or_insert(found);
            }
        }
    }
    while scan.models.len() > MOST_MODELS
        && let Some((name, _)) = scan.models.pop_last()
    {
        let problem = format!("{name}: there are more than {MOST_MODELS} models");
        scan.unreadable.insert(name, problem);
    }
    Ok(scan)
}

fn is_model_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == MODEL_EXTENSION)
}

/// The name of the model that this would be.
fn model_name(path: &Path) -> &str {
    let name = if is_model_file(path) {
        path.file_stem()
    } else {
        path.file_name()
    };
    name.and_then(|name| name.to_str()).unwrap_or_default()
}

fn scan_model(directory: &Path) -> io::Result<ModelDir> {
    let mut found = ModelDir::default();
    for (name, path) in entries(directory)? {
        if name == CONFIG_FILE {
            found.config = see(&path)?;
            continue;
        }
        let Some(number) = version_number(&name) else {
            let problem = format!("{}: neither {CONFIG_FILE} nor a version such as 1", path.display());
            found.warnings.push(problem);
            continue;
        };
        match see(&path.join(MODEL_FILE))? {
            Some(seen) => {
                found.versions.insert(number, seen);
            }
            None => found
                .warnings
                .push(format!("{}: there is no {MODEL_FILE}", path.display())),
        }
    }
    while found.versions.len() > MOST_VERSIONS
        && let Some((number, _)) = found.versions.pop_first()
    {
        let path = directory.join(number.to_string());
        let problem = format!("{}: there are {MOST_VERSIONS} newer versions", path.display());
        found.warnings.push(problem);
    }
    Ok(found)
}

/// The visible entries, in the order of their names.
fn entries(directory: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let in_directory = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(in_directory)? {
        let entry = entry.map_err(in_directory)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.insert(name, entry.path());
        }
    }
    Ok(entries)
}

fn see(path: &Path) -> io::Result<Option<ScannedFile>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(ScannedFile {
            path: path.to_owned(),
            stamp: FileStamp::of(&metadata),
        })),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

/// Checks a model's name, which is a directory's too.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match name {
        "" => Err("a model needs a name".to_owned()),
        name if name.len() > LONGEST_NAME => Err(format!("a model's name has at most {LONGEST_NAME} characters")),
        name if name.starts_with('.') => Err("a model's name does not begin with a dot".to_owned()),
        name if name.chars().all(allowed) => Ok(()),
        _ => Err("a model's name is made of letters, digits, '-', '_' and '.'".to_owned()),
    }
}

/// A whole number from 1, written in one way only.
pub(super) fn version_number(name: &str) -> Option<u64> {
    let plain = name.bytes().all(|byte| byte.is_ascii_digit()) && !name.starts_with('0');
    name.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use shared::test_util::Scratch;

    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("makes directories");
        fs::write(path, text).expect("writes");
    }

    #[test]
    fn versions_are_found_by_their_numbers_and_the_rest_is_told() {
        let scratch = Scratch::new("layout");
        let root = scratch.path();
        put(root, "iris/1/model.onnx", "one");
        put(root, "iris/20/model.onnx", "twenty");
        put(root, "iris/03/model.onnx", "three");
        put(root, "iris/4/weights.bin", "four");
        put(root, "iris/config.yaml", "");
        put(root, "iris/.registry/5/model.onnx", "five");
        put(root, "wine.onnx", "wine");
        put(root, "notes.txt", "");
        put(root, "a model/1/model.onnx", "");
        put(root, "..data/1/model.onnx", "");

        let scan = scan(root).expect("can be seen");
        let names: Vec<&str> = scan.models.keys().map(String::as_str).collect();
        assert_eq!(names, ["iris", "wine"]);
        let iris = &scan.models["iris"];
        assert_eq!(iris.versions.keys().copied().collect::<Vec<u64>>(), [1, 20]);
        assert!(iris.config.is_some());
        assert_eq!(iris.warnings.len(), 2, "{:?}", iris.warnings);
        assert!(iris.warnings[0].ends_with("iris/03: neither config.yaml nor a version such as 1"));
        assert!(iris.warnings[1].ends_with("iris/4: there is no model.onnx"));
        assert_eq!(scan.models["wine"].versions[&1].path, root.join("wine.onnx"));
        assert_eq!(scan.warnings.len(), 1);
        assert!(scan.warnings[0].ends_with("a model: a model's name is made of letters, digits, '-', '_' and '.'"));
    }

    #[test]
    fn a_name_is_one_that_a_directory_of_models_is_looked_for_by() {
        let longest = "a".repeat(LONGEST_NAME);
        for name in ["iris", "_", "-", "a..b", "iris.v2", "7", &longest] {
            let scratch = Scratch::new("names");
            put(scratch.path(), &format!("{name}/1/model.onnx"), "");
            assert_eq!(check_name(name), Ok(()), "{name:?}");
            let scan = scan(scratch.path()).expect("can be seen");
            assert!(scan.models.contains_key(name), "{name:?}");
        }
        let too_long = "a".repeat(LONGEST_NAME + 1);
        for name in ["", ".", "..", ".iris", "a/b", "a b", "m\u{fc}", &too_long] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn every_change_of_a_file_shows() {
        let scratch = Scratch::new("fingerprints");
        let root = scratch.path();
        put(root, "iris/1/model.onnx", "one");
        let before = scan(root).expect("can be seen");
        assert_eq!(scan(root).expect("can be seen"), before);
        put(root, "new", "two");
        fs::rename(root.join("new"), root.join("iris/1/model.onnx")).expect("renames");
        assert_ne!(
            scan(root).expect("can be seen"),
            before,
            "another file of the same size"
        );
    }

    #[test]
    fn a_directory_that_cannot_be_seen_is_an_error_and_not_empty() {
        let scratch = Scratch::new("missing");
        let error = scan(&scratch.path().join("nowhere")).expect_err("there is none");
        assert!(error.to_string().contains("nowhere"), "{error}");
    }

    #[test]
    fn what_cannot_be_looked_at_hides_nothing_else() {
        let scratch = Scratch::new("loops");
        let root = scratch.path();
        put(root, "iris/1/model.onnx", "one");
        put(root, "wine/config.yaml", "");
        for (link, target) in [("self", "self"), ("wine/2", "2"), ("file.onnx", "file.onnx")] {
            std::os::unix::fs::symlink(target, root.join(link)).expect("links");
        }
        let scan = scan(root).expect("can be seen");
        assert_eq!(scan.models.keys().collect::<Vec<_>>(), ["iris"]);
        assert_eq!(scan.unreadable.keys().collect::<Vec<_>>(), ["file", "self", "wine"]);
    }

    #[test]
    fn beyond_the_limits_the_rest_is_seen() {
        let scratch = Scratch::new("many");
        let root = scratch.path();
        for number in 0..=MOST_MODELS {
            put(root, &format!("m{number:03}.onnx"), "");
        }
        for number in 1..=MOST_VERSIONS + 1 {
            put(root, &format!("a/{number}/model.onnx"), "");
        }
        let scan = scan(root).expect("can be seen");
        assert_eq!(scan.models.len(), MOST_MODELS);
        assert_eq!(scan.unreadable.keys().collect::<Vec<_>>(), ["m255", "m256"]);
        let newest = &scan.models["a"];
        assert_eq!(
            (newest.versions.len(), newest.versions.contains_key(&1)),
            (MOST_VERSIONS, false)
        );
        assert!(newest.warnings[0].ends_with("a/1: there are 1024 newer versions"));
    }

    #[test]
    fn a_directory_wins_over_a_file_of_its_name() {
        let scratch = Scratch::new("both");
        put(scratch.path(), "iris/2/model.onnx", "two");
        put(scratch.path(), "iris.onnx", "one");
        let scan = scan(scratch.path()).expect("can be seen");
        assert_eq!(scan.models["iris"].versions.keys().copied().collect::<Vec<u64>>(), [2]);
    }
}
