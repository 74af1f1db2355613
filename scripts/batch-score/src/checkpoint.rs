//! The checkpoint beside the output: how far the rows of which input, with which options, have been written.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::row::Position;

/// Changes with the meaning of a member.
const FORMAT: u32 = 1;
/// A checkpoint has a few hundred bytes.
const LARGEST: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    pub format: u32,
    pub input: Mark,
    /// The options that the output depends on.
    pub options: Map<String, Value>,
    pub position: Position,
    pub output_bytes: u64,
    pub rejected_bytes: u64,
    pub scored: u64,
    pub rejected: u64,
    /// Whether the input is at its end, and only the output's name is missing.
    pub is_whole: bool,
}

/// What the content of the input is known by. Not by its times: the volume of a new pod may have others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    pub bytes: u64,
    pub sha256: String,
}

impl Mark {
    /// Reads the file to its end.
    pub fn of(mut file: &File) -> io::Result<Self> {
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; 256 * 1024];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            context.update(&buffer[..read]);
            bytes += read as u64;
        }
        let digest = context.finish();
        let sha256 = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { bytes, sha256 })
    }
}

/// A checkpoint that another run left cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot read it: {0}")]
    Unreadable(io::Error),
    #[error("it is no checkpoint of this program: {0}")]
    Invalid(String),
    #[error("the input has changed since: it had {} bytes and SHA-256 {}, and has {} and {}", .before.bytes, short(.before), .now.bytes, short(.now))]
    Input { before: Mark, now: Mark },
    #[error("it was made with other options: {0}")]
    Options(String),
    #[error("{0}")]
    Files(String),
}

fn short(mark: &Mark) -> &str {
    mark.sha256.get(..12).unwrap_or(&mark.sha256)
}

impl Checkpoint {
    /// The checkpoint of a run that has not begun.
    pub fn new(input: Mark, options: Map<String, Value>) -> Self {
        Self {
            format: FORMAT,
            input,
            options,
            position: Position::default(),
            output_bytes: 0,
            rejected_bytes: 0,
            scored: 0,
            rejected: 0,
            is_whole: false,
        }
    }

    /// Reads the checkpoint at `path`, if there is one.
    pub fn read(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CheckpointError::Unreadable(error)),
        };
        let mut text = String::new();
        let read = file.take(LARGEST).read_to_string(&mut text);
        read.map_err(CheckpointError::Unreadable)?;
        let checkpoint: Self =
            serde_json::from_str(&text).map_err(|error| CheckpointError::Invalid(error.to_string()))?;
        match checkpoint.format {
            FORMAT => Ok(Some(checkpoint)),
            other => Err(CheckpointError::Invalid(format!(
                "format {other}, and this one writes {FORMAT}"
            ))),
        }
    }

    /// Fails when it is not of this input and these options.
    pub fn expect(&self, input: &Mark, options: &Map<String, Value>) -> Result<(), CheckpointError> {
        if self.input != *input {
            return Err(CheckpointError::Input {
                before: self.input.clone(),
                now: input.clone(),
            });
        }
        let names = self.options.keys().chain(options.keys());
        let mut differing: Vec<String> = Vec::new();
        for name in names.filter(|name| self.options.get(*name) != options.get(*name)) {
            let show = |value: Option<&Value>| value.unwrap_or(&Value::Null).to_string();
            let text = format!(
                "{name} was {}, and is {}",
                show(self.options.get(name)),
                show(options.get(name))
            );
            if !differing.contains(&text) {
                differing.push(text);
            }
        }
        match differing.is_empty() {
            true => Ok(()),
            false => Err(CheckpointError::Options(differing.join("; "))),
        }
    }

    /// Writes it to `path`, whole or not at all.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("checkpoint.new");
        let mut file = File::create(&new)?;
        let text = serde_json::to_string(self)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_data()?;
        fs::rename(&new, path)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::test_util::Scratch;

    use super::*;

    fn options(url: &str) -> Map<String, Value> {
        json!({"url": url, "keep": null})
            .as_object()
            .expect("an object")
            .clone()
    }

    fn checkpoint() -> Checkpoint {
        let mark = Mark {
            bytes: 3,
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned(),
        };
        Checkpoint::new(mark, options("http://a/"))
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let scratch = Scratch::new("checkpoint");
        let path = scratch.path().join("scores.csv.checkpoint");
        assert_eq!(Checkpoint::read(&path).expect("none"), None);
        let mut checkpoint = checkpoint();
        checkpoint.position.offset = u64::MAX;
        checkpoint.write(&path).expect("written");
        assert_eq!(Checkpoint::read(&path).expect("readable"), Some(checkpoint));
        assert_eq!(fs::read_dir(scratch.path()).expect("a directory").count(), 1);
        for text in ["", "{}", "{\"format\":2}"] {
            fs::write(&path, text).expect("written");
            assert!(
                matches!(Checkpoint::read(&path), Err(CheckpointError::Invalid(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn another_input_and_other_options_are_named() {
        let scratch = Scratch::new("checkpoint");
        let mark = |content| Mark::of(&File::open(scratch.file("x", content)).expect("a file")).expect("a mark");
        let checkpoint = checkpoint();
        checkpoint
            .expect(&mark("abc"), &options("http://a/"))
            .expect("the same");
        let other = checkpoint
            .expect(&mark("abd"), &options("http://a/"))
            .expect_err("another input");
        assert!(
            other
                .to_string()
                .contains("it had 3 bytes and SHA-256 ba7816bf8f01, and has 3 and a52d159f262b"),
            "{other}"
        );
        let other = checkpoint
            .expect(&mark("abc"), &options("http://b/"))
            .expect_err("another URL");
        assert_eq!(
            other.to_string(),
            "it was made with other options: url was \"http://a/\", and is \"http://b/\""
        );
    }
}
