//! The rules of a crate's floors, as the table `# Floors` in its `lib.rs` states them, and the imports that break one.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{self, Import, Imports, Sources, room};

/// A row of the table: rooms of one floor, and what they may import.
#[derive(Debug)]
struct Row {
    rooms: Vec<String>,
    may_import: Permission,
}

#[derive(Debug)]
enum Permission {
    EverythingBelow,
    Rooms(Vec<String>),
}

/// Every violation in the crate `name`, one a line.
pub(crate) fn check(name: &str, sources: &Sources) -> Vec<String> {
    let imports = match imports::read(name, sources) {
        Ok(imports) => imports,
        Err(problem) => return vec![problem],
    };
    let rows = match table(&sources["lib.rs"]) {
        Ok(rows) => rows,
        Err(problem) => return vec![format!("lib.rs: {problem}")],
    };
    let mut violations = rooms_and_rows(&imports, &rows);
    violations.extend(upward(&imports, &rows));
    violations.extend(stale(&imports, &rows));
    violations.extend(circles(&imports));
    violations
}

/// The rows below the heading `# Floors` of the crate's documentation.
fn table(lib: &str) -> Result<Vec<Row>, String> {
    let docs = lib.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim);
    let section = docs.skip_while(|line| *line != "# Floors").skip(1);
    let lines = section
        .take_while(|line| !line.starts_with("# "))
        .filter(|line| line.starts_with('|'));
    // The heading and the line below it.
    let rows: Result<Vec<Row>, String> = lines.skip(2).map(row).collect();
    match rows {
        Ok(rows) if rows.is_empty() => Err("has no table `# Floors`".to_owned()),
        rows => rows,
    }
}

fn row(line: &str) -> Result<Row, String> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [rooms, _, may_import] = cells[..] else {
        return Err(format!("expected three cells in {line:?}"));
    };
    let named = quoted(may_import);
    let may_import = match may_import {
        "everything below" => Permission::EverythingBelow,
        text if named.is_empty() && !text.starts_with("nothing") => {
            return Err(format!(
                "expected rooms, \"everything below\" or \"nothing\" at the end of {line:?}"
            ));
        }
        _ => Permission::Rooms(named),
    };
    Ok(Row {
        rooms: quoted(rooms),
        may_import,
    })
}

/// The words between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn floor_of(rows: &[Row], room: &str) -> Option<usize> {
    rows.iter().position(|row| row.rooms.iter().any(|other| other == room))
}

fn rooms_and_rows(imports: &Imports, rows: &[Row]) -> Vec<String> {
    let mut violations = Vec::new();
    for room in &imports.rooms {
        let count = rows
            .iter()
            .flat_map(|row| &row.rooms)
            .filter(|other| *other == room)
            .count();
        if count != 1 {
            violations.push(format!(
                "lib.rs: the module `{room}` is in {count} rows of the table, expected one"
            ));
        }
    }
    for room in rows.iter().flat_map(|row| &row.rooms) {
        if !imports.rooms.contains(room) && room != "main" {
            violations.push(format!(
                "lib.rs: the table names a room `{room}`, which is no module of the crate"
            ));
        }
    }
    for (floor, row) in rows.iter().enumerate() {
        let Permission::Rooms(named) = &row.may_import else {
            continue;
        };
        for other in named {
            let is_beside = row.rooms.len() > 1 && row.rooms.contains(other);
            if floor_of(rows, other).is_none_or(|below| below <= floor) && !is_beside {
                let rooms = row.rooms.join("`, `");
                violations.push(format!(
                    "lib.rs: the row of `{rooms}` may not permit `{other}`, which is no lower floor"
                ));
            }
        }
    }
    violations
}

/// Imports from one room of another that the importing room's row does not permit.
fn upward(imports: &Imports, rows: &[Row]) -> Vec<String> {
    let violations = imports.all.iter().filter_map(|import| {
        let (from, to) = (room(&import.from)?, room(&import.to).unwrap_or("lib.rs"));
        let floor = floor_of(rows, from)?;
        let rule = match &rows[floor].may_import {
            _ if from == to => return None,
            Permission::EverythingBelow if floor_of(rows, to).is_some_and(|below| below > floor) => return None,
            Permission::Rooms(named) if named.iter().any(|room| room == to) => return None,
            Permission::EverythingBelow => "only the rooms below it".to_owned(),
            Permission::Rooms(named) if named.is_empty() => "nothing of this crate".to_owned(),
            Permission::Rooms(named) => format!("only {}", named.join(", ")),
        };
        let Import {
            from: file, line, path, ..
        } = import;
        Some(format!(
            "{file}:{line}: `{path}` is in `{to}`, and `{from}` may import {rule}"
        ))
    });
    violations.collect()
}

/// Permissions that no import uses.
fn stale(imports: &Imports, rows: &[Row]) -> Vec<String> {
    let used: BTreeSet<(&str, &str)> = imports
        .all
        .iter()
        .filter_map(|import| Some((room(&import.from)?, room(&import.to)?)))
        .collect();
    let mut violations = Vec::new();
    for row in rows {
        let Permission::Rooms(named) = &row.may_import else {
            continue;
        };
        for other in named {
            if !row.rooms.iter().any(|room| used.contains(&(room, other))) {
                let rooms = row.rooms.join("`, `");
                violations.push(format!("lib.rs: `{rooms}` may import `{other}` and no file of it does"));
            }
        }
    }
    violations
}

/// Files that import each other, directly or by way of others.
fn circles(imports: &Imports) -> Vec<String> {
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Import { from, to, .. } in &imports.all {
        arrows.entry(from).or_default().insert(to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = arrows.keys().map(|file| (*file, reach(file, &arrows))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|files| files.contains(to));
    let mut violations = Vec::new();
    let mut reported: BTreeSet<&str> = BTreeSet::new();
    for file in reached.keys().filter(|file| reaches(file, file)) {
        if reported.contains(file) {
            continue;
        }
        let circle: BTreeSet<&str> = reached[file]
            .iter()
            .copied()
            .filter(|other| reaches(other, file))
            .collect();
        let inside = imports.all.iter();
        let inside = inside.filter(|import| circle.contains(&*import.from) && circle.contains(&*import.to));
        let mut text = format!("a circle of {} files:", circle.len());
        for Import { from, line, path, to } in inside {
            text.push_str(&format!("\n    {from}:{line}: `{path}` is in {to}"));
        }
        violations.push(text);
        reported.extend(circle);
    }
    violations
}

fn reach<'a>(file: &str, arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut pending: Vec<&str> = arrows.get(file).into_iter().flatten().copied().collect();
    while let Some(next) = pending.pop() {
        if reached.insert(next) {
            pending.extend(arrows.get(next).into_iter().flatten());
        }
    }
    reached
}
