//! The body of `:classify` and `:regress`: examples, each an object of named features.
//!
//! A feature is a value or a flat list of values, and takes the shape of one row of the input that has its name. What stands
//! in `context` holds for every example that does not have it itself. Features that the model does not ask for are ignored.

use bytes::Bytes;
use model_runtime::tensor::{Data, Tensor};
use model_runtime::{Signature, TensorSpec};

use super::super::json::scanner::JsonKind;
use super::super::json::tensor_reader::{TensorReader, solve};
use super::document::{SIGNATURE_NAME, check_signature_name, open};
use super::error::Error;
use super::predict::{given_twice, misformed, tensor};

const EXAMPLES: &str = "examples";
const CONTEXT: &str = "context";

/// Reads a body whose elements take at most `most_bytes` in memory. Gives the inputs in the order of the signature.
pub fn parse_examples(body: &Bytes, signature: &Signature, most_bytes: usize) -> Result<Vec<Tensor>, Error> {
    let mut reader = open(body, most_bytes)?;
    let (mut examples, mut context) = (None, None);
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        match name.as_ref() {
            SIGNATURE_NAME => check_signature_name(&mut reader)?,
            EXAMPLES | CONTEXT => {
                // The context may come last, and what it says is needed first.
                let place = if name == EXAMPLES { &mut examples } else { &mut context };
                if place.replace(reader.scanner.skip()?).is_some() {
                    return Err(given_twice(&name));
                }
            }
            _ => {
                reader.scanner.skip()?;
            }
        }
        member = reader.scanner.next_member()?;
    }
    let mut features: Vec<Feature<'_>> = signature.inputs.iter().map(Feature::new).collect();
    if let Some(context) = context {
        reader.at(context);
        read_context(&mut reader, &mut features)?;
    }
    let examples =
        examples.ok_or_else(|| misformed(body, &format!("key '{EXAMPLES}' is expected and was not found")))?;
    reader.at(examples);
    if reader.scanner.peek()? != JsonKind::List {
        return Err(misformed(
            body,
            &format!("Expecting '{EXAMPLES}' value to be an list/array"),
        ));
    }
    let mut more = reader.scanner.open_list()?;
    if !more {
        return Err(misformed(body, &format!("'{EXAMPLES}' value is an empty array")));
    }
    let mut count = 0;
    while more {
        let read = read_example(&mut reader, &mut features, count);
        read.map_err(|error| error.within(&format!("Failed to process element: {count} of '{EXAMPLES}' list.")))?;
        count += 1;
        more = reader.scanner.next_element()?;
    }
    features.into_iter().map(Feature::finish).collect()
}

/// One input while the examples are read.
struct Feature<'s> {
    spec: &'s TensorSpec,
    data: Data,
    examples: usize,
    /// How many values each example has.
    length: Option<usize>,
    /// Value for examples that do not have the feature.
    context: Option<Data>,
}

impl<'s> Feature<'s> {
    fn new(spec: &'s TensorSpec) -> Self {
        Self {
            spec,
            data: Data::zeros(spec.data_type, 0),
            examples: 0,
            length: None,
            context: None,
        }
    }

    /// Takes what the example says.
    fn add(&mut self, reader: &mut TensorReader<'_>) -> Result<(), Error> {
        let before = self.data.len();
        read_feature(reader, &self.spec.name, &mut self.data)?;
        self.count(self.data.len() - before)
    }

    /// Takes what the context says, for an example that says nothing.
    fn add_context(&mut self, reader: &mut TensorReader<'_>) -> Result<(), Error> {
        let Some(context) = &self.context else {
            let name = &self.spec.name;
            return Err(Error::argument(format!("Feature: {name} is missing")));
        };
        let length = context.len();
        reader.budget().take(length, self.spec.data_type.size_in_memory())?;
        // Both are of the input's type.
        self.data.append(context.clone());
        self.count(length)
    }

    fn count(&mut self, length: usize) -> Result<(), Error> {
        self.examples += 1;
        match self.length.replace(length) {
            Some(before) if before != length => Err(Error::argument(format!(
                "Feature: {} has {length} values, but {before} in an example before",
                self.spec.name
            ))),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Tensor, Error> {
        let length = self.length.unwrap_or_default();
        let mut shape = vec![self.examples];
        let row_shape = row_shape(self.spec, length).ok_or_else(|| {
            let name = &self.spec.name;
            Error::argument(format!(
                "Feature: {name} has {length} values, which are no row of {}",
                self.spec
            ))
        })?;
        shape.extend(row_shape);
        tensor(shape, self.data)
    }
}

/// The shape of a row of `length` values.
fn row_shape(spec: &TensorSpec, length: usize) -> Option<Vec<usize>> {
    let dims = spec.shape.get(1..)?;
    solve(dims, length).or_else(|| spec.any_shape.then(|| vec![length]))
}

fn read_context(reader: &mut TensorReader<'_>, features: &mut [Feature<'_>]) -> Result<(), Error> {
    expect_object(reader)?;
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        match features.iter_mut().find(|feature| feature.spec.name == name) {
            Some(feature) => {
                let mut data = Data::zeros(feature.spec.data_type, 0);
                read_feature(reader, &name, &mut data)?;
                if feature.context.replace(data).is_some() {
                    return Err(given_twice(&name));
                }
            }
            None => {
                reader.scanner.skip()?;
            }
        }
        member = reader.scanner.next_member()?;
    }
    Ok(())
}

fn read_example(reader: &mut TensorReader<'_>, features: &mut [Feature<'_>], example: usize) -> Result<(), Error> {
    expect_object(reader)?;
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        match features.iter_mut().find(|feature| feature.spec.name == name) {
            Some(feature) if feature.examples > example => return Err(given_twice(&name)),
            Some(feature) => feature.add(reader)?,
            None => {
                reader.scanner.skip()?;
            }
        }
        member = reader.scanner.next_member()?;
    }
    for feature in features.iter_mut().filter(|feature| feature.examples == example) {
        feature.add_context(reader)?;
    }
    Ok(())
}

fn expect_object(reader: &mut TensorReader<'_>) -> Result<(), Error> {
    match reader.scanner.peek()? {
        JsonKind::Object => Ok(()),
        other => Err(Error::argument(format!(
            "Example must be JSON object but got JSON {}",
            other.name()
        ))),
    }
}

/// A value or a flat list of values.
fn read_feature(reader: &mut TensorReader<'_>, name: &str, data: &mut Data) -> Result<(), Error> {
    match reader.value(data)?.lengths() {
        [] | [_] => Ok(()),
        _ => Err(Error::argument(format!(
            "Feature: {name} has element with unexpected JSON type: {}",
            JsonKind::List.name()
        ))),
    }
}
