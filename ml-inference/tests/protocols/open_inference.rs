//! The Open Inference Protocol: its own examples, its extensions, and the mistakes that clients make.

use bytes::Bytes;
use ml_inference::catalog::{Version, VersionPolicy, VersionState};
use ml_inference::model::Model;
use model_runtime::tensor::DataType;
use model_runtime::{Dim, Signature, TensorSpec};
use serde_json::{Value, json};

use crate::models::{Counting, Echo, rows, spec};
use crate::service::{Answer, Service, gzip, model, version};

const INFER: &str = "/v2/models/half_plus_two/infer";
const HEADER_LENGTH: &str = "inference-header-content-length";

async fn infer(service: &Service, model: &str, body: &Value) -> Answer {
    service
        .post(&format!("/v2/models/{model}/infer"), body.to_string())
        .await
}

/// A request with these bytes behind its JSON.
async fn infer_binary(service: &Service, model: &str, json: &Value, binary: &[u8]) -> Answer {
    let json = json.to_string();
    let length = json.len().to_string();
    let body = [json.as_bytes(), binary].concat();
    let path = format!("/v2/models/{model}/infer");
    service.ask("POST", &path, &[(HEADER_LENGTH, &length)], body).await
}

/// The JSON of an answer with bytes behind it, and the bytes.
fn parts(answer: &Answer) -> (Value, Bytes) {
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    let length: usize = answer
        .header(HEADER_LENGTH)
        .and_then(|text| text.parse().ok())
        .expect("a length");
    let json = serde_json::from_slice(&answer.body[..length]).expect("JSON");
    (json, answer.body.slice(length..))
}

fn x(data: Value) -> Value {
    json!({ "name": "x", "shape": [data.as_array().map_or(1, Vec::len), 1], "datatype": "FP32", "data": data })
}

#[tokio::test]
async fn the_server_and_its_models_describe_themselves() {
    let service = Service::half_plus_two();
    assert_eq!(
        service.get("/v2").await.ok(),
        json!({
            "name": "ml-inference",
            "version": env!("CARGO_PKG_VERSION"),
            "extensions": ["binary_tensor_data", "model_configuration", "statistics"],
        })
    );
    assert_eq!(service.get("/v2/health/live").await.ok(), json!({ "live": true }));
    assert_eq!(service.get("/v2/health/ready").await.ok()["ready"], true);
    let tensor = |name: &str| json!({ "name": name, "datatype": "FP32", "shape": [-1, 1] });
    let expected = json!({
        "name": "half_plus_two",
        "versions": ["123"],
        "platform": "ml-inference",
        "inputs": [tensor("x")],
        "outputs": [tensor("y")],
    });
    for path in ["/v2/models/half_plus_two", "/v2/models/half_plus_two/versions/123"] {
        assert_eq!(service.get(path).await.ok(), expected, "{path}");
        let ready = service.get(&format!("{path}/ready")).await.ok();
        assert_eq!(ready, json!({ "name": "half_plus_two", "ready": true }));
    }
}

#[tokio::test]
async fn the_configuration_says_in_tritons_words_what_the_server_does() {
    let mut service = Service::half_plus_two();
    let tensor = |name: &str| json!([{ "name": name, "data_type": "TYPE_FP32", "dims": [-1, 1] }]);
    let expected = json!({
        "name": "half_plus_two",
        "platform": "ml-inference",
        "backend": "ml-inference",
        "version_policy": { "latest": { "num_versions": 1 } },
        "max_batch_size": 0,
        "input": tensor("x"),
        "output": tensor("y"),
    });
    for path in ["/v2/models/half_plus_two", "/v2/models/half_plus_two/versions/123"] {
        assert_eq!(service.get(&format!("{path}/config")).await.ok(), expected, "{path}");
    }
    let missing = service.get("/v2/models/half_plus_two/versions/9/config").await;
    assert_eq!(missing.refusal(404), "model `half_plus_two` has no version 9");
    service.post("/v2/models/half_plus_two/config", "").await.refusal(405);

    for (policy, told) in [
        (VersionPolicy::All, json!({ "all": {} })),
        (
            VersionPolicy::Specific([3, 123].into()),
            json!({ "specific": { "versions": [3, 123] } }),
        ),
        (VersionPolicy::Latest(2), json!({ "latest": { "num_versions": 2 } })),
    ] {
        service.change(|catalog| catalog.models.get_mut("half_plus_two").expect("inserted").policy = policy);
        let config = service.get("/v2/models/half_plus_two/config").await.ok();
        assert_eq!(config["version_policy"], told);
    }
}

