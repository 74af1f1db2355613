//! Parquet, a page of each column at a time. Only the columns that are sent or kept are read.

use std::fs::File;
use std::sync::Arc;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use ::parquet::record::reader::{ReaderIter, TreeBuilder};
use ::parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};
use serde_json::Value;

use super::rows::{InputError, Rows};
use crate::layout::{Form, Layout, Wanted};
use crate::row::{Entry, Place, Position, Row};

pub struct Parquet {
    reader: SerializedFileReader<File>,
    /// What is read of the schema.
    schema: SchemaDescPtr,
    /// The place in the layout of each column that is read.
    places: Vec<usize>,
    layout: Layout,
    longest: usize,
    /// The next row group.
    group: usize,
    rows_of_group: Option<ReaderIter>,
    rows: u64,
    all_rows: u64,
    bytes: u64,
}

fn failed(error: ParquetError) -> InputError {
    InputError::Parquet(error.to_string())
}

impl Parquet {
    pub fn open(file: File, wanted: &Wanted, longest: usize, from: Position) -> Result<Self, InputError> {
        let bytes = file.metadata()?.len();
        let reader = SerializedFileReader::new(file).map_err(failed)?;
        let metadata = reader.metadata();
        let root = metadata.file_metadata().schema_descr().root_schema();
        let fields = root.get_fields();
        let names = fields.iter().map(|field| field.name().to_owned()).collect();
        let layout = Layout::new(names, Form::Object, wanted)?;
        let is_read = |at: &usize| layout.sent.contains(at) || layout.kept.contains(at);
        let places: Vec<usize> = (0..fields.len()).filter(is_read).collect();
        if let Some(&at) = places.iter().find(|&&at| !is_readable(&fields[at])) {
            let name = fields[at].name();
            return Err(InputError::Parquet(format!(
                "column {name:?} is neither a value nor a list of values"
            )));
        }
        let read: Vec<TypePtr> = places.iter().map(|&at| Arc::clone(&fields[at])).collect();
        let root = Type::group_type_builder(root.name()).with_fields(read).build();
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(root.map_err(failed)?)));
        let all_rows = metadata
            .row_groups()
            .iter()
            .map(|group| rows_of(group.num_rows()))
            .sum();
        let mut parquet = Self {
            reader,
            schema,
            places,
            layout,
            longest,
            group: 0,
            rows_of_group: None,
            rows: 0,
            all_rows,
            bytes,
        };
        parquet.skip(from.rows)?;
        Ok(parquet)
    }

    /// Passes over rows: whole groups without reading them.
    fn skip(&mut self, rows: u64) -> Result<(), InputError> {
        while self.group < self.reader.num_row_groups() {
            let in_group = rows_of(self.reader.metadata().row_group(self.group).num_rows());
            if self.rows + in_group > rows {
                break;
            }
            self.rows += in_group;
            self.group += 1;
        }
        while self.rows < rows && self.next()?.is_some() {}
        Ok(())
    }

    fn cells(&self, row: ::parquet::record::Row) -> Result<Vec<String>, String> {
        let mut cells = vec!["null".to_owned(); self.layout.names.len()];
        let mut size = 0;
        for (&place, (name, field)) in self.places.iter().zip(row.into_columns()) {
            let cell = json(&field).map_err(|reason| format!("column {name:?}: {reason}"))?;
            size += cell.len();
            cells[place] = cell;
        }
        match size <= self.longest {
            true => Ok(cells),
            false => Err(format!("longer than {} bytes (--max-row-bytes)", self.longest)),
        }
    }
}

