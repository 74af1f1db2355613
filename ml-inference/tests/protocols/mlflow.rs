//! MLflow's scoring protocol: four forms of JSON and CSV, for models of one input and of several.

use model_runtime::tensor::DataType;
use serde_json::{Value, json};

use crate::models::{Echo, spec};
use crate::service::{Answer, Service, gzip};

const PATH: &str = "/invocations";
const CSV: &[(&str, &str)] = &[("content-type", "text/csv")];

/// A model that MODEL_NAME names and that gives back its inputs.
fn served(specs: &[model_runtime::TensorSpec]) -> Service {
    let mut service = Service::new(&[("MODEL_NAME", "echo"), ("MODELS_DIR", "/nowhere")]);
    service.insert(crate::service::model("echo", 1, Echo::new(specs)));
    service.serve();
    service
}

fn people() -> Service {
    served(&[spec("age", DataType::Int64, &[1]), spec("income", DataType::Fp32, &[1])])
}

fn flowers() -> Service {
    served(&[spec("x", DataType::Fp32, &[3])])
}

fn predictions(answer: &Answer) -> Value {
    let body = answer.ok();
    assert_eq!(answer.header("x-model-version"), Some("1"));
    assert_eq!(body.as_object().map(|members| members.len()), Some(1), "{body}");
    body["predictions"].clone()
}

/// The message of a refusal in MLflow's form.
fn refusal(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let code = match status {
        503 => "TEMPORARILY_UNAVAILABLE",
        _ => "BAD_REQUEST",
    };
    assert_eq!(body["error_code"], code);
    assert_eq!(body.as_object().map(|members| members.len()), Some(2), "{body}");
    body["message"].as_str().expect("a message").to_owned()
}

#[tokio::test]
async fn every_form_of_a_table_is_the_same_to_a_model_of_several_inputs() {
    let service = people();
    let rows = json!([{ "age": [31], "income": [1.5] }, { "age": [-4], "income": [2.0] }]);
    for body in [
        r#"{"dataframe_split": {"index": [7, 8], "columns": ["income", "age"], "data": [[1.5, 31], [2, -4]]}}"#,
        r#"{"dataframe_split": {"data": [[31, 1.5], [-4, 2]], "columns": ["age", "income"]}, "params": {}}"#,
        r#"{"dataframe_records": [{"age": 31, "income": 1.5}, {"income": 2, "age": -4}]}"#,
        r#"{"params": null, "instances": [{"income": 1.5, "age": 31}, {"age": -4, "income": 2}]}"#,
        r#"{"instances": [{"income": [1.5], "age": [31]}, {"age": [-4], "income": [2]}]}"#,
    ] {
        assert_eq!(predictions(&service.post(PATH, body).await), rows, "{body}");
    }
    let csv = service.ask("POST", PATH, CSV, "income,age\n1.5,31\n2,-4\n").await;
    assert_eq!(predictions(&csv), rows);

    let columns = json!({ "age": [[31], [-4]], "income": [[1.5], [2.0]] });
    for body in [
        r#"{"inputs": {"age": [31, -4], "income": [1.5, 2]}}"#,
        r#"{"inputs": {"income": [[1.5], [2]], "age": [[31], [-4]]}}"#,
    ] {
        assert_eq!(predictions(&service.post(PATH, body).await), columns, "{body}");
    }
}

