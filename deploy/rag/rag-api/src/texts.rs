//! The file of texts, a vector for each of them, and which of them are nearest to a question.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};

/// Each query reads every vector: 10 000 of 384 numbers are 15 MB and some milliseconds of CPU.
const MOST_TEXTS: usize = 10_000;
/// Longer ones would lose their end in a model's 256 tokens anyway.
const LONGEST_TEXT: usize = 8 << 10;

/// A file of texts that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TextsError {
    #[error("{path}: cannot be read: {1}", path = _0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("{}: has {found} bytes, more than MAX_TEXTS_BYTES, {limit}", path.display())]
    TooLarge { path: PathBuf, found: u64, limit: u64 },
    #[error("{}:{line}: the text has {found} bytes, more than {LONGEST_TEXT}", path.display())]
    TooLong { path: PathBuf, line: usize, found: usize },
    #[error("{path}: has more than {MOST_TEXTS} texts", path = _0.display())]
    TooMany(PathBuf),
    #[error("{path}: has no text", path = _0.display())]
    None(PathBuf),
}

/// The texts of `path`, one a line; blank lines and those that begin with `#` are passed over.
pub fn read(path: &Path, limit: u64) -> Result<Vec<String>, TextsError> {
    let unreadable = |error| TextsError::Unreadable(path.to_owned(), error);
    let found = std::fs::metadata(path).map_err(unreadable)?.len();
    if found > limit {
        let path = path.to_owned();
        return Err(TextsError::TooLarge { path, found, limit });
    }
    parse(path, &std::fs::read_to_string(path).map_err(unreadable)?)
}

fn parse(path: &Path, file: &str) -> Result<Vec<String>, TextsError> {
    let mut texts = Vec::new();
    for (at, line) in file.lines().enumerate() {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if text.len() > LONGEST_TEXT {
            return Err(TextsError::TooLong {
                path: path.to_owned(),
                line: at + 1,
                found: text.len(),
            });
        }
        if texts.len() == MOST_TEXTS {
            return Err(TextsError::TooMany(path.to_owned()));
        }
        texts.push(text.to_owned());
    }
    match texts.is_empty() {
        true => Err(TextsError::None(path.to_owned())),
        false => Ok(texts),
    }
}

/// The texts with their vectors.
#[derive(Debug)]
pub struct Index {
    texts: Vec<String>,
    /// One after the other, `width` numbers each.
    vectors: Vec<f32>,
    width: usize,
}

/// A text that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passage<'a> {
    /// Its number among the texts, from 1.
    pub id: usize,
    /// The dot product of its vector and the question's: the cosine of the angle between them.
    pub score: f32,
    pub text: &'a str,
}

impl Index {
    /// # Panics
    /// When there is not one vector of the same width for each text.
    pub fn new(texts: Vec<String>, vectors: &[Vec<f32>]) -> Self {
        let width = vectors.first().map_or(0, Vec::len);
        assert!(texts.len() == vectors.len() && vectors.iter().all(|vector| vector.len() == width));
        Self {
            texts,
            vectors: vectors.concat(),
            width,
        }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of texts, of which there is at least one.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// The `most` texts nearest to `question`, best first; of equally near ones the first.
    pub fn nearest(&self, question: &[f32], most: usize) -> Vec<Passage<'_>> {
        let mut best: Vec<Passage<'_>> = Vec::with_capacity(most + 1);
        for ((at, text), vector) in self.texts.iter().enumerate().zip(self.vectors.chunks_exact(self.width)) {
            let score: f32 = vector.iter().zip(question).map(|(a, b)| a * b).sum();
            let is_better = |worse: &Passage<'_>| worse.score.total_cmp(&score) == Ordering::Less;
            let place = best.iter().position(is_better).unwrap_or(best.len());
            if place < most {
                best.insert(
                    place,
                    Passage {
                        id: at + 1,
                        score,
                        text,
                    },
                );
                best.truncate(most);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> &'static Path {
        Path::new("texts.txt")
    }

    #[test]
    fn a_text_is_a_line() {
        let file = "# about pods\nA pod is small.\n\n  A node is large.  \r\n";
        assert_eq!(
            parse(path(), file).expect("texts"),
            ["A pod is small.", "A node is large."]
        );
    }

    #[test]
    fn what_is_over_a_limit_is_named_with_its_place() {
        let long = format!("short\n{}\n", "x".repeat(LONGEST_TEXT + 1));
        for (file, expected) in [
            (long.as_str(), "texts.txt:2: the text has 8193 bytes, more than 8192"),
            (
                "x\n".repeat(MOST_TEXTS + 1).as_str(),
                "texts.txt: has more than 10000 texts",
            ),
            ("# nothing\n\n", "texts.txt: has no text"),
        ] {
            assert_eq!(parse(path(), file).expect_err("a fault").to_string(), expected);
        }
        let scratch = shared::test_util::Scratch::new("texts");
        let file = scratch.file("texts.txt", "12345");
        let error = read(&file, 4).expect_err("too large").to_string();
        assert!(error.ends_with("has 5 bytes, more than MAX_TEXTS_BYTES, 4"), "{error}");
        let error = read(Path::new("/nowhere/t"), 4).expect_err("no file").to_string();
        assert!(error.starts_with("/nowhere/t: cannot be read"), "{error}");
    }

    #[test]
    fn the_nearest_come_first_and_equals_in_their_order() {
        let texts = ["east", "north", "east again", "north-east", "west"].map(str::to_owned);
        let vectors = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.7, 0.7], [-1.0, 0.0]].map(Vec::from);
        let index = Index::new(texts.to_vec(), &vectors);
        let found = |most| -> Vec<usize> {
            let nearest = index.nearest(&[1.0, 0.1], most);
            nearest.iter().map(|passage| passage.id).collect()
        };
        assert_eq!(found(3), [1, 3, 4]);
        assert_eq!(found(9), [1, 3, 4, 2, 5]);
        assert_eq!(
            index.nearest(&[0.0, 2.0], 1)[0],
            Passage {
                id: 2,
                score: 2.0,
                text: "north"
            }
        );
    }
}
