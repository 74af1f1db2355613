//! The input, read row by row in bounded memory.
//!
//! Every format gives the same: the layout of its columns, which follows from the options and the beginning of the file alone,
//! and then entries from any position on.

mod csv;
mod json_lines;
mod lines;
#[cfg(feature = "parquet")]
mod parquet;
mod rows;

use std::fs::File;

use crate::layout::Wanted;
use crate::row::Position;

pub use csv::Csv;
pub use json_lines::JsonLines;
#[cfg(feature = "parquet")]
pub use parquet::Parquet;
pub use rows::{InputError, Rows};

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