/// A count that a file may claim to be negative.
fn rows_of(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// A value, or a list of them in one of the ways that lists are written.
fn is_readable(field: &Type) -> bool {
    if field.is_primitive() {
        return !is_repeated(field);
    }
    let [inner] = field.get_fields() else { return false };
    match is_repeated(inner) && field.get_basic_info().converted_type() == ::parquet::basic::ConvertedType::LIST {
        true if inner.is_primitive() => true,
        true => matches!(inner.get_fields(), [element] if !is_repeated(element) && is_readable(element)),
        false => false,
    }
}

fn is_repeated(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.has_repetition() && info.repetition() == ::parquet::basic::Repetition::REPEATED
}

impl Rows for Parquet {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn next(&mut self) -> Result<Option<Entry>, InputError> {
        let row = loop {
            if let Some(row) = self.rows_of_group.as_mut().and_then(Iterator::next) {
                break row.map_err(failed)?;
            }
            if self.group == self.reader.num_row_groups() {
                return Ok(None);
            }
            let group = self.reader.get_row_group(self.group).map_err(failed)?;
            let rows = TreeBuilder::new().as_iter(Arc::clone(&self.schema), &*group);
            self.rows_of_group = Some(rows.map_err(failed)?);
            self.group += 1;
        };
        self.rows += 1;
        let place = Place {
            row: self.rows,
            line: None,
        };
        Ok(Some(match self.cells(row) {
            Ok(cells) => Entry::Row(Row { place, cells }),
            Err(reason) => Entry::bad(place, reason),
        }))
    }

    /// The offset is the share of the rows, so that progress has a measure.
    fn position(&self) -> Position {
        let offset = u128::from(self.bytes) * u128::from(self.rows) / u128::from(self.all_rows.max(1));
        Position {
            offset: u64::try_from(offset).unwrap_or(self.bytes),
            rows: self.rows,
            lines: 0,
        }
    }
}

/// The JSON of a value. Decimals are numbers with all their digits; dates and times are text.
fn json(field: &Field) -> Result<String, String> {
    Ok(match field {
        Field::Null => "null".to_owned(),
        Field::Bool(value) => value.to_string(),
        Field::Byte(number) => number.to_string(),
        Field::Short(number) => number.to_string(),
        Field::Int(number) => number.to_string(),
        Field::Long(number) => number.to_string(),
        Field::UByte(number) => number.to_string(),
        Field::UShort(number) => number.to_string(),
        Field::UInt(number) => number.to_string(),
        Field::ULong(number) => number.to_string(),
        Field::Float16(number) => float(f64::from(*number), &format!("{:?}", f32::from(*number))),
        Field::Float(number) => float(f64::from(*number), &format!("{number:?}")),
        Field::Double(number) => float(*number, &format!("{number:?}")),
        Field::Decimal(_) => field.to_string(),
        Field::Str(text) => Value::from(text.as_str()).to_string(),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::from(text).to_string(),
            Err(_) => return Err("bytes that are no text".to_owned()),
        },
        Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_) => Value::from(field.to_string()).to_string(),
        Field::ListInternal(list) => {
            let elements: Vec<String> = list.elements().iter().map(json).collect::<Result<_, _>>()?;
            format!("[{}]", elements.join(","))
        }
        Field::Group(_) | Field::MapInternal(_) => return Err("neither a value nor a list of values".to_owned()),
    })
}

