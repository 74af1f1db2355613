//! The input, read row by row in bounded memory.
//!
//! Every format gives the same: the layout of its columns, which follows from the options and the beginning of the file alone,
//! and then entries from any position on.

mod csv;
mod json_lines;
mod lines;
#[cfg(feature = "parquet")]
mod parquet;

use std::fs::File;
use std::io;

use crate::layout::{Layout, LayoutError, Wanted};
use crate::row::{Entry, Position};

pub use csv::Csv;
pub use json_lines::JsonLines;
#[cfg(feature = "parquet")]
pub use parquet::Parquet;

/// The format of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv {
        header: bool,
    },
    JsonLines,
    #[cfg(feature = "parquet")]
    Parquet,
}

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

/// Opens `file` at `from`. No row may have more than `longest` bytes.
pub fn open(
    file: File,
    format: Format,
    wanted: &Wanted,
    longest: usize,
    from: Position,
) -> Result<Box<dyn Rows>, InputError> {
    Ok(match format {
        Format::Csv { header } => Box::new(Csv::open(file, header, wanted, longest, from)?),
        Format::JsonLines => Box::new(JsonLines::open(file, wanted, longest, from)?),
        #[cfg(feature = "parquet")]
        Format::Parquet => Box::new(Parquet::open(file, wanted, longest, from)?),
    })
}
