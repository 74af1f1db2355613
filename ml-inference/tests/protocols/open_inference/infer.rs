//! Tensors in JSON, and what is answered.

use model_runtime::Signature;
use model_runtime::tensor::DataType;
use serde_json::{Value, json};

use super::{INFER, infer, x};
use crate::models::{Counting, Echo, spec};
use crate::service::{Service, model};

#[tokio::test]
async fn a_tensor_is_answered_with_a_tensor() {
    let service = Service::half_plus_two();
    let answer = service
        .post(
            INFER,
            r#"{"id": "42", "inputs": [{"name": "x", "shape": [3, 1], "datatype": "FP32", "data": [1.0, 2, 5]}]}"#,
        )
        .await;
    assert_eq!(
        answer.text(),
        "{\"model_name\":\"half_plus_two\",\"model_version\":\"123\",\"id\":\"42\",\"outputs\":\
         [{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[3,1],\"data\":[2.5,3.0,4.5]}]}\n"
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-model-version"), Some("123"));
}

#[tokio::test]
async fn members_may_come_in_any_order_and_unknown_ones_are_passed_over() {
    let service = Service::half_plus_two();
    for body in [
        r#"{"inputs":[{"data":[1,2],"datatype":"FP32","shape":[2,1],"name":"x"}]}"#,
        r#"{"outputs":[{"name":"y"}],"inputs":[{"data":[[1],[2]],"shape":[2,1],"name":"x","datatype":"FP32"}],"id":null}"#,
        r#"{"parameters":{"priority":3,"x":[{}]},"model_name":"z","inputs":[{"name":"x","shape":[2,1],"datatype":"FP32","parameters":null,"data":[1,2]}],"outputs":[]}"#,
    ] {
        let answer = service.post(INFER, body).await.ok();
        assert_eq!(answer["outputs"][0]["data"], json!([2.5, 3.0]), "{body}");
        assert!(answer.get("id").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn only_the_outputs_that_are_asked_for_are_given() {
    let both = Counting(Signature {
        inputs: vec![spec("x", DataType::Fp32, &[])],
        outputs: vec![spec("a", DataType::Int64, &[2]), spec("b", DataType::Bytes, &[])],
    });
    let service = Service::with("m", both);
    let input = json!({ "name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2] });
    let a = json!({ "name": "a", "datatype": "INT64", "shape": [2, 2], "data": [0, 1, 2, 3] });
    let b = json!({ "name": "b", "datatype": "BYTES", "shape": [2], "data": ["0", "1"] });
    for (asked, given) in [
        (json!([]), json!([a, b])),
        (json!([{ "name": "b" }]), json!([b])),
        (json!([{ "name": "b" }, { "name": "a" }]), json!([b, a])),
    ] {
        let answer = infer(&service, "m", &json!({ "inputs": [input], "outputs": asked })).await;
        assert_eq!(answer.ok()["outputs"], given);
    }
}

#[tokio::test]
async fn a_whole_number_is_the_nearest_float() {
    let service = Service::half_plus_two();
    let input = x(json!([16_777_217, 123_456_789, 1e20]));
    let answer = infer(&service, "half_plus_two", &json!({ "inputs": [input] })).await;
    assert_eq!(
        answer.ok()["outputs"][0]["data"],
        json!([8_388_610.0, 61_728_400.0, 5e19])
    );
}

#[tokio::test]
async fn null_is_nan_where_a_float_may_be_and_nothing_beside_binary_data() {
    let mut service = Service::new(&[]);
    for data_type in [
        DataType::Fp32,
        DataType::Fp64,
        DataType::Int64,
        DataType::Bytes,
        DataType::Bool,
    ] {
        service.insert(model(data_type.name(), 1, Echo::of(data_type, &[])));
    }
    service.serve();
    let input = |datatype: &str, data: Value| {
        let count = data.as_array().map_or(0, Vec::len);
        json!({ "inputs": [{ "name": "x", "shape": [count], "datatype": datatype, "data": data }] })
    };
    for datatype in ["FP32", "FP64"] {
        let answer = infer(&service, datatype, &input(datatype, json!([1, null, 2.5, null]))).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let body = String::from_utf8_lossy(&answer.body);
        assert!(body.contains("[1.0,NaN,2.5,NaN]"), "{body}");
    }
    for datatype in ["INT64", "BYTES", "BOOL"] {
        let refusal = infer(&service, datatype, &input(datatype, json!([null])))
            .await
            .refusal(400);
        assert!(
            refusal.starts_with("inputs[x].data") && refusal.contains("null"),
            "{refusal}"
        );
    }
    // As KServe's client sends a tensor without elements.
    let empty = json!({ "inputs": [{
        "name": "x", "shape": [0], "datatype": "FP32", "data": null, "parameters": { "binary_data_size": 0 },
    }] });
    assert_eq!(
        infer(&service, "FP32", &empty).await.ok()["outputs"][0]["shape"],
        json!([0])
    );
    let nothing = json!({ "inputs": [{ "name": "x", "shape": [0], "datatype": "FP32", "data": null }] });
    assert_eq!(
        infer(&service, "FP32", &nothing).await.refusal(400),
        "inputs[0].data: missing"
    );
}
