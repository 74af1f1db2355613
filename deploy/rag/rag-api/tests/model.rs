//! The model that is checked in is the one that `make_model` makes of the texts that are.

#[path = "../examples/make_model/model.rs"]
mod model;

use std::path::Path;

use rag_api::texts;
use rag_api::wordpiece::Vocabulary;

/// What Kubernetes takes in one ConfigMap, which all of it goes into.
const LARGEST_CONFIG_MAP: usize = 1 << 20;

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn the_files_of_deploy_rag_are_those_that_make_model_makes() {
    let file = |name: &str| std::fs::read(directory().join(name)).expect("is checked in");
    let texts = String::from_utf8(file("texts.txt")).expect("UTF-8");
    let made = model::make(&texts);
    let mend = "cargo run -p rag-api --example make_model -- deploy/rag";
    assert!(made.vocabulary.as_bytes() == file("vocab.txt"), "{mend}");
    assert!(made.onnx == file("minilm.onnx"), "{mend}");
    assert!(made.onnx.len() < LARGEST_CONFIG_MAP, "{}", made.onnx.len());
}

#[test]
fn every_word_of_the_texts_is_known() {
    let vocabulary = Vocabulary::read(&directory().join("vocab.txt")).expect("a vocabulary");
    let texts = texts::read(&directory().join("texts.txt"), 1 << 20).expect("texts");
    assert!(texts.len() >= 30, "{}", texts.len());
    let unknown = vocabulary.tokens("\u{2603}")[1];
    for text in texts {
        let words: String = text
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { ' ' })
            .collect();
        let tokens = vocabulary.tokens(&words);
        assert!(!tokens.contains(&unknown), "{text}");
        assert_eq!(tokens.len(), words.split_whitespace().count() + 2, "{text}");
    }
}
