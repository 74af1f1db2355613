//! Tables of the documentation that are made of the code: a test compares them with the page, or writes them into it.
//!
//! A generated region of a page stands between two comments, so that prose can surround it:
//!
//! ```text
//! <!-- generated: settings -->
//! | Setting | Default | …
//! <!-- end of settings -->
//! ```
//!
//! `UPDATE_DOCS=1` writes the regions. A page belongs to one test, because two would overwrite each other's regions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Key, Map, Scalar, Setting, Shape};

/// The variable that makes [`check_page`] write instead of compare.
const UPDATE: &str = "UPDATE_DOCS";

/// One value of each variant of an enum. A variant without one does not compile.
#[macro_export]
macro_rules! samples {
    ($type:ty: $($pattern:pat => $sample:expr),+ $(,)?) => {{
        let _complete = |value: &$type| match value { $($pattern => ()),+ };
        let samples: Vec<$type> = vec![$($sample),+];
        samples
    }};
}

/// A table in Markdown.
#[derive(Debug)]
pub struct Table {
    text: String,
}

impl Table {
    /// A table of these columns, without rows.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        let mut table = Self { text: String::new() };
        table.row(header);
        table.row(["---"; N]);
        table
    }

    /// Adds one row.
    pub fn row<const N: usize>(&mut self, cells: [impl AsRef<str>; N]) {
        for cell in cells {
            // A bar would end the cell, also inside of a code span.
            self.text.push_str("| ");
            self.text.push_str(&cell.as_ref().replace('|', "\\|"));
            self.text.push(' ');
        }
        self.text.push_str("|\n");
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `text` as a code span.
pub fn code(text: impl fmt::Display) -> String {
    format!("`{text}`")
}

/// Compares the generated regions of the page at `path` with `regions`, by name, or writes them into it.
///
/// # Panics
/// When the page has other regions than these, or when one differs; the message ends in `mend`, the command that writes
/// them.
pub fn check_page(path: &Path, mend: &str, regions: &[(&str, &dyn fmt::Display)]) {
    let page = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut expected = page.clone();
    for (name, content) in regions {
        expected = with_region(&expected, name, &content.to_string())
            .unwrap_or_else(|| panic!("{} has no region <!-- generated: {name} -->", path.display()));
    }
    let named: BTreeSet<&str> = page
        .split("<!-- generated: ")
        .skip(1)
        .filter_map(|rest| rest.split(" -->").next())
        .collect();
    let known: BTreeSet<&str> = regions.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, known, "the generated regions of {}", path.display());
    if page == expected {
        return;
    }
    if std::env::var_os(UPDATE).is_some() {
        fs::write(path, expected).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let lines = page.lines().zip(expected.lines()).enumerate();
    let differing = lines.into_iter().find(|(_, (found, wanted))| found != wanted);
    let (line, found, wanted) = match differing {
        Some((at, (found, wanted))) => (at + 1, found, wanted),
        None => (page.lines().count().min(expected.lines().count()), "another length", ""),
    };
    panic!(
        "{}:{line} is not what the code says\n   page: {found}\n   code: {wanted}\nrun: {UPDATE}=1 {mend}",
        path.display()
    );
}

fn with_region(page: &str, name: &str, content: &str) -> Option<String> {
    let (start, end) = (
        format!("<!-- generated: {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let (before, rest) = page.split_once(&start)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{start}{content}{end}{after}"))
}

/// The settings of a service, in the order of `--help`.
pub fn settings_table(settings: &[Setting]) -> Table {
    let mut table = Table::new(["Setting", "Default", "Value", "A change applies", "Description"]);
    for setting in settings {
        let default = match (setting.secret, setting.default) {
            (true, _) => "none (secret)".to_owned(),
            (false, "") => "empty".to_owned(),
            (false, default) => code(default),
        };
        let applies = if setting.live { "live" } else { "at restart" };
        table.row([
            &code(setting.name),
            &default,
            &setting.scalar.to_string(),
            applies,
            setting.description,
        ]);
    }
    table
}

/// The keys of a structured file, each by its path; `key` itself is the first row.
pub fn keys_table(key: &Key) -> Table {
    let mut table = keys_header();
    add_key(&mut table, "", key, None);
    table
}

/// The keys of a file whose top level is `map`.
pub fn map_table(map: &Map) -> Table {
    let mut table = keys_header();
    add_keys(&mut table, "", map);
    table
}

fn keys_header() -> Table {
    Table::new(["Key", "Default", "Value", "Description"])
}

fn add_keys(table: &mut Table, parent: &str, map: &Map) {
    for key in map.keys {
        let mut alternatives = map.choices.iter().filter_map(|choice| match key.name {
            name if name == choice.first.name => Some(choice.second.name),
            name if name == choice.second.name => Some(choice.first.name),
            _ => None,
        });
        add_key(table, parent, key, alternatives.next());
    }
}

fn add_key(table: &mut Table, parent: &str, key: &Key, alternative: Option<&str>) {
    let path = format!("{parent}{}", key.name);
    let default = match (key.required, alternative, key.default) {
        (true, ..) => "required".to_owned(),
        (_, Some(other), _) => format!("this or {}", code(other)),
        (_, _, Some("")) => "empty".to_owned(),
        (_, _, Some(default)) => code(default),
        (_, _, None) => "none".to_owned(),
    };
    let mut description = format!("{}.", key.description);
    if let Some(other) = key.requires {
        // A `String` takes whatever is written to it.
        let _infallible = write!(description, " Needs {}.", code(other));
    }
    table.row([&code(&path), &default, &value(&key.shape), &description]);
    match key.shape {
        Shape::Map(map) | Shape::ScalarOrMap(_, map) => add_keys(table, &format!("{path}."), map),
        Shape::List(Shape::Map(map) | Shape::ScalarOrMap(_, map), _) => add_keys(table, &format!("{path}[]."), map),
        Shape::Scalar(_) | Shape::List(..) | Shape::MapOf(..) => {}
    }
}

fn value(shape: &Shape) -> String {
    match shape {
        Shape::Scalar(scalar) => scalar_text(scalar),
        Shape::List(item, 0) => format!("a list: {}", value(item)),
        Shape::List(item, least) => format!("a list of at least {least}: {}", value(item)),
        Shape::Map(_) => "a map".to_owned(),
        Shape::MapOf(name, value) => format!("a map: {} to {}", scalar_text(name), scalar_text(value)),
        Shape::ScalarOrMap(scalar, _) => format!("{}, or a map", scalar_text(scalar)),
    }
}

fn scalar_text(scalar: &Scalar) -> String {
    match scalar {
        Scalar::OneOf(names) => names.iter().map(code).collect::<Vec<_>>().join(", "),
        scalar => scalar.to_string(),
    }
}

/// The metrics of a scrape, without those of the process, which differ by platform. The values of `enumerated` labels are
/// listed; those of the others are too many, the user's own, or not all in the scrape.
pub fn metrics_table(scrape: &str, enumerated: &[&str]) -> Table {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    for line in scrape.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name).or_default().help = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name).or_default().kind = kind;
        } else {
            let (series, labels) = line.split_once('{').unwrap_or((line, ""));
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| series.strip_suffix(end));
            let family = match (families.contains_key(series), base) {
                (false, Some(base)) => families.entry(base).or_default(),
                _ => families.entry(series.split(' ').next().unwrap_or(series)).or_default(),
            };
            family.add_labels(labels);
        }
    }
    let mut table = Table::new(["Metric", "Type", "Labels", "Meaning"]);
    for (name, family) in families.into_iter().filter(|(name, _)| !name.starts_with("process_")) {
        let labels = family.labels.iter().map(|(label, values)| {
            if !enumerated.contains(label) {
                return code(label);
            }
            let values: Vec<String> = values.iter().map(code).collect();
            format!("{} ({})", code(label), values.join(", "))
        });
        let labels: Vec<String> = labels.collect();
        table.row([&code(name), family.kind, &labels.join(", "), family.help]);
    }
    table
}

