//! Tensors as bytes behind the JSON.

use model_runtime::tensor::DataType;
use serde_json::json;

use super::{HEADER_LENGTH, INFER, infer_binary, parts};
use crate::models::{Echo, spec};
use crate::service::{Service, gzip};

#[tokio::test]
async fn tensors_travel_as_bytes_behind_the_json() {
    let service = Service::half_plus_two();
    let binary: Vec<u8> = [1.0_f32, 5.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let input = json!({ "name": "x", "shape": [2, 1], "datatype": "FP32", "parameters": { "binary_data_size": 8 } });

    let answer = infer_binary(&service, "half_plus_two", &json!({ "inputs": [input] }), &binary).await;
    assert_eq!(
        answer.ok()["outputs"][0]["data"],
        json!([2.5, 4.5]),
        "JSON, as nothing else is asked for"
    );

    for json in [
        json!({ "inputs": [input], "parameters": { "binary_data_output": true } }),
        json!({ "inputs": [input], "outputs": [{ "name": "y", "parameters": { "binary_data": true } }] }),
    ] {
        let (json, bytes) = parts(&infer_binary(&service, "half_plus_two", &json, &binary).await);
        let expected: Vec<u8> = [2.5_f32, 4.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(bytes, expected);
        assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 8);
        assert!(json["outputs"][0].get("data").is_none(), "{json}");
    }

    let answer = service.ask("POST", INFER, &[(HEADER_LENGTH, "0")], binary).await;
    let (json, _bytes) = parts(&answer);
    assert_eq!(json["outputs"][0]["shape"], json!([2, 1]), "the body is the one input");
}

#[tokio::test]
async fn a_compressed_body_has_its_lengths_as_they_were_before() {
    let service = Service::half_plus_two();
    let json = json!({ "inputs": [
        { "name": "x", "shape": [1, 1], "datatype": "FP32", "parameters": { "binary_data_size": 4 } },
    ] });
    let json = json.to_string();
    let length = json.len().to_string();
    let body = gzip(&[json.as_bytes(), &5_f32.to_le_bytes()].concat());
    let headers = [("content-encoding", "gzip"), (HEADER_LENGTH, &length)];
    let answer = service.ask("POST", INFER, &headers, body).await;
    assert_eq!(answer.ok()["outputs"][0]["data"], json!([4.5]));
}

#[tokio::test]
async fn texts_have_their_length_before_them() {
    let service = Service::with(
        "m",
        Echo::new(&[spec("a", DataType::Bytes, &[]), spec("b", DataType::Bool, &[])]),
    );
    let json = json!({
        "inputs": [
            { "name": "b", "shape": [2], "datatype": "BOOL", "parameters": { "binary_data_size": 2 } },
            { "name": "a", "shape": [2], "datatype": "BYTES", "parameters": { "binary_data_size": 11 } },
        ],
        "outputs": [{ "name": "a", "parameters": { "binary_data": true } }, { "name": "b" }],
    });
    let binary = b"\x01\x00\x02\0\0\0\xff\0\x01\0\0\0z";
    let (json, bytes) = parts(&infer_binary(&service, "m", &json, binary).await);
    assert_eq!(bytes, &binary[2..]);
    assert_eq!(json["outputs"][1]["data"], json!([true, false]));

    let plain = json!({ "inputs": [
        { "name": "b", "shape": [1], "datatype": "BOOL", "data": [true] },
        { "name": "a", "shape": [1], "datatype": "BYTES", "parameters": { "binary_data_size": 5 } },
    ] });
    let refusal = infer_binary(&service, "m", &plain, b"\x01\0\0\0\xff")
        .await
        .refusal(400);
    assert_eq!(
        refusal,
        "outputs[a]: its bytes are no UTF-8 text, which JSON cannot hold; ask for it with binary_data"
    );
}

#[tokio::test]
async fn bytes_that_do_not_match_the_json_are_refused() {
    let service = Service::half_plus_two();
    let input = |size: usize| {
        json!({ "inputs": [{
            "name": "x", "shape": [1, 1], "datatype": "FP32", "parameters": { "binary_data_size": size },
        }] })
    };
    for (size, binary, message) in [
        (
            4,
            &b"123"[..],
            "inputs[x]: binary_data_size is 4, but only 3 bytes are left",
        ),
        (4, b"12345", "inputs: 1 bytes are left behind the last input"),
        (3, b"123", "inputs[x]: 4 bytes are needed, found 3"),
    ] {
        let answer = infer_binary(&service, "half_plus_two", &input(size), binary).await;
        assert_eq!(answer.refusal(400), message);
    }
    for length in ["x", "-1", "+1", "", "3", "99999999999999999999"] {
        let answer = service.ask("POST", INFER, &[(HEADER_LENGTH, length)], "{}").await;
        assert_eq!(
            answer.refusal(400),
            format!("{HEADER_LENGTH}: expected the length of the JSON in a body of 2 bytes, found {length}")
        );
    }
    let answer = service.ask("POST", INFER, &[(HEADER_LENGTH, "0")], "123").await;
    assert_eq!(answer.refusal(400), "inputs[x]: 0 bytes are needed, found 3");
    let texts = Service::with("m", Echo::of(DataType::Bytes, &[]));
    let many = json!({ "inputs": [{
        "name": "x", "shape": [2_000_000_000], "datatype": "BYTES", "parameters": { "binary_data_size": 4 },
    }] });
    let refusal = infer_binary(&texts, "m", &many, b"\0\0\0\0").await.refusal(400);
    assert_eq!(refusal, "inputs[x]: 4 bytes hold no 2000000000 texts");
}