#[tokio::test]
async fn the_platform_is_what_runs_the_model() {
    let mut service = Service::new(&[]);
    for (name, platform) in [("linear_regression", "onnx_ml"), ("neural_cnn", "rten")] {
        let path = format!("{}/tests/zoo/small/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(&path).expect("is there");
        service.insert(Model::from_onnx(name, version(1), file).expect("loads"));
        service.serve();
        let metadata = service.get(&format!("/v2/models/{name}")).await.ok();
        assert_eq!(metadata["platform"], platform);
        let config = service.get(&format!("/v2/models/{name}/config")).await.ok();
        assert_eq!([&config["platform"], &config["backend"]], [platform, platform]);
    }
}

#[tokio::test]
async fn models_are_not_loaded_and_unloaded_where_they_are_asked() {
    let service = Service::half_plus_two();
    for verb in ["load", "unload"] {
        let answer = service
            .post(&format!("/v2/repository/models/half_plus_two/{verb}"), "{}")
            .await;
        let problem = "models are loaded and unloaded at the admin listener (ADMIN_ADDRESS), not here";
        assert_eq!(answer.refusal(403), problem);
    }
    service.get("/v2/repository/models/m/load").await.refusal(405);
    assert_eq!(service.get("/status.json").await.status, 404);
}

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
async fn the_index_tells_where_every_version_stands() {
    let mut service = Service::new(&[]);
    service.get("/v2/health/ready").await.refusal(503);
    assert_eq!(service.get("/v2/health/live").await.ok(), json!({ "live": true }));
    assert_eq!(
        service.get("/v2/models/m/ready").await.refusal(503),
        "not ready: the model is still loading"
    );
    service.insert(model("m", 2, Echo::of(DataType::Fp32, &[])));
    service.change(|catalog| {
        let servable = catalog.models.get_mut("m").expect("inserted");
        servable.labels.insert("stable".to_owned(), 2);
        for (number, state, problem) in [(3, VersionState::Loading, None), (4, VersionState::End, Some("broken"))] {
            servable.versions.push(Version {
                number,
                state,
                problem: problem.map(str::to_owned),
                loaded: None,
            });
        }
    });
    let entry = |version: &str, state: &str, reason: &str| json!({ "name": "m", "version": version, "state": state, "reason": reason });
    let ready = entry("2", "READY", "");
    let all = json!([ready, entry("3", "LOADING", ""), entry("4", "UNAVAILABLE", "broken")]);
    for (body, told) in [
        ("", &all),
        ("{}", &all),
        (r#"{"ready": false}"#, &all),
        (r#"{"ready": true, "x": 1}"#, &json!([ready])),
    ] {
        assert_eq!(service.post("/v2/repository/index", body).await.ok(), *told, "{body}");
    }
    service.post("/v2/repository/index", "[]").await.refusal(400);
    assert_eq!(service.get("/v2/models/m").await.ok()["versions"], json!(["2"]));
    let infer = json!({ "inputs": [{ "name": "x", "shape": [1], "datatype": "FP32", "data": [1] }] });
    let answer = service
        .post("/v2/models/m/versions/stable/infer", infer.to_string())
        .await;
    assert_eq!(answer.ok()["model_version"], "2");
    service.get("/v2/models/m/versions/3/ready").await.refusal(503);
    let why = "version 4 of model `m` is not available: it is END: broken";
    for path in ["", "/ready", "/config", "/stats"] {
        let answer = service.get(&format!("/v2/models/m/versions/4{path}")).await;
        assert_eq!(answer.refusal(404), why, "{path}");
    }
    let answer = service.post("/v2/models/m/versions/4/infer", infer.to_string()).await;
    assert_eq!(answer.refusal(404), why);
    service.change(|catalog| {
        let servable = catalog.models.get_mut("m").expect("inserted");
        servable.versions.retain(|version| version.number == 4);
    });
    let answer = service.post("/v2/models/m/infer", infer.to_string()).await;
    assert_eq!(answer.refusal(404), "no version of model `m` is available: broken");
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

/// What perf_analyzer demands of every reading.
fn assert_measured_whole(told: &Value) {
    let part = |kind: &str, what: &str| told["inference_stats"][kind][what].as_u64().expect("a number");
    let parts = ["queue", "compute_input", "compute_infer", "compute_output"];
    for kind in parts {
        assert_eq!(part(kind, "count"), part("success", "count"), "{kind}: {told}");
    }
    let in_parts: u64 = parts.map(|kind| part(kind, "ns")).into_iter().sum();
    assert!(part("success", "ns") >= in_parts, "{told}");
}

#[test]
fn a_reading_of_statistics_has_all_of_a_request_or_nothing() {
    const REQUESTS: u64 = 2000;
    fn on_its_own<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work)
    }
    let mut service = Service::new(&[]);
    service.insert(model("half_plus_two", 1, Echo::of(DataType::Fp32, &[])));
    service.serve();
    let service = &service;
    let body = json!({ "inputs": [{ "name": "x", "shape": [1], "datatype": "FP32", "data": [1] }] });
    let mut broken = body.clone();
    broken["inputs"][0]["datatype"] = json!("INT64");
    let infer = async |body: Value, status: u16| {
        for _ in 0..REQUESTS {
            let answer = service.post(INFER, body.to_string()).await;
            assert_eq!(answer.status, status);
        }
    };
    let read = async || service.get("/v2/models/half_plus_two/stats").await.ok()["model_stats"][0].clone();
    std::thread::scope(|threads| {
        let running =
            [(body, 200), (broken, 400)].map(|(body, status)| threads.spawn(move || on_its_own(infer(body, status))));
        on_its_own(async {
            while !running.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                assert_measured_whole(&read().await);
            }
        });
    });
    let told = on_its_own(read());
    let count = |kind: &str| told["inference_stats"][kind]["count"].clone();
    assert_eq!((count("success"), count("fail")), (json!(REQUESTS), json!(REQUESTS)));
}

#[tokio::test]
async fn statistics_count_every_request_of_each_version() {
    let mut service = Service::new(&[("BATCH_SIZE", "2")]);
    for number in [1, 2] {
        let refuses_names = TensorSpec::new("x", DataType::Fp32, rows(&[]));
        service.insert(model(
            "m",
            number,
            Counting(Signature {
                inputs: vec![refuses_names],
                outputs: vec![TensorSpec::new("y", DataType::Fp32, vec![Dim::Free(None)])],
            }),
        ));
    }
    service.serve();
    let body = |datatype: &str| {
        json!({ "inputs": [{ "name": "x", "shape": [3], "datatype": datatype, "data": [1, 2, 3] }] }).to_string()
    };
    let path = "/v2/models/m/versions/1/infer";
    assert_eq!(service.post(path, body("FP32")).await.status, 200);
    assert_eq!(
        service
            .post("/v1/models/m/versions/1:predict", r#"{"inputs": [1]}"#)
            .await
            .status,
        200
    );
    service.post(path, body("INT8")).await.refusal(400);

    let all = service.get("/v2/models/stats").await.ok();
    let one = service.get("/v2/models/m/versions/1/stats").await.ok();
    assert_eq!(service.get("/v2/models/m/stats").await.ok(), all);
    assert_eq!(all["model_stats"][0], one["model_stats"][0]);
    let first = &one["model_stats"][0];
    assert_eq!((&first["name"], &first["version"]), (&json!("m"), &json!("1")));
    assert_eq!(
        (&first["inference_count"], &first["execution_count"]),
        (&json!(4), &json!(3)),
        "{first}"
    );
    let count = |kind: &str| first["inference_stats"][kind]["count"].as_u64();
    let counts = [
        "success",
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
    ]
    .map(count);
    assert_eq!(counts, [2, 1, 2, 2, 2, 2].map(Some), "{first}");
    assert_measured_whole(first);
    let no_cache = json!({ "count": 0, "ns": 0 });
    assert_eq!(first["inference_stats"]["cache_hit"], no_cache);
    assert_eq!(first["inference_stats"]["cache_miss"], no_cache);
    assert_eq!(first["memory_usage"], json!([]));
    assert!(
        first["inference_stats"]["compute_infer"]["ns"].as_u64() > Some(0),
        "{first}"
    );
    assert!(first["last_inference"].as_u64() > Some(1_700_000_000_000), "{first}");
    let second = &all["model_stats"][1];
    assert_eq!(
        (&second["version"], &second["inference_count"]),
        (&json!("2"), &json!(0))
    );
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