#[derive(Default)]
struct Family<'a> {
    help: &'a str,
    kind: &'a str,
    labels: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Family<'a> {
    fn add_labels(&mut self, labels: &'a str) {
        let pairs = labels.split_once('}').map_or("", |(pairs, _)| pairs).split("\",");
        for (name, value) in pairs.filter_map(|pair| pair.split_once("=\"")) {
            if name != "le" {
                self.labels.entry(name).or_default().insert(value.trim_end_matches('"'));
            }
        }
    }
}

/// The names of metrics that the sources below `directory` declare and `scrape` lacks: string literals that begin with
/// `prefix`, or with `{prefix}` where code of several services fills it in. A literal may be the beginning of such names.
pub fn metrics_without_series(scrape: &str, directory: &Path, prefix: &str) -> Vec<String> {
    let is_shown = |name: &String| {
        let mut families = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        families.any(|family| {
            family
                .strip_prefix(name.as_str())
                .is_some_and(|rest| name.ends_with('_') || rest.starts_with([' ', '_']))
        })
    };
    let declared = declared_metrics(directory, prefix).into_iter();
    declared.filter(|name| !is_shown(name)).collect()
}

fn declared_metrics(directory: &Path, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in sources(directory) {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for start in [format!("\"{prefix}_"), "\"{prefix}_".to_owned()] {
            for rest in text.split(&start).skip(1) {
                let length = rest
                    .bytes()
                    .take_while(|byte| byte.is_ascii_lowercase() || *byte == b'_')
                    .count();
                if rest[length..].starts_with('"') {
                    names.insert(format!("{prefix}_{}", &rest[..length]));
                }
            }
        }
    }
    names
}

/// Every Rust source below `directory`.
pub fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
