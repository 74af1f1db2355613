//! Texts into the tokens of a BERT model: the uncased tokenizer of MiniLM and its kin.
//!
//! ```text
//! "Pods, désolé!"  ─► clean ─► without accents, in lower case ─► words and punctuation ─► longest pieces of the vocabulary
//!                              pods , desole !                    [CLS] pod ##s , des ##ole ! [SEP]
//! ```
//!
//! The same as Hugging Face's `BertTokenizer` with `do_lower_case`. Written here because the `tokenizers` crate brings some
//! seventy others (regular expressions, thread pools, random numbers) for tokenizers of every kind.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};

/// Tokens of one text, `[CLS]` and `[SEP]` included: what the MiniLM models were trained with. What is beyond them is cut off.
pub const MOST_TOKENS: usize = 256;
/// BERT's own vocabularies have a quarter of a MiB, multilingual ones one.
const LARGEST_FILE: u64 = 8 << 20;
const MOST_ENTRIES: usize = 1 << 20;
/// A longer word is unknown as a whole, as in BERT: nobody's vocabulary has pieces of it.
const LONGEST_WORD: usize = 100;

/// A vocabulary that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    #[error("{path}: cannot be read: {1}", path = _0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("{path}: has {1} bytes, more than {LARGEST_FILE}", path = _0.display())]
    TooLarge(PathBuf, u64),
    #[error("{path}: has more than {MOST_ENTRIES} lines", path = _0.display())]
    TooMany(PathBuf),
    #[error("{path}: has no line {1}, which a BERT vocabulary has", path = _0.display())]
    Missing(PathBuf, &'static str),
}

/// The pieces of words that a model knows, and the numbers that it knows them by.
#[derive(Debug)]
pub struct Vocabulary {
    ids: HashMap<Box<str>, u32>,
    /// Fills up the shorter texts of a batch.
    pub padding: u32,
    unknown: u32,
    begin: u32,
    end: u32,
}

impl Vocabulary {
    /// Reads `vocab.txt`: a piece a line, whose number is the line's.
    pub fn read(path: &Path) -> Result<Self, VocabularyError> {
        let unreadable = |error| VocabularyError::Unreadable(path.to_owned(), error);
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > LARGEST_FILE {
            return Err(VocabularyError::TooLarge(path.to_owned(), length));
        }
        Self::parse(path, &std::fs::read_to_string(path).map_err(unreadable)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, VocabularyError> {
        let mut ids = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            if number == MOST_ENTRIES {
                return Err(VocabularyError::TooMany(path.to_owned()));
            }
            ids.insert(Box::from(line.trim_end()), number as u32);
        }
        let id = |piece: &'static str| {
            let known = ids.get(piece).copied();
            known.ok_or_else(|| VocabularyError::Missing(path.to_owned(), piece))
        };
        Ok(Self {
            padding: id("[PAD]")?,
            unknown: id("[UNK]")?,
            begin: id("[CLS]")?,
            end: id("[SEP]")?,
            ids,
        })
    }

    /// The tokens of `text`, at most [`MOST_TOKENS`].
    pub fn tokens(&self, text: &str) -> Vec<u32> {
        let mut tokens = vec![self.begin];
        for word in words(text) {
            self.add_pieces(&word, &mut tokens);
            if tokens.len() >= MOST_TOKENS {
                break;
            }
        }
        tokens.truncate(MOST_TOKENS - 1);
        tokens.push(self.end);
        tokens
    }

    /// Adds the longest known pieces of `word`, or one token for all of it when some part of it is unknown.
    fn add_pieces(&self, word: &str, tokens: &mut Vec<u32>) {
        let before = tokens.len();
        let mut begin = 0;
        let mut piece = String::new();
        while begin < word.len() && word.chars().count() <= LONGEST_WORD {
            let prefix = if begin == 0 { "" } else { "##" };
            let ends = word[begin..].char_indices().map(|(at, c)| begin + at + c.len_utf8());
            let found = ends.rev().find_map(|end| {
                piece.clear();
                piece.push_str(prefix);
                piece.push_str(&word[begin..end]);
                self.ids.get(piece.as_str()).map(|id| (*id, end))
            });
            let Some((id, end)) = found else { break };
            tokens.push(id);
            begin = end;
        }
        if begin < word.len() {
            tokens.truncate(before);
            tokens.push(self.unknown);
        }
    }
}

