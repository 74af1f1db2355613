//! The requests' bodies and the answers' predictions, in each of the three protocols.

use serde_json::{Map, Value};

use crate::arguments::Protocol;
use crate::layout::{Form, Layout};
use crate::row::Row;
use crate::words;

/// The body of the requests for one model, and the way to read its answers.
#[derive(Debug)]
pub enum Codec {
    /// `{"instances": [...]}` and `{"predictions": [...]}`: the lab's, and TensorFlow Serving's.
    Instances,
    /// Tensors: the Open Inference Protocol.
    Tensors(Vec<Tensor>),
}

/// An input of the model, and the columns that it is made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Tensor {
    name: String,
    datatype: String,
    /// The dimensions behind the rows, when the model fixes them.
    fixed: Option<Vec<usize>>,
    columns: Vec<usize>,
}

/// What the model says about some rows.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// JSON, one for each row.
    pub predictions: Vec<String>,
    /// The version that the body names.
    pub version: Option<String>,
}

/// The path of the requests below the URL; empty for the lab's protocol, whose URL is whole.
pub fn path(protocol: Protocol, model: &str) -> String {
    match protocol {
        Protocol::Lab => String::new(),
        Protocol::TfServing => format!("/v1/{model}:predict"),
        Protocol::OpenInference => format!("/v2/{model}/infer"),
    }
}

/// The path of the model's inputs and outputs, which the Open Inference Protocol needs.
pub fn metadata_path(model: &str) -> String {
    format!("/v2/{model}")
}

impl Codec {
    /// Reads the inputs in a model's metadata, and gives them the columns: all of them to the only input, or each to the input of its name.
    pub fn of_metadata(body: &[u8], layout: &Layout) -> Result<Self, String> {
        let metadata: Value = serde_json::from_slice(body).map_err(|error| format!("the model's metadata: {error}"))?;
        let inputs = metadata["inputs"].as_array().filter(|inputs| !inputs.is_empty());
        let inputs = inputs.ok_or("the model's metadata lists no inputs")?;
        let tensor = |input: &Value, columns: Vec<usize>| {
            let name = input["name"].as_str().ok_or("an input of the model has no name")?;
            let datatype = input["datatype"]
                .as_str()
                .ok_or("an input of the model has no datatype")?;
            let dimensions = input["shape"].as_array().map_or(&[][..], Vec::as_slice);
            let behind = dimensions.get(1..).unwrap_or_default();
            let fixed = behind.iter().map(|dimension| usize::try_from(dimension.as_u64()?).ok());
            Ok::<_, String>(Tensor {
                name: name.to_owned(),
                datatype: datatype.to_owned(),
                fixed: fixed.collect(),
                columns,
            })
        };
        if let [input] = inputs.as_slice() {
            return Ok(Self::Tensors(vec![tensor(input, layout.sent.clone())?]));
        }
        let by_name = |input: &Value| {
            let name = input["name"].as_str().unwrap_or_default();
            let column = layout.sent.iter().find(|&&at| layout.names[at] == name);
            let column = column.ok_or_else(|| format!("no column is named as the model's input {name:?}"))?;
            tensor(input, vec![*column])
        };
        let tensors: Vec<Tensor> = inputs.iter().map(by_name).collect::<Result<_, _>>()?;
        let is_used = |at: &&usize| tensors.iter().any(|tensor| tensor.columns.contains(at));
        match layout.sent.iter().find(|at| !is_used(at)) {
            Some(&other) => Err(format!(
                "the model has no input for column {:?}; see --columns",
                layout.names[other]
            )),
            None => Ok(Self::Tensors(tensors)),
        }
    }

    /// The body of a request for these rows.
    pub fn encode(&self, layout: &Layout, rows: &[&Row]) -> Result<String, String> {
        match self {
            Self::Instances => Ok(instances(layout, rows)),
            Self::Tensors(tensors) => {
                let tensors: Vec<String> = tensors
                    .iter()
                    .map(|tensor| tensor.encode(rows))
                    .collect::<Result<_, _>>()?;
                Ok(format!("{{\"inputs\":[{}]}}", tensors.join(",")))
            }
        }
    }

