//! Examples that are classified and regressed.

use model_runtime::tensor::DataType;
use model_runtime::{Dim, Signature, TensorSpec};
use serde_json::{Value, json};

use super::{CLASSIFY, REGRESS, iris};
use crate::models::{Counting, rows};
use crate::service::Service;

#[tokio::test]
async fn examples_are_regressed() {
    let service = Service::half_plus_two();
    for (body, results) in [
        (r#"{"examples": [{"x": 80.0}]}"#, "[42.0]"),
        (
            r#"{"examples": [{"x": [80]}, {"x": 1}], "signature_name": "serving_default"}"#,
            "[42.0,2.5]",
        ),
        (
            r#"{"examples": [{}, {"x": 2, "unknown": [{}]}], "context": {"x": 1, "other": null}}"#,
            "[2.5,3.0]",
        ),
    ] {
        let answer = service.post(REGRESS, body).await;
        assert_eq!(answer.text(), format!("{{\"results\":{results}}}\n"), "{body}");
    }
    for (body, message) in [
        ("{}", "JSON Value: {} key 'examples' is expected and was not found"),
        (
            r#"{"examples": {}}"#,
            r#"JSON Value: {"examples": {}} Expecting 'examples' value to be an list/array"#,
        ),
        (
            r#"{"examples": []}"#,
            r#"JSON Value: {"examples": []} 'examples' value is an empty array"#,
        ),
        (
            r#"{"examples": [5]}"#,
            "Failed to process element: 0 of 'examples' list. Error: Example must be JSON object but got JSON Number",
        ),
        (
            r#"{"examples": [{"x": 1}, {}]}"#,
            "Failed to process element: 1 of 'examples' list. Error: Feature: x is missing",
        ),
        (
            r#"{"examples": [{"x": 1}, {"x": [1, 2]}]}"#,
            "Failed to process element: 1 of 'examples' list. Error: Feature: x has 2 values, but 1 in an example before",
        ),
        (
            r#"{"examples": [{"x": [[1]]}]}"#,
            "Failed to process element: 0 of 'examples' list. Error: Feature: x has element with unexpected JSON type: Array",
        ),
        (
            r#"{"examples": [{"x": 1, "x": 1}]}"#,
            "Failed to process element: 0 of 'examples' list. Error: JSON object: x is given twice",
        ),
        (
            r#"{"examples": [], "examples": []}"#,
            "JSON object: examples is given twice",
        ),
        (
            r#"{"examples": [{"x": [1, 2]}]}"#,
            "the model gave more than one number for an example",
        ),
    ] {
        assert_eq!(service.post(REGRESS, body).await.refusal(400), message, "{body}");
    }
}

#[tokio::test]
async fn examples_are_classified_by_a_model_that_names_its_classes() {
    let service = Service::with("iris", iris());
    let body =
        json!({ "context": { "site": "b" }, "examples": [{ "petal": [1.5, 0.2] }, { "petal": [1, 2], "site": "a" }] });
    assert_eq!(
        service.post(CLASSIFY, body.to_string()).await.ok(),
        json!({ "results": [
            [["setosa", 0.0], ["versicolor", 1.0], ["virginica", 2.0]],
            [["setosa", 3.0], ["versicolor", 4.0], ["virginica", 5.0]],
        ] })
    );
    let none = "the model does not give one number for each example to regress with; ask it with :predict";
    assert_eq!(
        service
            .post("/v1/models/iris:regress", body.to_string())
            .await
            .refusal(400),
        none
    );
    let none = "the model has no scores with labels to classify with; ask it with :predict";
    let service = Service::half_plus_two();
    let answer = service
        .post("/v1/models/half_plus_two:classify", r#"{"examples": [{"x": 20}]}"#)
        .await;
    assert_eq!(answer.refusal(400), none);
}

#[tokio::test]
async fn a_flat_feature_takes_the_shape_of_its_inputs_rows() {
    let shape = [Dim::Free(None), Dim::Fixed(2), Dim::Free(None)].to_vec();
    let service = Service::with(
        "m",
        Counting(Signature {
            inputs: vec![TensorSpec::new("x", DataType::Int32, shape)],
            outputs: vec![TensorSpec::new("y", DataType::Int32, rows(&[]))],
        }),
    );
    let ask = async |x: Value| {
        service
            .post("/v1/models/m:regress", json!({ "examples": [{ "x": x }] }).to_string())
            .await
    };
    assert_eq!(ask(json!([1, 2, 3, 4, 5, 6])).await.ok(), json!({ "results": [0] }));
    assert_eq!(
        ask(json!([1, 2, 3])).await.refusal(400),
        "Feature: x has 3 values, which are no row of INT32[-1,2,-1]"
    );
}
