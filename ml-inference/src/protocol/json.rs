//! JSON as all protocols read and write it: text into tensors and tensors into text, with no tree of values in between.

pub(super) mod scanner;
pub(super) mod tensor_reader;
pub(super) mod write;
