//! Rows of the input, and the places they are named by.

/// The place of a row in the input, as its rejection names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1, without a header and empty lines.
    pub row: u64,
    /// The line that the row begins in, counted from 1. A Parquet file has none.
    pub line: Option<u64>,
}

/// A row that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub place: Place,
    /// The value of each column as JSON, in the order of the layout's names. `NaN`, `Infinity` and `-Infinity` are bare words.
    pub cells: Vec<String>,
}

/// A row that cannot be scored, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    pub place: Place,
    pub reason: String,
}

/// What stands at one place of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Row(Row),
    Bad(BadRow),
}

impl Entry {
    pub fn bad(place: Place, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::Bad(BadRow { place, reason })
    }

    /// Bytes of its values, for the limit of a request.
    pub fn size(&self) -> usize {
        match self {
            Self::Row(row) => row.cells.iter().map(|cell| cell.len() + 1).sum(),
            Self::Bad(_) => 0,
        }
    }
}

/// How far the input has been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Bytes; 0 for a Parquet file, which is read by rows.
    pub offset: u64,
    /// Rows, the bad ones with them.
    pub rows: u64,
    /// Lines.
    pub lines: u64,
}
