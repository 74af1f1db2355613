//! The documentation as a whole: links that lead somewhere, pages that stay short, log messages that are those of the code, the
//! compiler that is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use shared::test_util::docs::sources;

const LONGEST_PAGE: usize = 150;
const LONGEST_LINE: usize = 130;
const OPERATIONS: &str = "gateway/docs/operations.md";

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Every file of the repository, by its path from the root.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(repository().join(&directory)).expect("a directory") {
            let entry = entry.expect("readable");
            let path = directory.join(entry.file_name());
            let is_ours = !["target", ".git"]
                .map(AsRef::as_ref)
                .contains(&entry.file_name().as_os_str());
            match entry.file_type().expect("a type").is_dir() {
                true if is_ours => directories.push(path),
                true => {}
                false => files.push(path),
            }
        }
    }
    files
}

/// Every page of the repository, by its path from the root.
fn pages() -> BTreeMap<PathBuf, String> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let pages = files().into_iter().filter(is_page);
    let read = |path: &Path| fs::read_to_string(repository().join(path)).expect("UTF-8");
    pages.map(|path| (path.clone(), read(&path))).collect()
}

/// The lines of a page outside of code blocks, with their numbers.
fn prose(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    let lines = page.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// A heading as the part of a URL that leads to it: lower case, spaces as hyphens, no punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

/// Headings that are the same get numbers.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(page) {
        let Some(heading) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#')) else {
            continue;
        };
        let base = anchor(heading);
        let numbered = (1..).map(|number| format!("{base}-{number}"));
        let free = std::iter::once(base.clone())
            .chain(numbered)
            .find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

/// What the links of a line lead to. Links in code spans are examples.
fn targets(line: &str) -> Vec<String> {
    let outside_of_code: String = line.split('`').step_by(2).collect();
    let links = outside_of_code.split("](").skip(1);
    links
        .filter_map(|rest| rest.split(')').next())
        .map(str::to_owned)
        .collect()
}

/// `path` without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().collect()
}

