//! The part that all request bodies share: an object, and the name of the signature.

use bytes::Bytes;
use model_runtime::tensor::{DataType, MAX_RANK};

use super::super::json::scanner::{JsonKind, Scanner};
use super::super::json::tensor_reader::{MemoryBudget, Rules, TensorReader, shorten};
use super::error::Error;

/// The one signature that every model has, and the one that is meant when none is named.
pub(super) const SIGNATURE: &str = "serving_default";
pub(super) const SIGNATURE_NAME: &str = "signature_name";

/// A type as messages name it.
fn type_name(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Bool => "bool",
        DataType::Uint8 => "uint8",
        DataType::Uint16 => "uint16",
        DataType::Uint32 => "uint32",
        DataType::Uint64 => "uint64",
        DataType::Int8 => "int8",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::Fp32 => "float",
        DataType::Fp64 => "double",
        DataType::Bytes => "string",
    }
}

const RULES: Rules = Rules {
    type_name,
    rounds_whole_numbers: false,
    takes_words: true,
    null_is_nan: false,
    takes_empty_lists: true,
    most_lists: MAX_RANK,
};

/// Begins to read a body, which has to be an object.
pub(super) fn open(body: &Bytes, most_bytes: usize) -> Result<TensorReader<'_>, Error> {
    let mut reader = TensorReader::new(body, Scanner::of_bytes(body)?, RULES, MemoryBudget::new(most_bytes));
    if reader.scanner.is_at_end() {
        return Err(Error::Empty);
    }
    if reader.scanner.peek()? != JsonKind::Object {
        let value = reader.shown()?;
        return Err(Error::argument(format!("JSON Value: {value} Is not object")));
    }
    Ok(reader)
}

/// Reads the name of a signature, which has to be the one there is.
pub(super) fn check_signature_name(reader: &mut TensorReader<'_>) -> Result<(), Error> {
    if reader.scanner.peek()? != JsonKind::Text {
        let value = reader.shown()?;
        return Err(Error::argument(format!(
            "JSON Value: {value} not formatted correctly. '{SIGNATURE_NAME}' key must be a string value."
        )));
    }
    match reader.scanner.text()?.as_ref() {
        "" | SIGNATURE => Ok(()),
        other => {
            let name = shorten(other);
            Err(Error::argument(format!(
                "Serving signature name: \"{name}\" not found in signature def"
            )))
        }
    }
}