    /// Reads the answer to a request for so many rows.
    pub fn decode(&self, body: &[u8], rows: usize) -> Result<Answer, String> {
        let text = std::str::from_utf8(body).map_err(|_| "the answer is no UTF-8")?;
        let answer = words::parse(text).map_err(|error| format!("the answer is no JSON: {error}"))?;
        let version = match &answer["version"] {
            Value::Null => &answer["model_version"],
            version => version,
        };
        let version = match version {
            Value::String(version) => Some(version.clone()),
            Value::Number(version) => Some(version.to_string()),
            _ => None,
        };
        let predictions = match self {
            Self::Instances => predictions(&answer, rows)?,
            Self::Tensors(_) => outputs(&answer, rows)?,
        };
        let predictions = predictions.iter().map(words::print).collect();
        Ok(Answer { predictions, version })
    }
}

impl Tensor {
    fn encode(&self, rows: &[&Row]) -> Result<String, String> {
        let mut data = String::new();
        let mut first: Option<Vec<usize>> = None;
        for row in rows {
            let mut dimensions: Option<Vec<usize>> = None;
            for &column in &self.columns {
                let cell = &row.cells[column];
                let of_cell = flatten(cell, &mut data)?;
                if *dimensions.get_or_insert_with(|| of_cell.clone()) != of_cell {
                    return Err("its columns have different shapes".to_owned());
                }
            }
            let mut dimensions = dimensions.unwrap_or_default();
            dimensions.insert(0, self.columns.len());
            if *first.get_or_insert_with(|| dimensions.clone()) != dimensions {
                return Err("its shape is not that of the rows before".to_owned());
            }
        }
        data.pop();
        let own = first.unwrap_or_default();
        let count: usize = own.iter().product();
        let own = if own.first() == Some(&1) && own.len() > 1 {
            &own[1..]
        } else {
            &own[..]
        };
        let shape = match &self.fixed {
            Some(fixed) if fixed.iter().product::<usize>() == count => fixed,
            _ => own,
        };
        let shape: Vec<String> = [rows.len()].iter().chain(shape).map(ToString::to_string).collect();
        Ok(format!(
            "{{\"name\":{},\"datatype\":{},\"shape\":[{}],\"data\":[{data}]}}",
            Value::from(self.name.as_str()),
            Value::from(self.datatype.as_str()),
            shape.join(",")
        ))
    }
}

fn instances(layout: &Layout, rows: &[&Row]) -> String {
    let mut body = String::from("{\"instances\":[");
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            body.push(',');
        }
        let cells = layout
            .sent
            .iter()
            .map(|&at| (&layout.names[at], row.cells[at].as_str()));
        match layout.form {
            Form::Value => cells.for_each(|(_, cell)| body.push_str(cell)),
            Form::List => {
                let cells: Vec<&str> = cells.map(|(_, cell)| cell).collect();
                body.push('[');
                body.push_str(&cells.join(","));
                body.push(']');
            }
            Form::Object => {
                let members: Vec<String> = cells
                    .map(|(name, cell)| format!("{}:{cell}", Value::from(name.as_str())))
                    .collect();
                body.push('{');
                body.push_str(&members.join(","));
                body.push('}');
            }
        }
    }
    body.push_str("]}");
    body
}

/// Appends the elements of a cell to `data`, each with a comma, and returns its dimensions.
fn flatten(cell: &str, data: &mut String) -> Result<Vec<usize>, String> {
    if !cell.starts_with('[') {
        data.push_str(cell);
        data.push(',');
        return Ok(Vec::new());
    }
    let value = words::parse(cell).map_err(|error| error.to_string())?;
    nested(&value, data)
}

fn nested(value: &Value, data: &mut String) -> Result<Vec<usize>, String> {
    let Value::Array(values) = value else {
        data.push_str(&words::print(value));
        data.push(',');
        return Ok(Vec::new());
    };
    let mut dimensions: Option<Vec<usize>> = None;
    for value in values {
        let inner = nested(value, data)?;
        if *dimensions.get_or_insert_with(|| inner.clone()) != inner {
            return Err("its lists have different lengths".to_owned());
        }
    }
    let mut dimensions = dimensions.unwrap_or_default();
    dimensions.insert(0, values.len());
    Ok(dimensions)
}

fn predictions(answer: &Value, rows: usize) -> Result<Vec<Value>, String> {
    let predictions = answer["predictions"]
        .as_array()
        .ok_or("the answer has no list of predictions")?;
    match predictions.len() == rows {
        true => Ok(predictions.clone()),
        false => Err(format!(
            "the answer has {} predictions for {rows} rows",
            predictions.len()
        )),
    }
}