/// A float as its shortest `digits`, or the word for what is no number.
fn float(number: f64, digits: &str) -> String {
    match number {
        number if number.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
    use ::parquet::schema::parser::parse_message_type;
    use shared::test_util::Scratch;

    use super::*;
    use crate::layout::Keep;

    const WANTED: Wanted = Wanted {
        columns: None,
        text: Vec::new(),
        keep: Keep::None,
        form: None,
    };

    macro_rules! column {
        ($group:ident, $type:ty, $values:expr, $levels:expr, $repeats:expr) => {{
            let mut column = $group.next_column().expect("writes").expect("a column");
            column
                .typed::<$type>()
                .write_batch(&$values, $levels, $repeats)
                .expect("writes");
            column.close().expect("writes");
        }};
    }

    fn write(file: File, schema: &str, groups: &[fn(&mut SerializedRowGroupWriter<'_, File>)]) {
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(file, schema, properties).expect("writes");
        for write in groups {
            let mut group = writer.next_row_group().expect("writes");
            write(&mut group);
            group.close().expect("writes");
        }
        writer.close().expect("writes");
    }

    fn read(rows: &mut Parquet) -> Vec<String> {
        let mut entries = Vec::new();
        while let Some(entry) = rows.next().expect("reads") {
            entries.push(match entry {
                Entry::Row(row) => format!("{} {}", row.place.row, row.cells.join("|")),
                Entry::Bad(bad) => format!("{} bad: {}", bad.place.row, bad.reason),
            });
        }
        entries
    }

    const TYPES: &str = "message rows {
        required int32 i;
        required int64 u (UINT_64);
        required float f;
        optional double d;
        required boolean b;
        optional binary s (UTF8);
        required int32 c (DECIMAL(5, 2));
        required int32 t (DATE);
        optional group l (LIST) { repeated group list { required double element; } }
    }";

    #[test]
    fn every_type_becomes_json() {
        let scratch = Scratch::new("parquet");
        let path = scratch.path().join("rows.parquet");
        write(
            File::create(&path).expect("a file"),
            TYPES,
            &[|group| {
                column!(group, Int32Type, [1, -2], None, None);
                column!(group, Int64Type, [-1, 5], None, None);
                column!(group, FloatType, [0.1, f32::NAN], None, None);
                column!(group, DoubleType, [1e300], Some(&[1, 0]), None);
                column!(group, BoolType, [true, false], None, None);
                column!(group, ByteArrayType, [ByteArray::from("a \"b\"")], Some(&[1, 0]), None);
                column!(group, Int32Type, [12345, -5], None, None);
                column!(group, Int32Type, [0, 20000], None, None);
                column!(group, DoubleType, [1.0, 2.5], Some(&[2, 2, 1]), Some(&[0, 1, 0]));
            }],
        );
        let open = |wanted: &Wanted, longest| {
            let file = File::open(&path).expect("a file");
            Parquet::open(file, wanted, longest, Position::default()).expect("opens")
        };
        assert_eq!(
            read(&mut open(&WANTED, 1000)),
            [
                "1 1|18446744073709551615|0.1|1e300|true|\"a \\\"b\\\"\"|123.45|\"1970-01-01\"|[1.0,2.5]",
                "2 -2|5|NaN|null|false|null|-0.05|\"2024-10-04\"|[]",
            ]
        );
        let some = Wanted {
            columns: Some(vec!["d".to_owned(), "i".to_owned()]),
            ..WANTED
        };
        assert_eq!(
            read(&mut open(&some, 1000)),
            [
                "1 1|null|null|1e300|null|null|null|null|null",
                "2 -2|null|null|null|null|null|null|null|null"
            ]
        );
        assert_eq!(
            read(&mut open(&some, 5)),
            [
                "1 bad: longer than 5 bytes (--max-row-bytes)",
                "2 bad: longer than 5 bytes (--max-row-bytes)"
            ]
        );
    }

    #[test]
    fn any_position_leads_to_the_rest() {
        let scratch = Scratch::new("parquet");
        let path = scratch.path().join("rows.parquet");
        let groups: [fn(&mut SerializedRowGroupWriter<'_, File>); 3] = [
            |group| column!(group, Int64Type, [1, 2, 3], None, None),
            |group| column!(group, Int64Type, [], None, None),
            |group| column!(group, Int64Type, [4, 5], None, None),
        ];
        write(
            File::create(&path).expect("a file"),
            "message rows { required int64 x; }",
            &groups,
        );
        let all = ["1 1", "2 2", "3 3", "4 4", "5 5"];
        for rows in 0..=5_u64 {
            let from = Position {
                rows,
                ..Position::default()
            };
            let file = File::open(&path).expect("a file");
            let mut there = Parquet::open(file, &WANTED, 100, from).expect("opens");
            assert_eq!(there.position().rows, rows);
            assert_eq!(read(&mut there), all[rows as usize..]);
            assert_eq!(there.position().offset, there.bytes);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let scratch = Scratch::new("parquet");
        let open = |path| Parquet::open(File::open(path).expect("a file"), &WANTED, 100, Position::default());
        let text = open(scratch.file("text.parquet", "x\n1\n2\n3\n"))
            .err()
            .expect("no Parquet");
        assert!(matches!(text, InputError::Parquet(_)), "{text}");
        let path = scratch.path().join("struct.parquet");
        let schema = "message rows { required group g { required int32 a; } }";
        write(File::create(&path).expect("a file"), schema, &[]);
        let nested = open(path).err().expect("a struct");
        assert_eq!(
            nested.to_string(),
            "column \"g\" is neither a value nor a list of values"
        );
    }
}
