//! Makes the small embedding model of deploy/rag from its texts, always the same: no download, nothing random.
//!
//!     cargo run -p rag-api --example make_model -- deploy/rag
//!
//! writes `minilm.onnx` and `vocab.txt` beside `texts.txt`.

mod model;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        return Err("usage: make_model DIRECTORY, which has texts.txt and gets minilm.onnx and vocab.txt".into());
    };
    let directory = PathBuf::from(directory);
    let texts = std::fs::read_to_string(directory.join("texts.txt"))?;
    let made = model::make(&texts);
    std::fs::write(directory.join("vocab.txt"), made.vocabulary)?;
    std::fs::write(directory.join("minilm.onnx"), made.onnx)?;
    Ok(())
}
