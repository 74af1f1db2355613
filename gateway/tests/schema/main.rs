//! The JSON Schema of gateway.yaml and the parser say the same: what the one refuses, the other refuses at the same place,
//! but for the exceptions that `agreement.rs` lists.
//!
//! ```text
//! main.rs       the schema itself: what is shipped, and a schema by its metaschema
//! agreement.rs  where schema and parser disagree about a document, and the exceptions
//! files.rs      the files of the repository
//! values.rs     values that may stand at a place, and values that may not
//! wrong.rs      documents with one fault, for every fault there is
//! random.rs     documents at random
//! ```

mod agreement;
mod files;
mod random;
mod values;
mod wrong;

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use gateway::config::PROGRAM;
use serde_json::Value;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&PROGRAM.schema()).expect("JSON"));

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn what_is_shipped_is_what_the_program_prints() {
    let shipped = std::fs::read_to_string(repository().join("deploy/gateway.schema.json")).expect("it is shipped");
    let gateway = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .arg("--print-schema")
        .output();
    let printed = gateway.expect("it runs").stdout;
    assert!(
        shipped.as_bytes() == printed,
        "run: cargo run --bin gateway -- --print-schema > deploy/gateway.schema.json"
    );
}

#[test]
fn it_is_a_schema_by_its_metaschema() {
    jsonschema::draft202012::meta::validate(&SCHEMA).expect("valid");
    // Another look, by somebody else's rules: every key says what it is for.
    let mut places = vec![&*SCHEMA];
    while let Some(place) = places.pop() {
        for (name, property) in place["properties"].as_object().into_iter().flatten() {
            let about = property["description"].as_str().unwrap_or_default();
            assert!(about.len() > 10 && about.ends_with('.'), "{name}: {about:?}");
            places.push(property);
        }
        places.extend(place.get("items"));
        places.extend(place["anyOf"].as_array().into_iter().flatten());
    }
}