#[tokio::test]
async fn every_form_of_a_table_is_the_same_to_a_model_of_one_input() {
    let service = flowers();
    for body in [
        r#"{"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2, 3], [4, 5, 6]]}}"#,
        r#"{"dataframe_split": {"columns": [0, 1, 2], "data": [[1, 2, 3], [4, 5, 6]]}}"#,
        r#"{"dataframe_split": {"data": [[1, 2, 3], [4, 5, 6]]}}"#,
        r#"{"dataframe_records": [{"a": 1, "b": 2, "c": 3}, {"c": 6, "b": 5, "a": 4}]}"#,
        r#"{"instances": [{"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "c": 6}]}"#,
        r#"{"instances": [[1, 2, 3], [4, 5, 6]]}"#,
        r#"{"instances": [{"x": [1, 2, 3]}, {"x": [4, 5, 6]}]}"#,
        r#"{"inputs": [[1, 2, 3], [4, 5, 6]]}"#,
        r#"{"inputs": {"x": [[1, 2, 3], [4, 5, 6]]}}"#,
        r#"{"inputs": {"a": [1, 4], "b": [2, 5], "c": [3, 6]}}"#,
    ] {
        let answer = service.post(PATH, body).await;
        assert_eq!(
            predictions(&answer),
            json!([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
            "{body}"
        );
    }
    let text = "a,b,c\n1,2,3\n4,5,6\n";
    let csv = service.ask("POST", PATH, CSV, text).await;
    assert_eq!(predictions(&csv), json!([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]));
    let headers = [CSV[0], ("content-encoding", "gzip")];
    let zipped = service.ask("POST", PATH, &headers, gzip(text.as_bytes())).await;
    assert_eq!(zipped.text(), csv.text());
}

#[tokio::test]
async fn one_column_of_lists_is_a_tensor_of_more_dimensions() {
    let service = served(&[spec("image", DataType::Uint8, &[2, 2])]);
    let pictures = json!([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]);
    for body in [
        r#"{"dataframe_split": {"columns": ["image"], "data": [[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]]]]}}"#,
        r#"{"dataframe_records": [{"image": [[1, 2], [3, 4]]}, {"image": [[5, 6], [7, 8]]}]}"#,
        r#"{"inputs": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}"#,
    ] {
        assert_eq!(predictions(&service.post(PATH, body).await), pictures, "{body}");
    }
}

#[tokio::test]
async fn a_list_of_numbers_is_a_column() {
    let service = served(&[spec("x", DataType::Fp64, &[1])]);
    for body in [
        r#"{"instances": [1, 2]}"#,
        r#"{"inputs": [1, 2]}"#,
        r#"{"inputs": {"anything": [1, 2]}}"#,
        r#"{"dataframe_split": {"columns": ["anything"], "data": [[1], [2]]}}"#,
    ] {
        assert_eq!(
            predictions(&service.post(PATH, body).await),
            json!([[1.0], [2.0]]),
            "{body}"
        );
    }
    let flat = served(&[spec("x", DataType::Fp64, &[])]);
    let answer = flat.post(PATH, r#"{"dataframe_records": [{"a": 1}, {"a": 2}]}"#).await;
    assert_eq!(predictions(&answer), json!([1.0, 2.0]));
}

#[tokio::test]
async fn what_is_missing_is_nan_where_a_float_may_be() {
    let service = flowers();
    for body in [
        r#"{"dataframe_split": {"columns": ["a", "b", "c"], "data": [[null, NaN, -Infinity]]}}"#,
        r#"{"inputs": [[null, NaN, -Infinity]]}"#,
    ] {
        let answer = service.post(PATH, body).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, "{\"predictions\":[[NaN,NaN,-Infinity]]}\n"),
            "{body}"
        );
    }
    let people = people();
    for (body, problem) in [
        (
            r#"{"dataframe_records": [{"age": null, "income": null}]}"#,
            "dataframe_records[0].age: expected INT64, found null",
        ),
        (
            r#"{"inputs": {"income": [null], "age": [NaN]}}"#,
            "inputs.age[0]: expected a whole number that is INT64, found NaN",
        ),
    ] {
        assert_eq!(refusal(&people.post(PATH, body).await, 400), problem);
    }
}

#[tokio::test]
async fn whole_numbers_are_refused_and_not_cut() {
    let service = people();
    for (body, field) in [
        (
            r#"{"dataframe_split": {"columns": ["income", "age"], "data": [[1, 2], [1, 1.9]]}}"#,
            "dataframe_split.data[1][1]",
        ),
        (
            r#"{"dataframe_records": [{"age": 1.9, "income": 1}]}"#,
            "dataframe_records[0].age",
        ),
        (
            r#"{"instances": [{"age": 1, "income": 1}, {"income": 1, "age": 1.9}]}"#,
            "instances[1].age",
        ),
        (
            r#"{"inputs": {"age": [[1], [2], [1.9]], "income": [1, 2, 3]}}"#,
            "inputs.age[2][0]",
        ),
    ] {
        let expected = format!("{field}: expected a whole number that is INT64, found 1.9");
        assert_eq!(refusal(&service.post(PATH, body).await, 400), expected);
    }
    let csv = service.ask("POST", PATH, CSV, "age,income\n1,1\n1.9,1\n").await;
    assert_eq!(
        refusal(&csv, 400),
        "line 3: column `age`: expected a whole number that is INT64, found 1.9"
    );
}

#[tokio::test]
async fn columns_that_no_input_has_and_inputs_without_a_column_are_named() {
    let service = people();
    let known = "the model has age, income";
    for (body, problem) in [
        (
            r#"{"dataframe_split": {"columns": ["age", "income", "id"], "data": [[1, 2, 3]]}}"#,
            "dataframe_split.columns: the model has no input `id`; it has age, income".to_owned(),
        ),
        (
            r#"{"dataframe_split": {"columns": ["age"], "data": [[1]]}}"#,
            format!("dataframe_split.columns: the column `income` is missing; {known}"),
        ),
        (
            r#"{"dataframe_split": {"data": [[1, 2]]}}"#,
            "dataframe_split.columns: is missing; the model has 2 inputs".to_owned(),
        ),
        (
            r#"{"dataframe_split": {"columns": ["age", "age"], "data": [[1, 2]]}}"#,
            "dataframe_split.columns[1]: the column `age` is given twice".to_owned(),
        ),
        (
            r#"{"dataframe_records": [{"age": 1, "size": 2}]}"#,
            "dataframe_records[0]: the model has no input `size`; it has age, income".to_owned(),
        ),
        (
            r#"{"dataframe_records": [{"age": 1, "income": 2}, {"age": 1}]}"#,
            "dataframe_records[1]: the column `income` is missing".to_owned(),
        ),
        (
            r#"{"dataframe_records": [{"age": 1, "income": 2}, {"age": 1, "size": 1}]}"#,
            "dataframe_records[1]: the column `income` is missing".to_owned(),
        ),
        (
            r#"{"dataframe_records": [{"age": 1, "income": 2}, {"age": 1, "id": 3, "income": 2}]}"#,
            "dataframe_records[1].id: is not in the first row, or is given twice".to_owned(),
        ),
        (
            r#"{"inputs": {"age": [1]}}"#,
            format!("inputs: the column `income` is missing; {known}"),
        ),
        (
            r#"{"inputs": [[1, 2]]}"#,
            "inputs: the values need names; the model has the inputs age, income".to_owned(),
        ),
        (
            r#"{"instances": [[1, 2]]}"#,
            "instances: the values need names; the model has the inputs age, income".to_owned(),
        ),
    ] {
        assert_eq!(refusal(&service.post(PATH, body).await, 400), problem, "{body}");
    }
}

#[tokio::test]
async fn tables_that_are_no_rectangles_are_named_with_their_place() {
    let (one, several) = (flowers(), people());
    for (service, body, problem) in [
        (
            &one,
            r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2, 3]]}}"#,
            "dataframe_split.data[0]: expected 2 values, as there are columns, found 3",
        ),
        (
            &one,
            r#"{"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2, 3], [4, 5]]}}"#,
            "dataframe_split.data[1]: expected a list of 3 as before, found one of 2",
        ),
        (
            &several,
            r#"{"dataframe_split": {"columns": ["age", "income"], "data": [[1, 2], [3]]}}"#,
            "dataframe_split.data[1]: expected 2 values, as there are columns, found 1",
        ),
        (
            &several,
            r#"{"dataframe_split": {"columns": ["age", "income"], "data": [1, 2]}}"#,
            "dataframe_split.data[0]: expected a list of values, found 1",
        ),
        (
            &one,
            r#"{"inputs": {"a": [1, 2], "b": [1], "c": [1, 2]}}"#,
            "inputs.b: the column is not as long as `a`",
        ),
        (
            &one,
            r#"{"dataframe_records": [{"a": 1, "b": [2], "c": 3}]}"#,
            "dataframe_records[0].b: expected a value, found a list",
        ),
        (
            &one,
            r#"{"dataframe_records": [{"a": 1, "b": 2}]}"#,
            "x: expected FP32[-1,3], found FP32[1,2]",
        ),
        (
            &one,
            r#"{"dataframe_records": []}"#,
            "dataframe_records: is empty; give at least one row",
        ),
        (
            &several,
            r#"{"dataframe_split": {"columns": ["age", "income"], "data": []}}"#,
            "dataframe_split.data: is empty; give at least one row",
        ),
        (
            &one,
            r#"{"instances": []}"#,
            "instances: is empty; give at least one value",
        ),
    ] {
        assert_eq!(refusal(&service.post(PATH, body).await, 400), problem, "{body}");
    }
}

