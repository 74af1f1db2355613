//! A Parquet file from lines of JSON: the last step of an output in that format.
//!
//! A Parquet file has no beginning that stays valid: it cannot be gone on with after a kill. So the rows are written as JSON
//! lines, and put into columns when all are there. The types of the columns are those of all their values.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use crate::output::Lines;

/// Rows and bytes of JSON in memory at a time.
const ROWS_OF_GROUP: usize = 64 * 1024;
const BYTES_OF_GROUP: usize = 64 << 20;

/// What all values of a column are, null aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    Bool,
    Whole,
    Float,
    /// `NaN` or an infinity, which are strings in JSON lines: a float among numbers, text among text.
    Word,
    /// Also what is of several kinds, and lists, as JSON.
    Text,
}

impl Kind {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Unknown,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_i64() => Self::Whole,
            Value::Number(_) => Self::Float,
            Value::String(text) if word(text).is_some() => Self::Word,
            _ => Self::Text,
        }
    }

    fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, kind) | (kind, Self::Unknown) => kind,
            (one, other) if one == other => one,
            (Self::Whole | Self::Float | Self::Word, Self::Whole | Self::Float | Self::Word) => Self::Float,
            _ => Self::Text,
        }
    }
}

fn word(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Writes the rows of `from`, which `lines` wrote, to `to`.
pub fn write(mut from: &File, to: &File, lines: &Lines) -> io::Result<()> {
    let names = lines.names();
    let mut kinds = vec![Kind::Unknown; names.len()];
    from.seek(SeekFrom::Start(0))?;
    let mut rows = Rows::of(from);
    while let Some(mut row) = rows.next()? {
        for (kind, name) in kinds.iter_mut().zip(&names) {
            *kind = kind.with(Kind::of(&row.remove(*name).unwrap_or_default()));
        }
    }
    // The version is text even where all of them look like numbers.
    if let Some(version) = kinds.last_mut() {
        *version = Kind::Text;
    }
    from.seek(SeekFrom::Start(0))?;
    let columns: Vec<(&str, Kind)> = names.iter().copied().zip(kinds).collect();
    groups(from, to, &columns).map_err(io::Error::other)
}

fn groups(from: &File, to: &File, columns: &[(&str, Kind)]) -> Result<(), ParquetError> {
    let fields: Vec<_> = columns.iter().map(field).collect::<Result<_, _>>()?;
    let schema = Type::group_type_builder("rows").with_fields(fields).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(to.try_clone()?, Arc::new(schema), Arc::new(properties))?;
    let mut rows = Rows::of(from);
    loop {
        let start = rows.bytes;
        let mut values: Vec<Vec<Value>> = vec![Vec::new(); columns.len()];
        while values[0].len() < ROWS_OF_GROUP && rows.bytes - start < BYTES_OF_GROUP {
            let Some(mut row) = rows.next()? else { break };
            for (values, (name, _)) in values.iter_mut().zip(columns) {
                values.push(row.remove(*name).unwrap_or_default());
            }
        }
        if values[0].is_empty() {
            break;
        }
        let mut group = writer.next_row_group()?;
        for (values, (_, kind)) in values.into_iter().zip(columns) {
            column(&mut group, &values, *kind)?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn field((name, kind): &(&str, Kind)) -> Result<Arc<Type>, ParquetError> {
    let physical = match kind {
        Kind::Bool => Physical::BOOLEAN,
        Kind::Whole => Physical::INT64,
        Kind::Float => Physical::DOUBLE,
        Kind::Unknown | Kind::Word | Kind::Text => Physical::BYTE_ARRAY,
    };
    let text = (physical == Physical::BYTE_ARRAY).then_some(LogicalType::String);
    let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
    Ok(Arc::new(builder.with_logical_type(text).build()?))
}

fn column(group: &mut SerializedRowGroupWriter<'_, File>, values: &[Value], kind: Kind) -> Result<(), ParquetError> {
    match kind {
        Kind::Bool => typed::<BoolType>(group, values, Value::as_bool),
        Kind::Whole => typed::<Int64Type>(group, values, Value::as_i64),
        Kind::Float => typed::<DoubleType>(group, values, |value| value.as_f64().or_else(|| word(value.as_str()?))),
        Kind::Unknown | Kind::Word | Kind::Text => typed::<ByteArrayType>(group, values, |value| match value {
            Value::Null => None,
            Value::String(text) => Some(ByteArray::from(text.as_str())),
            other => Some(ByteArray::from(other.to_string().as_str())),
        }),
    }
}

fn typed<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[Value],
    read: impl Fn(&Value) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let read: Vec<Option<T::T>> = values.iter().map(read).collect();
    let levels: Vec<i16> = read.iter().map(|value| i16::from(value.is_some())).collect();
    let present: Vec<T::T> = read.into_iter().flatten().collect();
    let missing = || ParquetError::General("more values than columns".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(&present, Some(&levels), None)?;
    column.close()
}

/// The lines of JSON, each an object.
struct Rows<'f> {
    reader: BufReader<&'f File>,
    line: String,
    bytes: usize,
}

impl<'f> Rows<'f> {
    fn of(file: &'f File) -> Self {
        Self {
            reader: BufReader::new(file),
            line: String::new(),
            bytes: 0,
        }
    }

    fn next(&mut self) -> io::Result<Option<Map<String, Value>>> {
        self.line.clear();
        let read = self.reader.read_line(&mut self.line)?;
        self.bytes += read;
        match read {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&self.line)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_the_type_of_all_its_values() {
        let kind = |json: &str| {
            let values: Vec<Value> = serde_json::from_str(json).expect("a list");
            values.iter().map(Kind::of).fold(Kind::Unknown, Kind::with)
        };
        for (values, expected) in [
            ("[null, 1, -2]", Kind::Whole),
            ("[1, 2.5]", Kind::Float),
            ("[1, 18446744073709551615]", Kind::Float),
            ("[2.5, \"NaN\"]", Kind::Float),
            ("[\"NaN\", \"a\"]", Kind::Text),
            ("[true, null]", Kind::Bool),
            ("[true, 1]", Kind::Text),
            ("[[1]]", Kind::Text),
        ] {
            assert_eq!(kind(values), expected, "{values}");
        }
    }
}
