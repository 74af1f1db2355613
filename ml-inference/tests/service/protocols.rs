//! The model servers' protocols over real sockets, beside the lab's paths.

use std::fs;

use crate::server::{LABS_LINE, Server};

const PREDICT: &str = "/v1/models/half_plus_two:predict";
const INFER: &str = "/v2/models/half_plus_two/infer";

#[tokio::test]
async fn all_three_protocols_are_answered_on_one_port_by_one_model() {
    let server = Server::start(&[("MODEL_VERSION", "2.1")]).await;
    let lab = server.post("/", r#"{"instances": [1.0, 2.0, 5.0]}"#).await;
    assert_eq!(lab.body, LABS_LINE.replace("1.0\"", "2.1\""));
    let tf_serving = server.post(PREDICT, r#"{"instances": [1.0, 2.0, 5.0]}"#).await;
    assert_eq!(tf_serving.body, "{\"predictions\":[2.5,3.0,4.5]}\n");
    let body = r#"{"inputs": [{"name": "x", "shape": [3, 1], "datatype": "FP32", "data": [1.0, 2.0, 5.0]}]}"#;
    let open_inference = server.post(INFER, body).await;
    assert_eq!(
        open_inference.json()["outputs"][0]["data"],
        serde_json::json!([2.5, 3.0, 4.5])
    );
    assert_eq!(open_inference.json()["model_version"], "2");
    for answer in [tf_serving, open_inference] {
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/json")
        );
        assert_eq!(answer.header("x-model-version"), "2.1");
        assert_eq!(answer.header("x-served-by"), "ml-inference-abc12");
        assert_eq!(answer.header("x-request-id").len(), 32);
    }
}

#[tokio::test]
async fn bytes_behind_the_json_come_back_as_bytes() {
    let server = Server::start(&[]).await;
    let json = r#"{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","parameters":{"binary_data_size":4}}],"parameters":{"binary_data_output":true}}"#;
    let mut client = server.connect().await;
    let head = format!(
        "POST {INFER} HTTP/1.1\r\nhost: x\r\ninference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n{json}",
        json.len(),
        json.len() + 4
    );
    client.send([head.as_bytes(), &1.0_f32.to_le_bytes()].concat()).await;
    let response = client.response().await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/octet-stream"));
    let length = response
        .header("inference-header-content-length")
        .and_then(|text| text.parse().ok());
    let (json, binary) = response.body.split_at(length.expect("a length"));
    assert!(json.ends_with("\"parameters\":{\"binary_data_size\":4}}]}"), "{json}");
    // 2.5 as bytes happens to be text.
    assert_eq!(binary.as_bytes(), 2.5_f32.to_le_bytes());
}

#[tokio::test]
async fn headers_that_say_two_things_about_a_body_are_refused() {
    let server = Server::start(&[]).await;
    for (headers, status, problem) in [
        (
            "inference-header-content-length: 2\r\ninference-header-content-length: 2\r\n",
            400,
            "inference-header-content-length: expected one length, found several",
        ),
        (
            "content-encoding: identity\r\ncontent-encoding: gzip\r\n",
            415,
            "this Content-Encoding is not known",
        ),
        ("content-length: 3\r\n", 400, ""),
    ] {
        let mut client = server.connect().await;
        client
            .send(format!(
                "POST {INFER} HTTP/1.1\r\nhost: x\r\n{headers}content-length: 2\r\n\r\n{{}}"
            ))
            .await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{headers}: {}", response.body);
        assert!(response.body.contains(problem), "{headers}: {}", response.body);
    }
}

#[tokio::test]
async fn errors_have_the_protocols_form_wherever_they_come_from() {
    let server = Server::start(&[("MAX_BODY_BYTES", "64")]).await;
    let large = "x".repeat(65);
    for path in [PREDICT, INFER] {
        for (body, status) in [("{", 400), (large.as_str(), 413)] {
            let answer = server.post(path, body.to_owned()).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (status, "application/json")
            );
            let error = answer.json();
            assert!(error["error"].is_string() && error.get("status").is_none(), "{error}");
            assert_eq!(
                answer.header("x-model-version"),
                "1.0",
                "the served one, when none is chosen"
            );
        }
    }
    let mut client = server.connect().await;
    client
        .send(format!(
            "POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{{"
        ))
        .await;
    client.finish_sending().await;
    let response = client.response().await;
    assert_eq!(
        (response.status, response.body.as_str()),
        (400, "{\"error\":\"the body ended early\"}\n")
    );
}

