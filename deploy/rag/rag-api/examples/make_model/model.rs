//! A model with the inputs and the output of MiniLM, whose weights are fixed by the texts.
//!
//! ```text
//! input_ids ─► one vector a token ─► those of the mask ─► their mean ─► of length 1 ─► sentence_embedding
//! ```
//!
//! It has MiniLM's form and none of its learning: a word's vector is a fixed one of no meaning, shorter for a word of many
//! texts, and there is no attention between them. So it finds passages by the words that they share with the question.

use std::collections::BTreeMap;

/// The length of a vector. MiniLM's have 384.
const WIDTH: usize = 96;
/// Pieces of words are in every text, and say little.
const PIECE_WEIGHT: f32 = 0.05;
/// Words that say nothing about a text's subject.
const STOP_WORDS: &str = "a all also an and any are as at be by can do does for from has have how i in is it its me my not of on one or \
     that the their them then there these they this to was what when where which who why will with you your";
const STOP_WORD_WEIGHT: f32 = 0.02;

pub(crate) struct Made {
    /// A piece a line.
    pub(crate) vocabulary: String,
    pub(crate) onnx: Vec<u8>,
}

pub(crate) fn make(texts: &str) -> Made {
    let texts: Vec<&str> = texts.lines().filter(|line| !line.starts_with('#')).collect();
    let mut in_texts: BTreeMap<String, usize> = BTreeMap::new();
    for text in &texts {
        let lower = text.to_lowercase();
        let mut words: Vec<&str> = lower
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        words.sort_unstable();
        words.dedup();
        for word in words {
            *in_texts.entry(word.to_owned()).or_default() += 1;
        }
    }
    let mut pieces: Vec<(String, f32)> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        .map(|piece| (piece.to_owned(), 0.0))
        .into();
    let letters = ('0'..='9').chain('a'..='z');
    let singles = letters
        .clone()
        .filter(|letter| !in_texts.contains_key(&letter.to_string()));
    pieces.extend(singles.map(|letter| (letter.to_string(), PIECE_WEIGHT)));
    pieces.extend(letters.map(|letter| (format!("##{letter}"), PIECE_WEIGHT)));
    // A word in a few texts tells them from the others.
    pieces.extend(in_texts.into_iter().map(|(word, texts)| {
        let weight = match STOP_WORDS.split(' ').any(|stop| stop == word) {
            true => STOP_WORD_WEIGHT,
            false => (1.0 / texts as f32).sqrt(),
        };
        (word, weight)
    }));
    let vocabulary = pieces.iter().map(|(piece, _)| format!("{piece}\n")).collect();
    let weights = pieces
        .iter()
        .flat_map(|(piece, weight)| vector(piece).map(move |number| number * weight));
    Made {
        vocabulary,
        onnx: onnx(pieces.len(), &weights.collect::<Vec<f32>>()),
    }
}

/// A vector of length about 1 that depends on nothing but the piece: SplitMix64, from an FNV hash.
fn vector(piece: &str) -> [f32; WIDTH] {
    let hash = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut state = piece.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    let length = (WIDTH as f32 / 3.0).sqrt();
    std::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // 24 bits are what a float holds exactly: from -1 to 1.
        let number = (mixed >> 40) as f32 / (1 << 23) as f32 - 1.0;
        number / length
    })
}

const FLOAT: u64 = 1;
const INT64: u64 = 7;

/// The file, of ONNX's messages (onnx.proto) as far as this graph needs them.
fn onnx(pieces: usize, weights: &[f32]) -> Vec<u8> {
    let nodes = [
        node("Gather", &["words", "input_ids"], "tokens", &[]),
        node("Cast", &["attention_mask"], "mask", &[int_attribute("to", FLOAT)]),
        node("Unsqueeze", &["mask", "last"], "masks", &[]),
        node("Mul", &["tokens", "masks"], "masked", &[]),
        node(
            "ReduceSum",
            &["masked", "second"],
            "sum",
            &[int_attribute("keepdims", 0)],
        ),
        node("Mul", &["sum", "sum"], "squares", &[]),
        node(
            "ReduceSum",
            &["squares", "second"],
            "square",
            &[int_attribute("keepdims", 1)],
        ),
        node("Sqrt", &["square"], "length", &[]),
        node("Max", &["length", "tiny"], "divisor", &[]),
        node("Div", &["sum", "divisor"], "sentence_embedding", &[]),
    ];
    let floats = |numbers: &[f32]| -> Vec<u8> { numbers.iter().flat_map(|number| number.to_le_bytes()).collect() };
    let whole = |number: i64| number.to_le_bytes();
    let constants = [
        constant("words", FLOAT, &[pieces as u64, WIDTH as u64], &floats(weights)),
        constant("last", INT64, &[1], &whole(2)),
        constant("second", INT64, &[1], &whole(1)),
        constant("tiny", FLOAT, &[1], &floats(&[1e-12])),
    ];
    let graph = [
        nodes.concat(),
        bytes(2, "minilm"),
        constants.concat(),
        bytes(11, value("input_ids", INT64, &[name("batch"), name("length")])),
        bytes(11, value("attention_mask", INT64, &[name("batch"), name("length")])),
        bytes(
            12,
            value("sentence_embedding", FLOAT, &[name("batch"), number(1, WIDTH as u64)]),
        ),
    ]
    .concat();
    let operators = [bytes(1, ""), number(2, 17)].concat();
    [
        number(1, 8),
        bytes(2, "make_model"),
        bytes(7, graph),
        bytes(8, operators),
    ]
    .concat()
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let inputs: Vec<Vec<u8>> = inputs.iter().map(|input| bytes(1, input)).collect();
    let attributes: Vec<Vec<u8>> = attributes.iter().map(|attribute| bytes(5, attribute)).collect();
    let message = [
        inputs.concat(),
        bytes(2, output),
        bytes(3, output),
        bytes(4, operator),
        attributes.concat(),
    ];
    bytes(1, message.concat())
}

fn int_attribute(name: &str, value: u64) -> Vec<u8> {
    [bytes(1, name), number(3, value), number(20, 2)].concat()
}

fn constant(name: &str, element: u64, dims: &[u64], raw: &[u8]) -> Vec<u8> {
    let dims: Vec<Vec<u8>> = dims.iter().map(|dim| number(1, *dim)).collect();
    bytes(
        5,
        [dims.concat(), number(2, element), bytes(8, name), bytes(9, raw)].concat(),
    )
}

fn value(name: &str, element: u64, dims: &[Vec<u8>]) -> Vec<u8> {
    let dims: Vec<Vec<u8>> = dims.iter().map(|dim| bytes(1, dim)).collect();
    let tensor = [number(1, element), bytes(2, dims.concat())].concat();
    [bytes(1, name), bytes(2, bytes(1, tensor))].concat()
}

/// A dimension of any length.
fn name(dimension: &str) -> Vec<u8> {
    bytes(2, dimension)
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}
