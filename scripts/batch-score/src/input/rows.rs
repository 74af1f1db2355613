//! What every format gives: rows, or the reason why there are none.

use std::io;

use crate::layout::{Layout, LayoutError};
use crate::row::{Entry, Position};

/// The input cannot be read on. What is wrong with one row is no error of this kind.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("{0}")]
    Header(String),
    #[cfg(feature = "parquet")]
    #[error("{0}")]
    Parquet(String),
    #[error("the file is UTF-16; batch-score reads UTF-8")]
    Utf16,
}

/// The rows of an input from a position on.
pub trait Rows: Send {
    fn layout(&self) -> &Layout;
    /// The next entry; `None` at the end.
    fn next(&mut self) -> Result<Option<Entry>, InputError>;
    /// Where the next entry will be looked for.
    fn position(&self) -> Position;
}