#[tokio::test]
async fn metrics_and_log_lines_name_the_kind_of_request_and_the_version() {
    let server = Server::start(&[("MODEL_VERSION", "3.0")]).await;
    for model in ["half_plus_two", "sum", "nope"] {
        let body = r#"{"instances": [[1.0]]}"#;
        server
            .post(&format!("/v1/models/{model}/versions/3:predict"), body)
            .await;
    }
    server.get("/v2/health/ready").await;
    let metrics = server.metrics().await;
    for counted in [
        "ml_inference_requests_total{code_class=\"2xx\",method=\"POST\",route=\"/v1/models/:predict\"} 2",
        "ml_inference_requests_total{code_class=\"4xx\",method=\"POST\",route=\"/v1/models/:predict\"} 1",
        "ml_inference_requests_total{code_class=\"2xx\",method=\"GET\",route=\"/v2/health/ready\"} 1",
    ] {
        assert!(metrics.contains(counted), "{counted} in\n{metrics}");
    }
    let asked = |line: &serde_json::Value| line["path"] == "/v1/models/sum/versions/3:predict";
    let line = server.process.log_line_where("the request", asked).await;
    assert_eq!(line["model_version"], "3.0");
    assert!(
        !server.process.output().contains("/v2/health/ready"),
        "probes are not logged"
    );
}

/// What the process has in memory, in bytes, by a line of the kernel's report on it.
fn memory(server: &Server, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process.id())).expect("it runs");
    let line = status
        .lines()
        .find_map(|found| found.strip_prefix(line))
        .expect("the kernel tells");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

/// Memory must grow by less than three times the body, question and answer together.
async fn grows_by_less_than_thrice(path: &str, headers: &[(&str, &str)], body: Vec<u8>) {
    let server = Server::start(&[]).await;
    let before = memory(&server, "VmRSS:");
    let size = body.len() as u64;
    assert!(size > 10_000_000, "{size}");
    let answer = server.request_with("POST", path, headers, body).await;
    assert_eq!(answer.status, 200);
    let grown = memory(&server, "VmHWM:") - before;
    assert!(grown < 3 * size, "{grown} bytes for a body of {size}");
}

#[tokio::test]
async fn ten_megabytes_of_json_do_not_triple_in_memory() {
    let numbers: Vec<String> = (0..1_000_000)
        .map(|x| format!("[{:.6}]", f64::from(x) / 1e6 + 1.0))
        .collect();
    let numbers = numbers.join(",");
    grows_by_less_than_thrice(PREDICT, &[], format!("{{\"instances\":[{numbers}]}}").into_bytes()).await;
    let input = r#"{"name":"x","datatype":"FP32","shape":[1000000,1]"#;
    let body = format!("{{\"inputs\":[{input},\"data\":[{numbers}]}}]}}");
    grows_by_less_than_thrice(INFER, &[], body.into_bytes()).await;
}

#[tokio::test]
async fn ten_megabytes_of_bytes_do_not_triple_in_memory() {
    let json = r#"{"inputs":[{"name":"x","shape":[2600000,1],"datatype":"FP32","parameters":{"binary_data_size":10400000}}],"parameters":{"binary_data_output":true}}"#;
    let length = json.len().to_string();
    let numbers = (0..2_600_000_u32).flat_map(|x| (x as f32).to_le_bytes());
    let body = json.bytes().chain(numbers).collect();
    grows_by_less_than_thrice(INFER, &[("inference-header-content-length", &length)], body).await;
}