/// The outputs of each row: a value, or an object when there are several.
fn outputs(answer: &Value, rows: usize) -> Result<Vec<Value>, String> {
    let outputs = answer["outputs"].as_array().filter(|outputs| !outputs.is_empty());
    let outputs = outputs.ok_or("the answer has no outputs")?;
    let mut by_name = Vec::new();
    for output in outputs {
        let name = output["name"].as_str().ok_or("an output of the answer has no name")?;
        by_name.push((name, output_rows(name, output, rows)?));
    }
    if let [(_, values)] = &mut by_name[..] {
        return Ok(std::mem::take(values));
    }
    let row = |number: usize| {
        let members = by_name
            .iter()
            .map(|(name, values)| ((*name).to_owned(), values[number].clone()));
        Value::Object(members.collect::<Map<_, _>>())
    };
    Ok((0..rows).map(row).collect())
}

fn output_rows(name: &str, output: &Value, rows: usize) -> Result<Vec<Value>, String> {
    let shape = output["shape"].as_array().map_or(&[][..], Vec::as_slice);
    let shape: Option<Vec<usize>> = shape.iter().map(|d| usize::try_from(d.as_u64()?).ok()).collect();
    let shape = shape.filter(|shape| shape.first() == Some(&rows));
    let shape = shape.ok_or_else(|| format!("output {name:?} of the answer has not one row for each of {rows}"))?;
    let mut flat = Vec::new();
    collect(&output["data"], &mut flat);
    let width = shape[1..]
        .iter()
        .try_fold(1_usize, |product, &d| product.checked_mul(d));
    let fits = width.and_then(|width| width.checked_mul(rows)) == Some(flat.len());
    let width = width.filter(|_| fits);
    let width = width.ok_or_else(|| format!("output {name:?} of the answer has not the elements of its shape"))?;
    if width == 0 {
        return Ok(vec![Value::Array(Vec::new()); rows]);
    }
    Ok(flat.chunks(width).map(|row| shaped(row, &shape[1..])).collect())
}

fn collect(data: &Value, flat: &mut Vec<Value>) {
    match data {
        Value::Array(values) => values.iter().for_each(|value| collect(value, flat)),
        value => flat.push(value.clone()),
    }
}

