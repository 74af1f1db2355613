//! The floors of every crate: a file imports only rooms of lower floors, and no files import each other in a circle.
//!
//! A room is a top-level module. The table `# Floors` in each crate's `lib.rs` lists the rooms from the top floor to the ground, what
//! each owns and what it may import; this test holds the sources against it.
//!
//! ```text
//! imports.rs  the sources ─► which file imports which, and in which line
//! rules.rs    these and the table ─► what breaks a rule
//! ```

mod imports;
mod rules;

use std::path::Path;

use e2e::repository;
use imports::Sources;

/// The crates with floors, by name and directory.
const CRATES: &[(&str, &str)] = &[
    ("shared", "shared"),
    ("gateway", "gateway"),
    ("ml-inference", "ml-inference"),
    ("model-runtime", "ml-inference/runtime"),
    ("batch-score", "scripts/batch-score"),
    ("load-test", "scripts/load-test"),
    ("lab", "scripts/lab"),
    ("rag-api", "deploy/rag/rag-api"),
];

#[test]
fn every_file_imports_lower_floors_only_and_none_in_a_circle() {
    let mut report = String::new();
    for (name, directory) in CRATES {
        let mut sources = Sources::new();
        let src = repository().join(directory).join("src");
        read_sources(&src, &src, &mut sources);
        for violation in rules::check(name, &sources) {
            report.push_str(&format!("{directory}/src/{violation}\n"));
        }
    }
    assert!(report.is_empty(), "the floors are broken:\n{report}");
}

fn read_sources(directory: &Path, src: &Path, sources: &mut Sources) {
    for entry in std::fs::read_dir(directory).expect("the sources can be listed") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            read_sources(&path, src, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source can be read");
            let name = path
                .strip_prefix(src)
                .expect("below src")
                .to_string_lossy()
                .into_owned();
            sources.insert(name, text);
        }
    }
}

/// What is wrong with a crate `demo` of these files, whose table has these rows.
fn violations(rows: &[&str], files: &[(&str, &str)]) -> String {
    let mut lib = "//! # Floors\n//!\n//! | Room | Owns | May import |\n//! | --- | --- | --- |\n".to_owned();
    rows.iter().for_each(|row| lib.push_str(&format!("//! {row}\n")));
    for (file, _) in files
        .iter()
        .filter(|(file, _)| !file.contains('/') && *file != "main.rs")
    {
        lib.push_str(&format!("mod {};\n", file.trim_end_matches(".rs")));
    }
    let mut sources: Sources = files
        .iter()
        .map(|(file, text)| (file.to_string(), text.to_string()))
        .collect();
    sources.insert("lib.rs".to_owned(), lib);
    rules::check("demo", &sources).join("\n")
}

const TWO_FLOORS: &[&str] = &["| `top` | … | `ground` |", "| `ground` | … | nothing |"];

#[test]
fn lower_floors_may_be_imported_and_tests_may_import_everything() {
    let top = "use crate::ground::Stone;\nfn f() -> Stone { crate::ground::lay() }";
    let ground = "pub struct Stone;\n#[cfg(test)] mod tests { use crate::top::f; }\n#[cfg(test)] use crate::top;\n#[cfg(test)] mod fixtures;";
    let fixtures = "use crate::top::f;";
    let files = [("top.rs", top), ("ground.rs", ground), ("ground/fixtures.rs", fixtures)];
    assert_eq!(violations(TWO_FLOORS, &files), "");
    assert_eq!(
        violations(&["| `top` | … | everything below |", TWO_FLOORS[1]], &files),
        ""
    );
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    for (import, line) in [
        ("use crate::top::Roof;", 1),
        ("use crate::{top::Roof};", 1),
        (
            "use crate::{\n    std::{self, fmt},\n    top::{self, Roof as R},\n};",
            3,
        ),
        ("use super::super::top::Roof;", 1),
        ("\nuse super::super::top::*;", 2),
        ("fn f() { let _ = crate::top::roof(); }", 1),
        ("fn f(_: &dyn Fn(crate::top::Roof)) {}", 1),
        ("fn f() { assert!(crate::top::roof()); }", 1),
        ("impl crate::top::Roof for () {}", 1),
    ] {
        let files = [
            ("top.rs", "use crate::ground::stone::A;"),
            ("ground.rs", "mod stone;"),
            ("ground/stone.rs", import),
        ];
        let found = violations(TWO_FLOORS, &files);
        let at = format!("ground/stone.rs:{line}: `");
        assert!(found.contains(&at), "{import}: {found}");
        assert!(
            found.contains("in `top`, and `ground` may import nothing of this crate"),
            "{import}: {found}"
        );
    }
}

