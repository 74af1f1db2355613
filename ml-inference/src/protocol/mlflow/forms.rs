//! The four forms of JSON input.
//!
//! `dataframe_split`, `dataframe_records` and `instances` have rows, `inputs` has columns.

use std::borrow::Cow;

use model_runtime::Signature;
use model_runtime::tensor::{Data, Tensor};

use super::super::json::scanner::{JsonKind, Scanner};
use super::super::json::tensor_reader::{TensorReader, shorten};
use super::error::Error;
use super::frame::{Frame, Names, fit};

/// The members of a request that have its input.
pub(super) const SPLIT: &str = "dataframe_split";
pub(super) const RECORDS: &str = "dataframe_records";
pub(super) const INSTANCES: &str = "instances";
pub(super) const INPUTS: &str = "inputs";

const COLUMNS: &str = "dataframe_split.columns";
const DATA: &str = "dataframe_split.data";

/// Member of an object, and where its value begins.
type Member<'b> = (Cow<'b, str>, Scanner<'b>);

/// `{"columns": […], "index": […], "data": [[…], …]}`, its members in any order.
pub(super) fn split(reader: &mut TensorReader<'_>, signature: &Signature) -> Result<Vec<Tensor>, Error> {
    expect(reader, JsonKind::Object, SPLIT, "an object with columns and data")?;
    let mut columns = None;
    let mut data = None;
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        match name.as_ref() {
            "columns" if columns.is_none() => columns = Some(read_columns(reader)?),
            "data" if data.is_none() => {
                data = Some(reader.scanner);
                reader.scanner.skip()?;
            }
            // The rows' names mean nothing to a model.
            "index" => {
                reader.scanner.skip()?;
            }
            "columns" | "data" => return Err(Error::member(format!("{SPLIT}.{name}"), "is given twice")),
            other => {
                let field = format!("{SPLIT}.{}", shorten(other));
                return Err(Error::member(
                    field,
                    "unknown member; known are columns, data and index",
                ));
            }
        }
        member = reader.scanner.next_member()?;
    }
    let end = reader.scanner;
    reader.scanner = data.ok_or_else(|| Error::member(DATA, "is missing"))?;
    let inputs = match (columns, signature.inputs.len()) {
        (Some(names), 2..) => rows_by_name(reader, &names, signature)?,
        (Some(names), _) => rows_of_one(reader, Some(names.count()), signature)?,
        (None, 2..) => {
            let problem = format!("is missing; the model has {} inputs", signature.inputs.len());
            return Err(Error::member(COLUMNS, problem));
        }
        (None, _) => rows_of_one(reader, None, signature)?,
    };
    reader.scanner = end;
    Ok(inputs)
}

/// Names, or the numbers that pandas gives to columns without.
fn read_columns(reader: &mut TensorReader<'_>) -> Result<Names, Error> {
    expect(reader, JsonKind::List, COLUMNS, "a list of names")?;
    let mut names = Names::default();
    let mut more = reader.scanner.open_list()?;
    while more {
        let field = || format!("{COLUMNS}[{}]", names.count());
        let name = match reader.scanner.peek()? {
            JsonKind::Text => reader.scanner.text()?,
            JsonKind::Number => Cow::Borrowed(reader.scanner.number()?.text),
            _ => {
                let found = reader.shown()?;
                return Err(Error::member(field(), format!("expected a name, found {found}")));
            }
        };
        let field = field();
        names.add(&name, reader.budget(), || field.clone())?;
        more = reader.scanner.next_element()?;
    }
    Ok(names)
}

/// Rows for a model of one input, whose values they are.
fn rows_of_one(
    reader: &mut TensorReader<'_>,
    columns: Option<usize>,
    signature: &Signature,
) -> Result<Vec<Tensor>, Error> {
    expect(reader, JsonKind::List, DATA, "a list of rows")?;
    let [spec] = signature.inputs.as_slice() else {
        return Err(Error::member(DATA, "the model has no input"));
    };
    let mut data = Data::zeros(spec.data_type, 0);
    let read = reader.value(&mut data);
    let shape = read.map_err(|error| Error::of_reading(at(DATA, reader), error))?;
    let [rows, found, rest @ ..] = shape.lengths() else {
        return Err(Error::member(format!("{DATA}[0]"), "expected a list of values"));
    };
    match columns {
        Some(columns) if columns != *found => Err(wrong_length(&format!("{DATA}[0]"), columns, *found)),
        // One column: of values, or of lists.
        _ if *found == 1 => Ok(vec![fit(spec, [&[*rows], rest].concat(), data)?]),
        _ => Ok(vec![fit(spec, shape.lengths().to_vec(), data)?]),
    }
}

fn wrong_length(field: &str, columns: usize, found: usize) -> Error {
    let problem = format!("expected {columns} values, as there are columns, found {found}");
    Error::member(field, problem)
}