/// What is wrong with a link of the page at `from`.
fn problem(pages: &BTreeMap<PathBuf, String>, from: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, wanted) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => from.to_owned(),
        path => normal(&from.parent().unwrap_or(Path::new("")).join(path)),
    };
    if !repository().join(&path).exists() {
        return Some(format!("there is no {}", path.display()));
    }
    let is_there = wanted.is_empty() || pages.get(&path).is_some_and(|page| anchors(page).contains(wanted));
    (!is_there).then(|| format!("{} has no heading #{wanted}", path.display()))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    assert!(pages.len() > 10, "{} pages are few", pages.len());
    let mut broken = Vec::new();
    for (path, page) in &pages {
        for (number, line) in prose(page) {
            let problems = targets(line).into_iter().filter_map(|target| {
                let problem = problem(&pages, path, &target)?;
                Some(format!("{}:{number}: {target}: {problem}", path.display()))
            });
            broken.extend(problems);
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn readme_and_architecture_can_be_read_in_one_sitting() {
    for page in ["README.md", "ARCHITECTURE.md"] {
        let lines = fs::read_to_string(repository().join(page))
            .expect("it is there")
            .lines()
            .count();
        assert!(
            lines <= LONGEST_PAGE,
            "{page} has {lines} lines, more than {LONGEST_PAGE}"
        );
    }
}

/// Code spans of a line that name a source file or a script.
fn named_files(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter(|span| {
        let is_path = span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        is_path && [".rs", ".py", ".sh"].iter().any(|end| span.ends_with(end))
    })
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let files = files();
    let mut missing = Vec::new();
    for (path, page) in pages() {
        // It names what was there once.
        if path.ends_with("CHANGELOG.md") {
            continue;
        }
        for (number, line) in prose(&page) {
            let gone = named_files(line)
                .filter(|name| !files.iter().any(|file| file.ends_with(name.trim_start_matches("./"))));
            missing.extend(gone.map(|name| format!("{}:{number}: there is no {name}", path.display())));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Tables, code and links cannot be broken.
#[test]
fn lines_of_prose_are_not_too_long() {
    let mut long = Vec::new();
    for (path, page) in pages() {
        if path.starts_with("deploy") {
            continue;
        }
        let lines = prose(&page).filter(|(_, line)| !line.starts_with('|') && !line.contains("://"));
        let too_long = lines.filter(|(_, line)| line.chars().count() > LONGEST_LINE);
        long.extend(too_long.map(|(number, line)| format!("{}:{number}: {line}", path.display())));
    }
    assert!(long.is_empty(), "over {LONGEST_LINE} characters:\n{}", long.join("\n"));
}

/// The messages of `warn!` and `error!` in a source, without its tests. What is filled in is `…`.
fn messages(source: &str) -> Vec<String> {
    let code = without_tests(source);
    let mut found = Vec::new();
    for name in [" warn!(", " error!(", ":warn!(", ":error!("] {
        for (at, _) in code.match_indices(name) {
            found.extend(last_literal(&code[at + name.len()..]));
        }
    }
    found
}

/// A source up to its module of tests; tests in a file of their own are declared by `mod NAME;`.
fn without_tests(source: &str) -> &str {
    let mut modules = source.match_indices("\n#[cfg(test)]\nmod ");
    let inline = modules.find(|(at, start)| {
        let rest = &source[at + start.len()..];
        rest.lines().next().is_some_and(|line| line.ends_with('{'))
    });
    inline.map_or(source, |(at, _)| &source[..at])
}

/// The last string literal before the parenthesis that ends a macro's arguments.
fn last_literal(arguments: &str) -> Option<String> {
    let (mut depth, mut literal, mut last) = (0_usize, None::<String>, None);
    let mut characters = arguments.chars();
    while let Some(character) = characters.next() {
        match (&mut literal, character) {
            (Some(text), '\\') => text.extend(characters.next()),
            (Some(_), '"') => last = literal.take(),
            (Some(text), character) => text.push(character),
            (None, '"') => literal = Some(String::new()),
            (None, '(') => depth += 1,
            (None, ')') if depth == 0 => break,
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
    }
    last.map(|text| filled_in(&text))
}

/// `removed {CONFIG}: …` as `removed …: …`.
fn filled_in(message: &str) -> String {
    let mut parts = message.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.split_once('}').map_or(part, |(_, rest)| rest);
        format!("{text}…{rest}")
    })
}

/// The first code span of each row of the tables below `heading`.
fn documented_messages() -> BTreeSet<String> {
    let page = fs::read_to_string(repository().join(OPERATIONS)).expect("it is there");
    let (_, section) = page
        .split_once("\n## Log messages\n")
        .expect("a section of log messages");
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

#[test]
fn every_warning_and_error_is_on_the_operations_page_and_no_other() {
    let mut logged = BTreeMap::new();
    for crate_name in ["shared", "gateway", "ml-inference", "ml-inference/runtime"] {
        for path in sources(&repository().join(crate_name).join("src")) {
            // Tests, and what serves them.
            if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "test_util") {
                continue;
            }
            let source = fs::read_to_string(&path).expect("UTF-8");
            logged.extend(messages(&source).into_iter().map(|message| (message, path.clone())));
        }
    }
    assert!(logged.len() > 20, "{} messages are few", logged.len());
    let documented = documented_messages();
    let missing = logged.iter().filter(|(message, _)| !documented.contains(*message));
    let missing = missing.map(|(message, path)| format!("not on the page: {message:?} of {}", path.display()));
    let gone = documented.iter().filter(|message| !logged.contains_key(*message));
    let gone = gone.map(|message| format!("in no source: {message:?}"));
    let problems: Vec<String> = missing.chain(gone).collect();
    assert!(problems.is_empty(), "{OPERATIONS}:\n{}", problems.join("\n"));
}

#[test]
fn a_message_is_the_last_text_of_its_macro() {
    let source =
        "fn a() { warn!(%error, kept = f(\"x\"), \"it is (not) there: {}\", b(1)); }\n  error!(\"a \\\"b\\\"\")";
    assert_eq!(messages(source), ["it is (not) there: …", "a \"b\""]);
}

#[test]
fn a_heading_has_the_anchor_that_web_pages_give_it() {
    for (heading, expected) in [
        (" Admin listener, port 9091", "admin-listener-port-9091"),
        (" `gateway.yaml`: clusters", "gatewayyaml-clusters"),
        (" How a pod stops", "how-a-pod-stops"),
    ] {
        assert_eq!(anchor(heading), expected);
    }
}

/// `rust-version` as numbers.
fn version(text: &str) -> (u32, u32, u32) {
    let mut numbers = text.split('.').map(|part| part.parse().expect("a number"));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

/// What cargo prints on standard output.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// With an older compiler than a dependency's, cargo says which one the workspace needs, and not a compiler error.
#[test]
fn the_compiler_that_is_asked_for_is_the_newest_that_a_dependency_needs() {
    let metadata = cargo(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--features",
        "ml-inference/onnxruntime",
    ]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let of = |package: &Value| Some(version(package["rust_version"].as_str()?));
    let is_ours = |package: &&Value| package["source"].is_null();
    let dependencies = packages.iter().filter(|package| !is_ours(package));
    let newest = dependencies.max_by_key(|package| of(package)).expect("dependencies");
    let (name, needed) = (&newest["name"], newest["rust_version"].as_str().expect("a version"));
    for package in packages.iter().filter(is_ours) {
        let ours = of(package).expect("a rust-version");
        assert_eq!(ours, version(needed), "{name} needs {needed}: {}", package["name"]);
    }
    for page in ["README.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(repository().join(page)).expect("UTF-8");
        let asked = format!("({} or newer)", needed.trim_end_matches(".0"));
        assert!(text.contains(&asked), "{page} does not say {asked}, which {name} needs");
    }
}
