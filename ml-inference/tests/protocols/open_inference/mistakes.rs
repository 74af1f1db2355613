//! The mistakes that clients make, each named.

use model_runtime::tensor::DataType;
use model_runtime::{Dim, Signature, TensorSpec};
use serde_json::{Value, json};

use super::{INFER, infer, x};
use crate::models::{Counting, Echo, spec};
use crate::service::{Service, model};

#[tokio::test]
async fn a_member_that_is_given_twice_is_refused() {
    let service = Service::half_plus_two();
    let input = r#""name":"x","shape":[1,1],"datatype":"FP32","data":[1]"#;
    for (body, field) in [
        (format!(r#"{{"id":"a","id":"b","inputs":[{{{input}}}]}}"#), "id"),
        (
            format!(r#"{{"parameters":{{}},"parameters":{{}},"inputs":[{{{input}}}]}}"#),
            "parameters",
        ),
        (format!(r#"{{"inputs":[{{{input}}}],"inputs":[]}}"#), "inputs"),
        (
            format!(r#"{{"outputs":[],"outputs":[],"inputs":[{{{input}}}]}}"#),
            "outputs",
        ),
        (format!(r#"{{"inputs":[{{"name":"x",{input}}}]}}"#), "inputs[0].name"),
        (format!(r#"{{"inputs":[{{"shape":[1],{input}}}]}}"#), "inputs[0].shape"),
        (
            format!(r#"{{"inputs":[{{"datatype":"FP32",{input}}}]}}"#),
            "inputs[0].datatype",
        ),
        (format!(r#"{{"inputs":[{{"data":[2],{input}}}]}}"#), "inputs[0].data"),
        (
            format!(r#"{{"inputs":[{{{input}}}],"outputs":[{{"name":"y","name":"y"}}]}}"#),
            "outputs[0].name",
        ),
        (
            format!(
                r#"{{"parameters":{{"binary_data_output":true,"binary_data_output":false}},"inputs":[{{{input}}}]}}"#
            ),
            "parameters.binary_data_output",
        ),
    ] {
        let refusal = service.post(INFER, body.clone()).await.refusal(400);
        assert_eq!(refusal, format!("{field}: is given twice"), "{body}");
    }
}

#[tokio::test]
async fn only_a_request_of_a_sequence_is_refused() {
    let service = Service::half_plus_two();
    let ask = async |parameters: Value| {
        infer(
            &service,
            "half_plus_two",
            &json!({ "parameters": parameters, "inputs": [x(json!([1]))] }),
        )
        .await
    };
    let none = json!({ "sequence_id": 0, "sequence_start": false, "sequence_end": false });
    assert_eq!(ask(none).await.status, 200);
    for id in [json!(7), json!("7"), json!(null)] {
        let refusal = ask(json!({ "sequence_id": id })).await.refusal(400);
        assert_eq!(refusal, "parameters.sequence_id: is not supported");
    }
}

/// What is wrong with a request, and the words for it.
fn mistakes() -> Vec<(Value, &'static str)> {
    let with = |member: &str, value: Value| {
        let mut input = x(json!([1, 2]));
        input[member] = value;
        json!({ "inputs": [input] })
    };
    let without = |member: &str| {
        let mut input = x(json!([1, 2]));
        input.as_object_mut().expect("an object").remove(member);
        json!({ "inputs": [input] })
    };
    let good = x(json!([1, 2]));
    vec![
        (json!({}), "inputs: missing"),
        (json!({ "inputs": 5 }), "inputs: expected a list, found 5"),
        (json!({ "inputs": [5] }), "inputs[0]: expected an object, found 5"),
        (json!({ "inputs": [] }), "x: missing; the model needs FP32[-1,1]"),
        (json!({ "inputs": [good, good] }), "x: given twice"),
        (json!({ "id": 5, "inputs": [good] }), "id: expected a string, found 5"),
        (with("name", json!("z")), "z: no such input; the model has x"),
        (with("name", json!(5)), "inputs[0].name: expected a string, found 5"),
        (without("name"), "inputs[0].name: missing"),
        (without("datatype"), "inputs[0].datatype: missing"),
        (without("shape"), "inputs[0].shape: missing"),
        (without("data"), "inputs[0].data: missing"),
        (
            with("datatype", json!("FP16")),
            "inputs[0].datatype: `FP16` is not supported; known are BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, \
             INT64, FP32, FP64, BYTES",
        ),
        (
            with("datatype", json!("INT64")),
            "x: expected FP32[-1,1], found INT64[2,1]",
        ),
        (
            with("shape", json!([3])),
            "inputs[x]: data of the shape [3] is needed, flat or nested, found [2]",
        ),
        (
            with("shape", json!([-2, -1])),
            "inputs[0].shape: expected a whole number from 0, found -2",
        ),
        (
            with("shape", json!([2.0, 1])),
            "inputs[0].shape: expected a whole number from 0, found 2.0",
        ),
        (with("shape", json!(5)), "inputs[0].shape: expected a list, found 5"),
        (
            with("shape", json!(vec![1; 9])),
            "inputs[0].shape: more than the limit of 8 dimensions",
        ),
        (
            with("shape", json!([1_u64 << 40, 1_u64 << 40])),
            "inputs[x]: the shape [1099511627776, 1099511627776] has more than the limit of 2147483647 elements",
        ),
        (with("data", json!(5)), "inputs[0].data: expected a list, found 5"),
        (
            with("data", json!([[1, 2]])),
            "inputs[x]: data of the shape [2, 1] is needed, flat or nested, found [1, 2]",
        ),
        (
            with("data", json!([1, "a"])),
            "inputs[x].data: JSON Value: \"a\" Type: String is not of expected type: FP32",
        ),
        (
            with("parameters", json!({ "binary_data_size": 8 })),
            "inputs[0].data: cannot stand beside binary_data_size",
        ),
        (
            with("parameters", json!({ "shared_memory_region": "r" })),
            "inputs[0].parameters.shared_memory_region: is not supported",
        ),
        (
            json!({ "inputs": [good], "outputs": [{ "name": "z" }] }),
            "outputs[0].name: no output `z`; the model has y",
        ),
        (
            json!({ "inputs": [good], "outputs": [{ "name": "y" }, { "name": "y" }] }),
            "outputs[1].name: is given twice",
        ),
        (json!({ "inputs": [good], "outputs": [{}] }), "outputs[0].name: missing"),
        (
            json!({ "inputs": [good], "outputs": [{ "name": "y", "parameters": { "classification": 2 } }] }),
            "outputs[0].parameters.classification: is not supported",
        ),
        (
            json!({ "inputs": [good], "parameters": { "binary_data_output": 1 } }),
            "parameters.binary_data_output: expected true or false, found 1",
        ),
    ]
}

#[tokio::test]
async fn a_mistake_is_the_clients_and_is_named() {
    // Unlike the built-in model, this one takes no other type or shape than it says.
    let service = Service::with(
        "m",
        Counting(Signature {
            inputs: vec![spec("x", DataType::Fp32, &[1])],
            outputs: vec![spec("y", DataType::Fp32, &[1])],
        }),
    );
    for (body, message) in mistakes() {
        assert_eq!(infer(&service, "m", &body).await.refusal(400), message, "{body}");
    }
    for (body, message) in [
        ("", "inputs: missing; the body is empty"),
        ("nope", "broken JSON: An object is expected. at offset: 0"),
        (r#"{"inputs": [}"#, "broken JSON: Invalid value. at offset: 12"),
        (r#"{"inputs": []} {}"#, "inputs: something follows the JSON object"),
    ] {
        assert_eq!(
            service.post("/v2/models/m/infer", body).await.refusal(400),
            message,
            "{body}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_a_wrong_method_is_told_the_right_one() {
    let service = Service::half_plus_two();
    for (path, message) in [
        ("/v2/models/nope", "there is no model `nope`"),
        ("/v2/models/nope/ready", "there is no model `nope`"),
        ("/v2/models/nope/stats", "there is no model `nope`"),
        (
            "/v2/models/half_plus_two/versions/9",
            "model `half_plus_two` has no version 9",
        ),
        (
            "/v2/models/half_plus_two/versions/9/stats",
            "model `half_plus_two` has no version 9",
        ),
        (
            "/v2/models/half_plus_two/versions/stable/ready",
            "model `half_plus_two` has no version with the label `stable`",
        ),
    ] {
        assert_eq!(service.get(path).await.refusal(404), message, "{path}");
    }
    service.post("/v2/models/nope/infer", "{}").await.refusal(404);
    assert!(service.get("/v2/nope").await.refusal(404).starts_with("no such path"));
    service.get("/v2/models/%ff").await.refusal(400);
    for (method, path, allow) in [
        ("GET", INFER, "POST"),
        ("GET", "/v2/repository/index", "POST"),
        ("POST", "/v2", "GET, HEAD"),
        ("PUT", "/v2/models/half_plus_two", "GET, HEAD"),
    ] {
        let answer = service.ask(method, path, &[], "").await;
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        answer.refusal(405);
    }
}

#[tokio::test]
async fn elements_may_take_no_more_memory_than_a_body() {
    let mut service = Service::new(&[("MAX_BODY_BYTES", "4Ki")]);
    let specs = [spec("a", DataType::Bytes, &[]), spec("b", DataType::Fp64, &[])];
    service.insert(model("m", 1, Echo::new(&specs)));
    let free = TensorSpec::new("b", DataType::Fp64, vec![Dim::Free(None), Dim::Free(None)]);
    service.insert(model("rows", 1, Echo::new(&[free])));
    service.serve();
    let ask = async |texts: usize, numbers: usize| {
        let body = json!({ "inputs": [
            { "name": "a", "shape": [texts], "datatype": "BYTES", "data": vec![""; texts] },
            { "name": "b", "shape": [numbers], "datatype": "FP64", "data": vec![1; numbers] },
        ] });
        infer(&service, "m", &body).await
    };
    assert_eq!(ask(64, 256).await.status, 200);
    assert_eq!(
        ask(64, 257).await.refusal(413),
        "inputs[b].data: the elements take more than the limit of 4096 bytes in memory"
    );
    assert_eq!(
        ask(129, 0).await.refusal(413),
        "inputs[a].data: the elements take more than the limit of 4096 bytes in memory"
    );
    // A row of nothing is a row: the model answers for each.
    let rows = async |rows: u64| {
        let body = json!({ "inputs": [{ "name": "b", "shape": [rows, 0], "datatype": "FP64", "data": [] }] });
        infer(&service, "rows", &body).await
    };
    assert_eq!(rows(512).await.status, 200);
    for many in [513, 2_000_000_000] {
        assert_eq!(
            rows(many).await.refusal(413),
            "inputs[b]: the elements take more than the limit of 4096 bytes in memory"
        );
    }
}