fn rows_by_name(reader: &mut TensorReader<'_>, names: &Names, signature: &Signature) -> Result<Vec<Tensor>, Error> {
    let mut frame = Frame::new(names, signature, COLUMNS)?;
    expect(reader, JsonKind::List, DATA, "a list of rows")?;
    let mut row = 0;
    let mut more = open_rows(reader, DATA)?;
    while more {
        let field = format!("{DATA}[{row}]");
        expect(reader, JsonKind::List, &field, "a list of values")?;
        let mut found = 0;
        let mut value = reader.scanner.open_list()?;
        while value {
            if found < frame.columns() {
                add(&mut frame, reader, found, || format!("{field}[{found}]"))?;
            } else {
                reader.scanner.skip()?;
            }
            found += 1;
            value = reader.scanner.next_element()?;
        }
        if found != frame.columns() {
            return Err(wrong_length(&field, frame.columns(), found));
        }
        frame.end_row();
        row += 1;
        more = reader.scanner.next_element()?;
    }
    frame.finish()
}

/// `[{column: value}, …]`.
pub(super) fn records(reader: &mut TensorReader<'_>, signature: &Signature) -> Result<Vec<Tensor>, Error> {
    records_at(reader, RECORDS, signature)
}

/// A list of rows: objects, or values of a model of one input.
pub(super) fn instances(reader: &mut TensorReader<'_>, signature: &Signature) -> Result<Vec<Tensor>, Error> {
    expect(reader, JsonKind::List, INSTANCES, "a list of rows")?;
    let start = reader.scanner;
    let are_named = reader.scanner.open_list()? && reader.is_named()?;
    reader.scanner = start;
    match are_named {
        true => records_at(reader, INSTANCES, signature),
        false => whole(reader, INSTANCES, signature),
    }
}

fn records_at(reader: &mut TensorReader<'_>, at: &str, signature: &Signature) -> Result<Vec<Tensor>, Error> {
    expect(reader, JsonKind::List, at, "a list of objects")?;
    let mut row = 0;
    let mut table: Option<(Names, Frame<'_>)> = None;
    let mut more = open_rows(reader, at)?;
    while more {
        let field = format!("{at}[{row}]");
        expect(
            reader,
            JsonKind::Object,
            &field,
            "an object with a value for each column",
        )?;
        let (names, frame) = match &mut table {
            Some(table) => table,
            None => {
                let names = names_of(reader, &field)?;
                let frame = Frame::new(&names, signature, &field)?;
                table.insert((names, frame))
            }
        };
        record(reader, names, frame, &field)?;
        frame.end_row();
        row += 1;
        more = reader.scanner.next_element()?;
    }
    match table {
        Some((_, frame)) => frame.finish(),
        None => Err(Error::member(at, "is empty; give at least one row")),
    }
}

/// The names of the first record, which all others have too.
fn names_of(reader: &mut TensorReader<'_>, field: &str) -> Result<Names, Error> {
    let start = reader.scanner;
    let mut names = Names::default();
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        names.add(&name, reader.budget(), || field.to_owned())?;
        reader.scanner.skip()?;
        member = reader.scanner.next_member()?;
    }
    reader.scanner = start;
    Ok(names)
}

/// One row. Its members mostly come in the order of the first one's.
fn record(reader: &mut TensorReader<'_>, names: &Names, frame: &mut Frame<'_>, field: &str) -> Result<(), Error> {
    let mut column = 0;
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = &member {
        if column >= frame.columns() || *name != names.get(column) {
            break;
        }
        add(frame, reader, column, || format!("{field}.{}", shorten(name)))?;
        column += 1;
        member = reader.scanner.next_member()?;
    }
    if member.is_none() && column == frame.columns() {
        return Ok(());
    }
    let mut rest: Vec<Member<'_>> = Vec::new();
    while let Some(name) = member {
        if rest.len() >= frame.columns() {
            return Err(Error::member(
                format!("{field}.{}", shorten(&name)),
                "is one value too many",
            ));
        }
        let value = reader.scanner;
        reader.scanner.skip()?;
        rest.push((name, value));
        member = reader.scanner.next_member()?;
    }
    let end = reader.scanner;
    rest.sort_by(|(one, _), (other, _)| one.cmp(other));
    for missing in column..frame.columns() {
        let name = names.get(missing);
        let Ok(place) = rest.binary_search_by(|(known, _)| known.as_ref().cmp(name)) else {
            let problem = format!("the column `{}` is missing", shorten(name));
            return Err(Error::member(field, problem));
        };
        reader.scanner = rest[place].1;
        add(frame, reader, missing, || format!("{field}.{}", shorten(name)))?;
    }
    if rest.len() > frame.columns() - column {
        let is_expected = |name: &str| (column..frame.columns()).any(|known| names.get(known) == name);
        let unexpected = rest.iter().map(|(name, _)| name).find(|name| !is_expected(name));
        let name = unexpected.map_or("", |name| name.as_ref());
        let problem = "is not in the first row, or is given twice";
        return Err(Error::member(format!("{field}.{}", shorten(name)), problem));
    }
    reader.scanner = end;
    Ok(())
}

