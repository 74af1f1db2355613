//! The scripts that are shell.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::repository;

/// Every shell script of the repository, by its path from the root, with its text.
pub(crate) fn shell_scripts() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![repository()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            let is_ours = !path.ends_with("target") && !path.ends_with(".git");
            match path.is_dir() {
                true if is_ours => directories.push(path),
                true => {}
                false => found.extend(shell_script(&path)),
            }
        }
    }
    found
}

/// A file that is a shell script by its name, or by its first line when its name does not say.
fn shell_script(path: &Path) -> Option<(PathBuf, String)> {
    let extension = path.extension();
    if extension.is_some_and(|extension| extension != "sh") {
        return None;
    }
    // What is no text is no script.
    let text = fs::read_to_string(path).ok()?;
    let first = text.lines().next().unwrap_or_default();
    let is_script = extension.is_some() || (first.starts_with("#!") && first.ends_with("sh"));
    let path = path.strip_prefix(repository()).expect("in the repository");
    is_script.then(|| (path.to_owned(), text))
}

/// Words that bash 3.2 (the one macOS ships) does not know.
const TOO_NEW: [&str; 12] = [
    "declare -A",
    "declare -n",
    "local -A",
    "local -n",
    "mapfile",
    "readarray",
    "wait -n",
    ",,}",
    "^^}",
    "&>>",
    "EPOCHREALTIME",
    "BASHPID",
];

#[test]
fn no_script_uses_what_bash_3_2_does_not_know() {
    for (path, text) in shell_scripts() {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for line in lines {
            let word = TOO_NEW.iter().find(|word| line.contains(**word));
            assert_eq!(word, None, "{}: {line}", path.display());
        }
    }
}
