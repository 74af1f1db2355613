//! The bodies of the repository's calls: `index`, `load` and `unload`. Each may also be empty.

use super::super::json::scanner::{JsonKind, Scanner};
use super::super::json::tensor_reader::shorten;
use super::error::Error;
use super::request::members::{expected, read_truth};

/// Body of `index`: true if only ready versions are requested.
pub fn parse_index(body: &[u8]) -> Result<bool, Error> {
    let mut scanner = Scanner::of_bytes(body)?;
    if scanner.is_at_end() {
        return Ok(false);
    }
    let mut only_ready = false;
    let mut member = scanner.open_object()?;
    while let Some(name) = member {
        match name.as_ref() {
            "ready" => only_ready = read_truth(&mut scanner, "ready")?,
            _ => {
                scanner.skip()?;
            }
        }
        member = scanner.next_member()?;
    }
    Ok(only_ready)
}

/// Reads the body of `load`. What it could bring along is refused: a model is loaded as it lies in the directory.
pub fn parse_load(body: &[u8]) -> Result<(), Error> {
    read_control(body, |name, _scanner| {
        if name == "config" || name.starts_with("file:") {
            let problem = "is not taken: a model is loaded as it lies in MODELS_DIR, with its config.yaml";
            return Err(Error::member(format!("parameters[{}]", shorten(name)), problem));
        }
        Ok(())
    })
}

/// Reads the body of `unload`. No model here depends on another, so `unload_dependents` may be anything that it can be.
pub fn parse_unload(body: &[u8]) -> Result<(), Error> {
    read_control(body, |name, scanner| match name {
        "unload_dependents" => read_truth(scanner, "parameters[unload_dependents]").map(|_any| ()),
        _ => Ok(()),
    })
}

/// Has `check` look at each parameter of a body. It gets a scanner of its own.
fn read_control(body: &[u8], check: impl Fn(&str, &mut Scanner<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let mut scanner = Scanner::of_bytes(body)?;
    if scanner.is_at_end() {
        return Ok(());
    }
    let mut member = scanner.open_object()?;
    while let Some(name) = member {
        match (name.as_ref(), scanner.peek()?) {
            ("parameters", JsonKind::Object) => {
                let mut parameter = scanner.open_object()?;
                while let Some(name) = parameter {
                    check(&name, &mut scanner.clone())?;
                    scanner.skip()?;
                    parameter = scanner.next_member()?;
                }
            }
            ("parameters", kind) if kind != JsonKind::Null => {
                return Err(expected(&mut scanner, "parameters", "an object"));
            }
            _ => {
                scanner.skip()?;
            }
        }
        member = scanner.next_member()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_load_could_bring_along_is_refused_and_hints_are_not() {
        for body in [
            "",
            " ",
            "{}",
            r#"{"parameters": {}}"#,
            r#"{"parameters": null}"#,
            r#"{"parameters": {"priority": [{"config": 1}]}, "config": {}}"#,
        ] {
            assert_eq!(parse_load(body.as_bytes()), Ok(()), "{body}");
            assert_eq!(parse_unload(body.as_bytes()), Ok(()), "{body}");
        }
        for (name, body) in [
            ("config", r#"{"parameters": {"config": "{\"name\": \"m\"}"}}"#),
            (
                "file:1/model.onnx",
                r#"{"x": 1, "parameters": {"y": 2, "file:1/model.onnx": "AAAA"}}"#,
            ),
        ] {
            let refused = parse_load(body.as_bytes()).expect_err("is refused").to_string();
            assert!(
                refused.starts_with(&format!("parameters[{name}]: is not taken")),
                "{refused}"
            );
        }
        for (body, problem) in [
            ("[]", "broken JSON"),
            ("{", "broken JSON"),
            (r#"{"parameters": []}"#, "parameters: expected an object"),
        ] {
            for refused in [parse_load(body.as_bytes()), parse_unload(body.as_bytes())] {
                let refused = refused.expect_err("is refused").to_string();
                assert!(refused.starts_with(problem), "{refused}");
            }
        }
        for truth in [true, false] {
            let body = json(truth);
            assert_eq!(parse_unload(body.as_bytes()), Ok(()));
        }
        let refused = parse_unload(json("yes").as_bytes()).expect_err("is refused");
        assert!(
            refused
                .to_string()
                .starts_with("parameters[unload_dependents]: expected true or false"),
            "{refused}"
        );
    }

    fn json(unload_dependents: impl Into<serde_json::Value>) -> String {
        let parameters = serde_json::json!({ "unload_dependents": unload_dependents.into() });
        serde_json::json!({ "parameters": parameters }).to_string()
    }
}