/// Columns: an object of named ones, or the values of a model of one input.
pub(super) fn inputs(reader: &mut TensorReader<'_>, signature: &Signature) -> Result<Vec<Tensor>, Error> {
    if !reader.is_named()? {
        return whole(reader, INPUTS, signature);
    }
    let start = reader.scanner;
    let mut names = Names::default();
    let mut starts = Vec::new();
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        names.add(&name, reader.budget(), || INPUTS.to_owned())?;
        starts.push(reader.scanner);
        reader.scanner.skip()?;
        member = reader.scanner.next_member()?;
    }
    let end = reader.scanner;
    let tensors = match signature.inputs.as_slice() {
        [spec] if names.count() > 1 || names.get(0) != spec.name => lockstep(reader, &names, starts, signature)?,
        _ => {
            // Says what is unknown or missing.
            Frame::new(&names, signature, INPUTS)?;
            reader.scanner = start;
            by_name(reader, signature)?
        }
    };
    reader.scanner = end;
    Ok(tensors)
}

/// Each input as a tensor of its own. The names are known to be those of the inputs.
fn by_name(reader: &mut TensorReader<'_>, signature: &Signature) -> Result<Vec<Tensor>, Error> {
    let mut named = Vec::with_capacity(signature.inputs.len());
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        let spec = signature.inputs.iter().find(|spec| spec.name == name);
        let field = format!("{INPUTS}.{name}");
        let spec = spec.ok_or_else(|| Error::member(field.clone(), "the model has no such input"))?;
        let mut data = Data::zeros(spec.data_type, 0);
        let read = reader.value(&mut data);
        let shape = read.map_err(|error| Error::of_reading(at(&field, reader), error))?;
        named.push((spec.name.clone(), fit(spec, shape.lengths().to_vec(), data)?));
        member = reader.scanner.next_member()?;
    }
    let arranged = signature.arrange(named);
    arranged.map_err(|mismatch| Error::member(INPUTS, mismatch.to_string()))
}

/// Columns that together are the rows of a model's one input: a value of each in turn.
fn lockstep<'b>(
    reader: &mut TensorReader<'b>,
    names: &Names,
    mut cursors: Vec<Scanner<'b>>,
    signature: &Signature,
) -> Result<Vec<Tensor>, Error> {
    let mut frame = Frame::new(names, signature, INPUTS)?;
    let field = |column: usize| format!("{INPUTS}.{}", shorten(names.get(column)));
    let mut more = true;
    for (column, cursor) in cursors.iter_mut().enumerate() {
        reader.scanner = *cursor;
        expect(reader, JsonKind::List, &field(column), "a list of values")?;
        let is_filled = open_rows(reader, &field(column))?;
        more &= is_filled;
        *cursor = reader.scanner;
    }
    let mut row = 0;
    while more {
        for (column, cursor) in cursors.iter_mut().enumerate() {
            reader.scanner = *cursor;
            add(&mut frame, reader, column, || format!("{}[{row}]", field(column)))?;
            let goes_on = reader.scanner.next_element()?;
            if column > 0 && goes_on != more {
                let problem = format!("the column is not as long as `{}`", shorten(names.get(0)));
                return Err(Error::member(field(column), problem));
            }
            more = goes_on;
            *cursor = reader.scanner;
        }
        frame.end_row();
        row += 1;
    }
    frame.finish()
}

/// All of a model's one input.
fn whole(reader: &mut TensorReader<'_>, field: &str, signature: &Signature) -> Result<Vec<Tensor>, Error> {
    let [spec] = signature.inputs.as_slice() else {
        let names: Vec<&str> = signature.inputs.iter().map(|spec| spec.name.as_str()).collect();
        let problem = format!("the values need names; the model has the inputs {}", names.join(", "));
        return Err(Error::member(field, problem));
    };
    let mut data = Data::zeros(spec.data_type, 0);
    let read = reader.value(&mut data);
    let shape = read.map_err(|error| Error::of_reading(at(field, reader), error))?;
    Ok(vec![fit(spec, shape.lengths().to_vec(), data)?])
}

fn add(
    frame: &mut Frame<'_>,
    reader: &mut TensorReader<'_>,
    column: usize,
    field: impl Fn() -> String,
) -> Result<(), Error> {
    let added = frame.add(column, |data| Ok(reader.value(data)?));
    added.map_err(|error| error.at(field()))
}

/// The element at fault: `inputs[3][0]`.
fn at(field: &str, reader: &TensorReader<'_>) -> String {
    let indices = reader.fault().indices.iter().rev();
    indices.fold(field.to_owned(), |field, index| format!("{field}[{index}]"))
}

fn open_rows(reader: &mut TensorReader<'_>, field: &str) -> Result<bool, Error> {
    match reader.scanner.open_list()? {
        true => Ok(true),
        false => Err(Error::member(field, "is empty; give at least one row")),
    }
}

fn expect(reader: &mut TensorReader<'_>, kind: JsonKind, field: &str, expected: &str) -> Result<(), Error> {
    if reader.scanner.peek()? == kind {
        return Ok(());
    }
    let found = reader.shown()?;
    Err(Error::member(field, format!("expected {expected}, found {found}")))
}