#[test]
fn what_a_row_does_not_permit_is_a_violation_though_it_is_lower() {
    let rows = [
        "| `top`, `side` | … | `middle` |",
        "| `middle` | … | nothing |",
        "| `ground` | … | nothing |",
    ];
    let files = [
        (
            "top.rs",
            "use crate::middle::A;\nuse crate::side::A;\nuse crate::ground::A;",
        ),
        ("side.rs", ""),
        ("middle.rs", ""),
        ("ground.rs", ""),
    ];
    let found = violations(&rows, &files);
    assert!(
        found.contains("top.rs:2: `crate::side::A` is in `side`, and `top` may import only middle"),
        "{found}"
    );
    assert!(found.contains("top.rs:3: `crate::ground::A`"), "{found}");
    assert!(!found.contains("top.rs:1"), "{found}");
}

#[test]
fn a_name_that_was_imported_leads_to_the_file_behind_it() {
    let files = [
        ("top.rs", "use crate::ground;\nfn f() { ground::stone::lay() }"),
        ("ground.rs", "pub mod stone;"),
        ("ground/stone.rs", "use crate::top::f;"),
        ("main.rs", "use demo::top;"),
    ];
    let found = violations(TWO_FLOORS, &files);
    assert!(
        found.contains("top.rs:2: `ground::stone::lay` is in ground/stone.rs"),
        "{found}"
    );
    assert!(!found.contains("main.rs"), "{found}");
}

#[test]
fn a_child_that_imports_from_its_face_is_a_circle_and_one_that_imports_a_sibling_is_not() {
    let top = ("top.rs", "use crate::ground::A;");
    let face = ("ground.rs", "mod one;\nmod two;\npub use one::A;");
    let two = ("ground/two.rs", "");
    let by_sibling = [
        top,
        face,
        two,
        ("ground/one.rs", "use super::two::B;\npub(super) struct A;"),
    ];
    assert_eq!(violations(TWO_FLOORS, &by_sibling), "");
    let by_face = [top, face, two, ("ground/one.rs", "use super::C;")];
    let found = violations(TWO_FLOORS, &by_face);
    assert_eq!(
        found,
        "a circle of 2 files:\n    ground.rs:1: `mod one` is in ground/one.rs\n    ground/one.rs:1: `super::C` is in ground.rs"
    );
}

#[test]
fn a_circle_of_three_is_found_as_one() {
    let files = [
        ("top.rs", "use crate::ground::A;"),
        ("ground.rs", "mod a; mod b; mod c;"),
        ("ground/a.rs", "use super::b::B;"),
        ("ground/b.rs", "use super::c::C;"),
        ("ground/c.rs", "fn f() { super::a::f() }"),
    ];
    let found = violations(TWO_FLOORS, &files);
    assert!(found.starts_with("a circle of 3 files:"), "{found}");
    assert_eq!(found.lines().count(), 4, "{found}");
}

#[test]
fn the_table_and_the_modules_are_the_same() {
    let files = [("top.rs", "use crate::ground::A;"), ("ground.rs", "")];
    for (rows, problem) in [
        (&["| `top` | … | nothing |"][..], "the module `ground` is in 0 rows"),
        (
            &[TWO_FLOORS[0], TWO_FLOORS[1], "| `cellar` | … | nothing |"],
            "a room `cellar`, which is no module",
        ),
        (
            &[TWO_FLOORS[0], TWO_FLOORS[1], TWO_FLOORS[1]],
            "the module `ground` is in 2 rows",
        ),
        (
            &["| `ground` | … | `top` |", "| `top` | … | nothing |"],
            "`ground` may import `top` and no file of it does",
        ),
        (
            &[TWO_FLOORS[0], "| `ground` | … | `top` |"],
            "may not permit `top`, which is no lower floor",
        ),
        (
            &[TWO_FLOORS[0], "| `ground` | … | |"],
            "expected rooms, \"everything below\" or \"nothing\"",
        ),
        (&[], "has no table `# Floors`"),
    ] {
        let found = violations(rows, &files);
        assert!(found.contains(problem), "{problem}: {found}");
    }
}
