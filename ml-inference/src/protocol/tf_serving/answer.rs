//! Response bodies made of a model's outputs.

use bytes::Bytes;
use model_runtime::tensor::{Data, DataType, Tensor};
use model_runtime::{Dim, Signature, TensorSpec};

use super::super::json::write::{
    COMPACT, Style, expected_length, write_element, write_flat, write_row, write_string, write_tensor,
};
use super::error::Error;
use super::path::Verb;
use super::predict::Form;

/// An output of bytes whose name ends so is written in base64.
const BYTES_SUFFIX: &str = "_bytes";

/// The answer to `:predict`, in the form of the question. The outputs are in the order of the signature.
pub fn predictions(outputs: &[Tensor], signature: &Signature, form: Form) -> Result<Bytes, Error> {
    let named: Vec<(&TensorSpec, &Tensor)> = signature.outputs.iter().zip(outputs).collect();
    let length: usize = outputs.iter().map(expected_length).sum();
    let mut body = Vec::with_capacity(64 + length);
    match form {
        Form::Row => write_rows(&mut body, &named)?,
        Form::Column => write_columns(&mut body, &named),
    }
    body.extend_from_slice(b"}\n");
    Ok(body.into())
}

fn write_rows(body: &mut Vec<u8>, outputs: &[(&TensorSpec, &Tensor)]) -> Result<(), Error> {
    let mut rows = None;
    for (spec, output) in outputs {
        let name = &spec.name;
        if output.shape().is_empty() {
            return Err(Error::argument(format!(
                "Tensor name: {name} has no shape information "
            )));
        }
        let found = output.rows();
        let expected = *rows.get_or_insert(found);
        if found != expected {
            return Err(Error::argument(format!(
                "Tensor name: {name} has inconsistent batch size: {found} expecting: {expected}"
            )));
        }
    }
    body.extend_from_slice(b"{\"predictions\":");
    if let [(spec, output)] = outputs {
        write_tensor(body, output, style(spec, output));
        return Ok(());
    }
    let styles: Vec<Style> = outputs.iter().map(|(spec, output)| style(spec, output)).collect();
    for row in 0..rows.unwrap_or_default() {
        body.push(if row == 0 { b'[' } else { b',' });
        for (index, (spec, output)) in outputs.iter().enumerate() {
            write_name(body, index, &spec.name);
            write_row(body, output, row, styles[index]);
        }
        body.push(b'}');
    }
    body.extend_from_slice(if rows == Some(0) { b"[]" } else { b"]" });
    Ok(())
}

fn write_columns(body: &mut Vec<u8>, outputs: &[(&TensorSpec, &Tensor)]) {
    body.extend_from_slice(b"{\"outputs\":");
    if let [(spec, output)] = outputs {
        return write_tensor(body, output, style(spec, output));
    }
    for (index, (spec, output)) in outputs.iter().enumerate() {
        write_name(body, index, &spec.name);
        write_tensor(body, output, style(spec, output));
    }
    body.push(b'}');
}

/// Begins the member with this index in its object, and the object with its first member.
fn write_name(body: &mut Vec<u8>, index: usize, name: &str) {
    body.push(if index == 0 { b'{' } else { b',' });
    write_string(body, name);
    body.push(b':');
}

/// Bytes that a string cannot hold are written in base64 too, whatever their output is called.
fn style(spec: &TensorSpec, output: &Tensor) -> Style {
    let is_binary = match output.data() {
        Data::Bytes(texts) => {
            spec.name.ends_with(BYTES_SUFFIX) || texts.iter().any(|text| std::str::from_utf8(text).is_err())
        }
        _ => false,
    };
    COMPACT.with_base64(is_binary)
}

/// The task of `:classify` and `:regress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    verb: Verb,
    /// The one of the model's outputs that is shown.
    output: usize,
}

impl Task {
    /// Fails for a model that has nothing to show.
    pub fn of(verb: Verb, signature: &Signature) -> Result<Self, Error> {
        let (is_shown, what): (fn(&TensorSpec) -> bool, &str) = match verb {
            Verb::Classify => (has_scores, "has no scores with labels to classify with"),
            Verb::Regress | Verb::Predict => (is_value, "does not give one number for each example to regress with"),
        };
        let output = signature.outputs.iter().position(is_shown);
        let output = output.ok_or_else(|| Error::argument(format!("the model {what}; ask it with :predict")))?;
        Ok(Self { verb, output })
    }