#[tokio::test]
async fn bodies_that_are_no_request_are_refused() {
    let service = flowers();
    let one_of = "exactly one of dataframe_split, dataframe_records, instances and inputs";
    for (body, problem) in [
        ("", format!("the body is empty; send an object with {one_of}")),
        ("[1]", format!("expected an object with {one_of}, found [1]")),
        ("{}", format!("nothing to predict for; give {one_of}")),
        ("{", "broken JSON: ".to_owned()),
        (
            r#"{"instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]}"#,
            format!("inputs: is one too many; give {one_of}"),
        ),
        (
            r#"{"signature_name": "serving_default", "instances": [[1, 2, 3]]}"#,
            format!("signature_name: unknown member; give {one_of}"),
        ),
        (
            r#"{"inputs": [[1, 2, 3]], "params": {"temperature": 0.5}}"#,
            "params.temperature: the model has no parameters".to_owned(),
        ),
        (
            r#"{"inputs": [[1, 2, 3]], "params": [1]}"#,
            "params: expected an object, found [1]".to_owned(),
        ),
        (
            r#"{"inputs": [[1, 2, 3]]} {}"#,
            "something follows the JSON object at offset: 24".to_owned(),
        ),
        (
            r#"{"inputs": [[1, 2, "3"]]}"#,
            "inputs[0][2]: expected FP32, found \"3\"".to_owned(),
        ),
        (
            r#"{"inputs": [[1, 2, 1e39]]}"#,
            "inputs[0][2]: 1e39 is too large for FP32".to_owned(),
        ),
    ] {
        let refused = refusal(&service.post(PATH, body).await, 400);
        assert!(refused.starts_with(&problem), "{body}: {refused}");
    }
    for value in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "text/csv; header=absent",
    ] {
        let answer = service.ask("POST", PATH, &[("content-type", value)], "{}").await;
        let refused = refusal(&answer, 415);
        assert!(refused.ends_with(&format!("found {value}")), "{refused}");
    }
    let answer = service.get(PATH).await;
    assert_eq!(answer.header("allow"), Some("POST"));
    refusal(&answer, 405);
}

