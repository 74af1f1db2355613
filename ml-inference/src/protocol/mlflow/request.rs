//! A JSON body: an object with one of four forms of input.

use bytes::Bytes;
use model_runtime::Signature;
use model_runtime::tensor::{DataType, MAX_RANK, Tensor};

use super::super::json::scanner::{JsonKind, Scanner};
use super::super::json::tensor_reader::{MemoryBudget, Rules, TensorReader, shorten};
use super::error::Error;
use super::forms::{self, INPUTS, INSTANCES, RECORDS, SPLIT};

const PARAMS: &str = "params";

const ONE_OF: &str = "exactly one of dataframe_split, dataframe_records, instances and inputs";

/// MLflow's clients write NaN and infinities as words, and pandas' writer a missing number as null.
const RULES: Rules = Rules {
    type_name: DataType::name,
    rounds_whole_numbers: true,
    takes_words: true,
    null_is_nan: true,
    takes_empty_lists: false,
    most_lists: MAX_RANK,
};

type ReadForm = fn(&mut TensorReader<'_>, &Signature) -> Result<Vec<Tensor>, Error>;

/// How a request has its values, and its answer those of several outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Rows,
    Columns,
}

#[derive(Debug, PartialEq)]
pub struct Request {
    pub form: Form,
    /// In the order of the signature, which they need not fit otherwise.
    pub inputs: Vec<Tensor>,
}

/// Reads a body whose elements take at most `most_bytes` in memory.
pub fn parse_json(body: &Bytes, signature: &Signature, most_bytes: usize) -> Result<Request, Error> {
    let mut reader = TensorReader::new(body, Scanner::of_bytes(body)?, RULES, MemoryBudget::new(most_bytes));
    if reader.scanner.is_at_end() {
        return Err(Error::document(format!(
            "the body is empty; send an object with {ONE_OF}"
        )));
    }
    if reader.scanner.peek()? != JsonKind::Object {
        let found = reader.shown()?;
        return Err(Error::document(format!(
            "expected an object with {ONE_OF}, found {found}"
        )));
    }
    let mut request = None;
    let mut params_given = false;
    let mut member = reader.scanner.open_object()?;
    while let Some(name) = member {
        let read: ReadForm = match name.as_ref() {
            SPLIT => forms::split,
            RECORDS => forms::records,
            INSTANCES => forms::instances,
            INPUTS => forms::inputs,
            PARAMS if params_given => return Err(Error::member(PARAMS, "is given twice")),
            PARAMS => {
                check_params(&mut reader)?;
                params_given = true;
                member = reader.scanner.next_member()?;
                continue;
            }
            other => {
                let problem = format!("unknown member; give {ONE_OF}");
                return Err(Error::member(shorten(other), problem));
            }
        };
        if request.is_some() {
            return Err(Error::member(name, format!("is one too many; give {ONE_OF}")));
        }
        let form = if name == INPUTS { Form::Columns } else { Form::Rows };
        let inputs = read(&mut reader, signature)?;
        request = Some(Request { form, inputs });
        member = reader.scanner.next_member()?;
    }
    if !reader.scanner.is_at_end() {
        let offset = reader.scanner.offset();
        return Err(Error::document(format!(
            "something follows the JSON object at offset: {offset}"
        )));
    }
    request.ok_or_else(|| Error::document(format!("nothing to predict for; give {ONE_OF}")))
}

/// Parameters change what MLflow's own models answer. None of the models here has any, so nothing may be asked of them.
fn check_params(reader: &mut TensorReader<'_>) -> Result<(), Error> {
    match reader.scanner.peek()? {
        JsonKind::Null => {
            reader.scanner.skip()?;
            Ok(())
        }
        JsonKind::Object => match reader.scanner.open_object()? {
            None => Ok(()),
            Some(name) => {
                let field = format!("{PARAMS}.{}", shorten(&name));
                Err(Error::member(field, "the model has no parameters"))
            }
        },
        _ => {
            let found = reader.shown()?;
            Err(Error::member(PARAMS, format!("expected an object, found {found}")))
        }
    }
}