/// The words and signs of a text, without accents and in lower case.
fn words(text: &str) -> Vec<String> {
    let decomposed = DecomposingNormalizerBorrowed::new_nfd();
    let categories = CodePointMapData::<GeneralCategory>::new();
    let mut words = vec![String::new()];
    for c in decomposed.normalize(text).chars() {
        let category = categories.get(c);
        if is_space(c, category) {
            words.push(String::new());
        } else if is_left_out(c, category) {
        } else if is_sign(c, category) || is_ideograph(c) {
            words.extend([c.to_lowercase().collect(), String::new()]);
        } else if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_space(c: char, category: GeneralCategory) -> bool {
    matches!(c, '\t' | '\n' | '\r') || category == GeneralCategory::SpaceSeparator
}

/// Accents, control characters and what stands for something that could not be read.
fn is_left_out(c: char, category: GeneralCategory) -> bool {
    c == '\u{fffd}' || category == GeneralCategory::NonspacingMark || GeneralCategoryGroup::Other.contains(category)
}

/// Unicode's punctuation, and all of ASCII that is neither a letter nor a digit.
fn is_sign(c: char, category: GeneralCategory) -> bool {
    c.is_ascii_punctuation() || GeneralCategoryGroup::Punctuation.contains(category)
}

/// The blocks of CJK ideographs that BERT takes apart.
fn is_ideograph(c: char) -> bool {
    matches!(u32::from(c),
        0x4e00..=0x9fff | 0x3400..=0x4dbf | 0x20000..=0x2a6df | 0x2a700..=0x2b73f | 0x2b740..=0x2b81f
        | 0x2b820..=0x2ceaf | 0xf900..=0xfaff | 0x2f800..=0x2fa1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECES: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\npod\n##s\n##es\n,\ndesole\n!\n木\nun\n##aff\n##able\n";

    fn vocabulary() -> Vocabulary {
        Vocabulary::parse(Path::new("vocab.txt"), PIECES).expect("a vocabulary")
    }

    fn pieces(text: &str) -> Vec<&'static str> {
        let known: Vec<&str> = PIECES.lines().collect();
        vocabulary().tokens(text).iter().map(|id| known[*id as usize]).collect()
    }

    #[test]
    fn words_are_taken_apart_as_bert_does() {
        for (text, expected) in [
            ("", &["[CLS]", "[SEP]"][..]),
            ("Pods, DÉSOLÉ!", &["[CLS]", "pod", "##s", ",", "desole", "!", "[SEP]"]),
            ("unaffable", &["[CLS]", "un", "##aff", "##able", "[SEP]"]),
            ("pod\u{a0}pod\tpod", &["[CLS]", "pod", "pod", "pod", "[SEP]"]),
            ("p\u{0}od\u{200b}s", &["[CLS]", "pod", "##s", "[SEP]"]),
            ("pod木pod", &["[CLS]", "pod", "木", "pod", "[SEP]"]),
            ("poden pod", &["[CLS]", "[UNK]", "pod", "[SEP]"]),
        ] {
            assert_eq!(pieces(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_off_and_a_long_word_is_unknown() {
        let tokens = vocabulary().tokens(&"pods ".repeat(1000));
        assert_eq!((tokens.len(), tokens.last()), (MOST_TOKENS, Some(&3)));
        assert_eq!(pieces(&"s".repeat(LONGEST_WORD + 1)), ["[CLS]", "[UNK]", "[SEP]"]);
    }

    #[test]
    fn a_file_that_is_no_vocabulary_is_named_with_what_is_missing() {
        let error = Vocabulary::parse(Path::new("v.txt"), "[PAD]\n[UNK]\n[CLS]\n").expect_err("no [SEP]");
        assert_eq!(
            error.to_string(),
            "v.txt: has no line [SEP], which a BERT vocabulary has"
        );
        let error = Vocabulary::read(Path::new("/nowhere/vocab.txt")).expect_err("no file");
        assert!(
            error.to_string().starts_with("/nowhere/vocab.txt: cannot be read"),
            "{error}"
        );
    }
}