#[tokio::test]
async fn values_are_held_to_the_limit_of_their_memory() {
    let settings = [
        ("MODEL_NAME", "echo"),
        ("MODELS_DIR", "/nowhere"),
        ("MAX_BODY_BYTES", "1Ki"),
    ];
    let mut service = Service::new(&settings);
    service.insert(crate::service::model("echo", 1, Echo::of(DataType::Fp64, &[1])));
    service.serve();
    let numbers = vec!["1"; 200].join(",");
    for body in [
        format!("{{\"inputs\": [{numbers}]}}"),
        format!(
            "{{\"dataframe_split\": {{\"data\": [[{}]]}}}}",
            numbers.replace(',', "],[")
        ),
    ] {
        let refused = refusal(&service.post(PATH, body).await, 413);
        assert_eq!(refused, "the elements take more than the limit of 1024 bytes in memory");
    }
    let names: Vec<String> = (0..50).map(|number| format!("\"c{number}\":1")).collect();
    let body = format!("{{\"dataframe_records\": [{{{}}}]}}", names.join(","));
    refusal(&service.post(PATH, body).await, 413);
}

#[tokio::test]
async fn it_says_whether_it_is_answered_and_which_program_it_is() {
    let service = flowers();
    let ping = service.get("/ping").await;
    assert_eq!((ping.status, ping.text()), (200, "\n"));
    assert_eq!(service.ask("HEAD", "/ping", &[], "").await.status, 200);
    let version = service.get("/version").await;
    assert_eq!((version.status, version.text()), (200, env!("CARGO_PKG_VERSION")));
    assert_eq!(version.header("content-type"), Some("text/plain; charset=utf-8"));

    let empty = Service::new(&[("MODEL_NAME", "echo"), ("MODELS_DIR", "/nowhere")]);
    for (method, path) in [("GET", "/ping"), ("POST", PATH)] {
        let refused = refusal(&empty.ask(method, path, &[], "{}").await, 503);
        assert!(refused.starts_with("not ready: "), "{refused}");
    }
}