    /// The answer, with a result for each of the `examples`.
    pub fn results(self, outputs: &[Tensor], signature: &Signature, examples: usize) -> Result<Bytes, Error> {
        let found = outputs.get(self.output).zip(signature.outputs.get(self.output));
        let found = found.filter(|(output, _spec)| !output.shape().is_empty() && output.rows() == examples);
        let (output, spec) = found.ok_or_else(|| Error::argument("the model gave no result for each example"))?;
        let mut body = b"{\"results\":".to_vec();
        match self.verb {
            Verb::Classify => write_classes(&mut body, output, &spec.labels)?,
            Verb::Regress | Verb::Predict if output.data().len() == examples => write_flat(&mut body, output, COMPACT),
            Verb::Regress | Verb::Predict => {
                return Err(Error::argument("the model gave more than one number for an example"));
            }
        }
        body.extend_from_slice(b"}\n");
        Ok(body.into())
    }
}

fn has_scores(spec: &TensorSpec) -> bool {
    !spec.labels.is_empty() && is_numeric(spec) && spec.shape.len() == 2
}

fn is_value(spec: &TensorSpec) -> bool {
    let is_one = |dim: &Dim| matches!(dim, Dim::Fixed(1));
    is_numeric(spec) && matches!(spec.shape.split_first(), Some((_rows, row)) if row.iter().all(is_one))
}

fn is_numeric(spec: &TensorSpec) -> bool {
    !matches!(spec.data_type, DataType::Bytes | DataType::Bool)
}

fn write_classes(body: &mut Vec<u8>, scores: &Tensor, labels: &[String]) -> Result<(), Error> {
    if scores.row_length() != labels.len() && scores.rows() > 0 {
        return Err(Error::argument(format!(
            "the model gave {} scores for its {} classes",
            scores.row_length(),
            labels.len()
        )));
    }
    for row in 0..scores.rows() {
        body.extend_from_slice(if row == 0 { b"[[" } else { b",[" });
        for (class, label) in labels.iter().enumerate() {
            body.extend_from_slice(if class == 0 { b"[" } else { b",[" });
            write_string(body, label);
            body.push(b',');
            write_element(body, scores, row * labels.len() + class, COMPACT);
            body.push(b']');
        }
        body.push(b']');
    }
    body.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use model_runtime::tensor::Element;

    use super::*;

    fn tensor<T: Element>(shape: &[usize], values: &[T]) -> Tensor {
        Tensor::of(shape.to_vec(), values.to_vec()).expect("a tensor")
    }

    fn signature(names: &[&str]) -> Signature {
        let spec = |name: &&str| TensorSpec::new(*name, DataType::Fp32, vec![Dim::Free(None)]);
        Signature {
            inputs: Vec::new(),
            outputs: names.iter().map(spec).collect(),
        }
    }

    fn written(outputs: &[Tensor], form: Form) -> Result<String, String> {
        let names = ["a", "b"];
        let body = predictions(outputs, &signature(&names[..outputs.len()]), form);
        body.map(|body| String::from_utf8(body.to_vec()).expect("UTF-8"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn several_outputs_have_names() {
        let outputs = [tensor(&[2], &[1.0_f32, 2.0]), tensor(&[2, 1], &[3_i8, 4])];
        let rows = r#"{"predictions":[{"a":1.0,"b":[3]},{"a":2.0,"b":[4]}]}"#;
        assert_eq!(written(&outputs, Form::Row), Ok(format!("{rows}\n")));
        let columns = r#"{"outputs":{"a":[1.0,2.0],"b":[[3],[4]]}}"#;
        assert_eq!(written(&outputs, Form::Column), Ok(format!("{columns}\n")));
        let none = [tensor::<f32>(&[0], &[]), tensor::<i8>(&[0, 1], &[])];
        assert_eq!(written(&none, Form::Row), Ok("{\"predictions\":[]}\n".to_owned()));
    }

    #[test]
    fn outputs_that_are_no_rows_can_only_be_columns() {
        let scalar = [tensor(&[], &[1.0_f32])];
        assert_eq!(
            written(&scalar, Form::Row),
            Err("Tensor name: a has no shape information ".to_owned())
        );
        assert_eq!(written(&scalar, Form::Column), Ok("{\"outputs\":1.0}\n".to_owned()));
        let ragged = [tensor(&[1], &[1.0_f32]), tensor(&[2], &[1.0_f32, 2.0])];
        let problem = "Tensor name: b has inconsistent batch size: 2 expecting: 1";
        assert_eq!(written(&ragged, Form::Row), Err(problem.to_owned()));
    }
}
