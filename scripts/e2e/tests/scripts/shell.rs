//! The scripts that are shell.

use std::fs;
use std::path::PathBuf;

use e2e::repository;

/// Every shell script of this directory.
fn shell_scripts() -> Vec<PathBuf> {
    let scripts = repository().join("scripts");
    let mut found = vec![scripts.join("bench")];
    for directory in ["", "lib", "lib/bench"] {
        let entries = fs::read_dir(scripts.join(directory)).expect("readable");
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        found.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "sh")));
    }
    found
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
    for path in shell_scripts() {
        let text = fs::read_to_string(&path).expect("readable");
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for line in lines {
            let word = TOO_NEW.iter().find(|word| line.contains(**word));
            assert_eq!(word, None, "{}: {line}", path.display());
        }
    }
}