/// The elements of one row as lists of these dimensions; a single one is itself.
fn shaped(row: &[Value], dimensions: &[usize]) -> Value {
    match (row, dimensions) {
        ([only], _) => only.clone(),
        (_, [] | [_]) => Value::Array(row.to_vec()),
        (_, [count, inner @ ..]) => {
            let parts = row.chunks(row.len() / count);
            Value::Array(parts.map(|part| shaped(part, inner)).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layout::{Keep, Wanted};
    use crate::row::Place;

    fn layout(names: &[&str], form: Option<Form>) -> Layout {
        let wanted = Wanted {
            columns: None,
            text: Vec::new(),
            keep: Keep::None,
            form,
        };
        Layout::new(names.iter().map(ToString::to_string).collect(), Form::Object, &wanted).expect("a layout")
    }

    fn row(cells: &[&str]) -> Row {
        let place = Place { row: 1, line: None };
        let cells = cells.iter().map(ToString::to_string).collect();
        Row { place, cells }
    }

    #[test]
    fn rows_as_values_lists_and_objects() {
        let rows = [row(&["1", "NaN"]), row(&["2", "\"a\""])];
        let rows: Vec<&Row> = rows.iter().collect();
        for (form, body) in [
            (None, r#"{"instances":[[1,NaN],[2,"a"]]}"#),
            (Some(Form::Object), r#"{"instances":[{"x":1,"y":NaN},{"x":2,"y":"a"}]}"#),
        ] {
            assert_eq!(
                Codec::Instances
                    .encode(&layout(&["x", "y"], form), &rows)
                    .expect("a body"),
                body
            );
        }
        let body = Codec::Instances.encode(&layout(&["x"], None), &rows);
        assert_eq!(body.expect("a body"), r#"{"instances":[1,2]}"#);
    }

    #[test]
    fn columns_become_the_models_tensors() {
        let one = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}).to_string();
        let two = layout(&["a", "b"], None);
        let codec = Codec::of_metadata(one.as_bytes(), &two).expect("a codec");
        let rows = [row(&["1", "2"]), row(&["3", "NaN"])];
        let rows: Vec<&Row> = rows.iter().collect();
        assert_eq!(
            codec.encode(&two, &rows).expect("a body"),
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[1,2,3,NaN]}]}"#
        );
        let named = json!({"inputs": [
            {"name": "b", "datatype": "INT64", "shape": [-1]},
            {"name": "a", "datatype": "FP32", "shape": [-1, 1]},
        ]});
        let codec = Codec::of_metadata(named.to_string().as_bytes(), &two).expect("a codec");
        assert_eq!(
            codec.encode(&two, &rows[..1]).expect("a body"),
            r#"{"inputs":[{"name":"b","datatype":"INT64","shape":[1],"data":[2]},{"name":"a","datatype":"FP32","shape":[1,1],"data":[1]}]}"#
        );
        let missing = Codec::of_metadata(named.to_string().as_bytes(), &layout(&["a", "c"], None));
        assert_eq!(
            missing.expect_err("no b"),
            "no column is named as the model's input \"b\""
        );
        let more = Codec::of_metadata(named.to_string().as_bytes(), &layout(&["a", "b", "c"], None));
        assert!(
            more.expect_err("c")
                .starts_with("the model has no input for column \"c\"")
        );
    }

    #[test]
    fn lists_in_cells_are_dimensions_and_ragged_ones_are_refused() {
        let one = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, -1, 2]}]}).to_string();
        let layout = layout(&["x"], None);
        let codec = Codec::of_metadata(one.as_bytes(), &layout).expect("a codec");
        let (good, other) = (row(&["[[1,2],[3,4]]"]), row(&["[[1,2]]"]));
        assert_eq!(
            codec.encode(&layout, &[&good]).expect("a body"),
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2,2],"data":[1,2,3,4]}]}"#
        );
        assert!(codec.encode(&layout, &[&good, &other]).is_err());
        assert!(codec.encode(&layout, &[&row(&["[[1,2],[3]]"])]).is_err());
    }

    #[test]
    fn answers_are_cut_into_rows() {
        let lab = Codec::Instances.decode(br#"{"predictions": [2.5, NaN], "model": "m", "version": "1.0"}"#, 2);
        let lab = lab.expect("an answer");
        assert_eq!(
            (lab.predictions, lab.version),
            (vec!["2.5".to_owned(), "NaN".to_owned()], Some("1.0".to_owned()))
        );
        let codec = Codec::Tensors(Vec::new());
        let answer = json!({"model_version": "3", "outputs": [
            {"name": "label", "shape": [2], "data": ["a", "b"]},
            {"name": "p", "shape": [2, 1, 2], "data": [0.25, 0.75, 1, 0]},
        ]});
        let tensors = codec.decode(answer.to_string().as_bytes(), 2).expect("an answer");
        assert_eq!(tensors.version.as_deref(), Some("3"));
        assert_eq!(
            tensors.predictions,
            [r#"{"label":"a","p":[[0.25,0.75]]}"#, r#"{"label":"b","p":[[1,0]]}"#]
        );
        let one = json!({"outputs": [{"name": "y", "shape": [2, 1], "data": [[2.5], [3]]}]}).to_string();
        assert_eq!(
            codec.decode(one.as_bytes(), 2).expect("an answer").predictions,
            ["2.5", "3"]
        );
    }

    #[test]
    fn an_answer_for_other_rows_is_none() {
        for (codec, body) in [
            (Codec::Instances, r#"{"predictions":[1]}"#),
            (Codec::Instances, r#"{"prediction":1}"#),
            (Codec::Instances, "<html>"),
            (Codec::Tensors(Vec::new()), r#"{"outputs":[]}"#),
            (
                Codec::Tensors(Vec::new()),
                r#"{"outputs":[{"name":"y","shape":[3],"data":[1,2,3]}]}"#,
            ),
            (
                Codec::Tensors(Vec::new()),
                r#"{"outputs":[{"name":"y","shape":[2,2],"data":[1,2,3]}]}"#,
            ),
            (
                Codec::Tensors(Vec::new()),
                r#"{"outputs":[{"name":"y","shape":[2,18446744073709551615,4],"data":[1,2]}]}"#,
            ),
        ] {
            assert!(codec.decode(body.as_bytes(), 2).is_err(), "{body}");
        }
    }
}
