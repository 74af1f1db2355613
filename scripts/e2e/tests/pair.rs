//! The lab's requests through both services.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::{Pair, Replica};
use shared::test_util::{DEADLINE, Scratch, Signal, eventually};

const LAB_LINE: &str = "{\"predictions\": [2.5, 3.0, 4.5], \"model\": \"half_plus_two\", \"version\": \"1.0\"}\n";

#[tokio::test]
async fn every_request_of_the_lab_is_answered_as_the_lab_says() {
    let pair = Pair::start(2).await;
    let predict = pair.get("/predict").await;
    assert_eq!(predict.status(), 200);
    assert_eq!(predict.headers()["content-type"], "application/json");
    assert_eq!(predict.headers()["x-model-version"], "1.0");
    assert!(
        predict.headers()["x-served-by"]
            .to_str()
            .expect("text")
            .starts_with("ml-inference-")
    );
    assert_eq!(predict.text().await.expect("text"), LAB_LINE);

    assert_eq!(pair.get("/health").await.text().await.expect("text"), "Gateway OK\n");
    let status = pair.get("/status").await.text().await.expect("text");
    assert_eq!(status, "API Gateway v1.0\nBackend: ml-inference-service:5000\n");

    let posted = pair.post("/predict", "{\"instances\": [1.0, 2.0, 5.0]}").await;
    assert_eq!(posted.text().await.expect("text"), LAB_LINE);
    let lesson = pair.post("/predict", "{\"features\": [1, 2, 3, 4, 5]}").await;
    assert_eq!(
        lesson.text().await.expect("text"),
        "{\"prediction\": 15.0, \"model_version\": \"v1.0\"}\n"
    );
}

#[tokio::test]
async fn both_model_server_protocols_go_through_the_gateway() {
    let pair = Pair::start(2).await;
    let predicted = pair
        .post("/v1/models/half_plus_two:predict", "{\"instances\": [1.0, 2.0, 5.0]}")
        .await;
    assert_eq!(predicted.headers()["x-model-version"], "1.0");
    assert_eq!(
        predicted.text().await.expect("text"),
        "{\"predictions\":[2.5,3.0,4.5]}\n"
    );
    let status = pair.get("/v1/models/half_plus_two/versions/1").await;
    let status: serde_json::Value = status.json().await.expect("JSON");
    assert_eq!(status["model_version_status"][0]["state"], "AVAILABLE");

    let body = r#"{"inputs": [{"name": "x", "shape": [3, 1], "datatype": "FP32", "data": [1, 2, 5]}]}"#;
    let inferred = pair.post("/v2/models/half_plus_two/infer", body).await;
    let inferred: serde_json::Value = inferred.json().await.expect("JSON");
    assert_eq!(inferred["outputs"][0]["data"], serde_json::json!([2.5, 3.0, 4.5]));
    assert_eq!(pair.get("/v2/health/ready").await.status(), 200);
    for prefix in ["", "/predict"] {
        for verb in ["load", "unload"] {
            let path = format!("{prefix}/v2/repository/models/half_plus_two/{verb}");
            let refused = pair.post(&path, "{}").await;
            assert_eq!(refused.status(), 403, "{path}");
            let refused: serde_json::Value = refused.json().await.expect("JSON");
            assert!(
                refused["error"].as_str().expect("text").contains("admin listener"),
                "{refused}"
            );
        }
    }

    let binary = "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,1],\"datatype\":\"FP32\",\"parameters\":{\"binary_data_size\":4}}],\
                  \"parameters\":{\"binary_data_output\":true}}\0\0\0\0";
    let asked = pair
        .client
        .post(pair.url("/v2/models/half_plus_two/infer"))
        .body(binary);
    let length = binary.len() - 4;
    let asked = asked.header("inference-header-content-length", length);
    let answered = asked.send().await.expect("an answer");
    let length = answered.headers()["inference-header-content-length"]
        .to_str()
        .expect("text");
    let length: usize = length.parse().expect("a number");
    let bytes = answered.bytes().await.expect("a body");
    assert_eq!(&bytes[length..], 2.0_f32.to_le_bytes());

    for (path, status) in [
        ("/v1/models/nope:predict", 404),
        ("/v1/foo", 400),
        ("/v2/models/nope/infer", 404),
    ] {
        let refused = pair.post(path, "{}").await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["content-type"]),
            (status, &"application/json".parse().expect("a value"))
        );
        let error: serde_json::Value = refused.json().await.expect("JSON");
        assert!(error["error"].is_string(), "{error}");
    }
}

#[tokio::test]
async fn mlflows_protocol_goes_through_the_gateway() {
    let pair = Pair::start(1).await;
    for (content_type, body) in [
        (
            "application/json",
            "{\"dataframe_split\": {\"columns\": [\"x\"], \"data\": [[1.0], [5.0]]}}",
        ),
        ("text/csv", "x\n1\n5\n"),
    ] {
        let asked = pair.client.post(pair.url("/invocations")).body(body);
        let answer = asked.header("content-type", content_type).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.headers()["x-model-version"], "1.0");
        let answer: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(
            answer,
            serde_json::json!({ "predictions": [2.5, 4.5] }),
            "{content_type}"
        );
    }
    assert_eq!(pair.get("/ping").await.text().await.expect("text"), "\n");
    assert_eq!(pair.get("/version").await.status(), 200);
    let refused = pair.post("/invocations", "{}").await;
    assert_eq!(refused.status(), 400);
    let refused: serde_json::Value = refused.json().await.expect("JSON");
    assert_eq!(refused["error_code"], "BAD_REQUEST", "{refused}");
}

/// What a client of image models sends: 32 images of 3x224x224, which are 19.3 MB in binary.
#[tokio::test]
async fn a_batch_of_images_passes_the_limits_of_both() {
    const IMAGES: usize = 32;
    const VALUES: usize = 3 * 224 * 224;
    let scratch = Scratch::new("images");
    std::fs::create_dir_all(scratch.path().join("pool/1")).expect("makes directories");
    scratch.file("pool/1/model.onnx", pooling_model());
    let directory = scratch.path().to_str().expect("a path");
    let replica = Replica::start_with(&[("MODELS_DIR", directory), ("MODEL_NAME", "pool")]).await;
    let pair = Pair::in_front_of(vec![replica]).await;

    let json = format!(
        "{{\"inputs\":[{{\"name\":\"x\",\"shape\":[{IMAGES},3,224,224],\"datatype\":\"FP32\",\
         \"parameters\":{{\"binary_data_size\":{}}}}}]}}",
        IMAGES * VALUES * size_of::<f32>()
    );
    let mut body = json.clone().into_bytes();
    for image in 0..IMAGES {
        let value = image as f32;
        body.extend(std::iter::repeat_n(value.to_le_bytes(), VALUES).flatten());
    }
    let asked = pair.client.post(pair.url("/v2/models/pool/infer")).body(body);
    let asked = asked.header("inference-header-content-length", json.len());
    let answer = asked.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(answer["outputs"][0]["shape"], serde_json::json!([IMAGES, 3, 1, 1]));
    let means = answer["outputs"][0]["data"].as_array().expect("numbers");
    for (at, mean) in means.iter().enumerate() {
        let (mean, expected) = (mean.as_f64().expect("a number"), (at / 3) as f64);
        assert!((mean - expected).abs() < 1e-3, "{at}: {mean}");
    }
}

/// An ONNX file: GlobalAveragePool from FP32[n,3,224,224] to FP32[n,3,1,1].
fn pooling_model() -> Vec<u8> {
    // Protocol Buffers: a field is its number and type, then a number or a length with so many bytes.
    fn number(field: u8, value: u64) -> Vec<u8> {
        let mut bytes = vec![field << 3];
        let mut rest = value;
        while rest > 0x7f {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    }
    fn message(field: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = number(field, content.len() as u64);
        bytes[0] |= 2;
        [bytes.as_slice(), content].concat()
    }
    fn tensor(name: &str, lengths: [u64; 3]) -> Vec<u8> {
        let rows = message(1, &message(2, b"n"));
        let dims = lengths.map(|length| message(1, &number(1, length))).concat();
        let shape = [rows, dims].concat();
        // Element type 1 is FP32.
        let described = message(1, &[number(1, 1), message(2, &shape)].concat());
        [message(1, name.as_bytes()), message(2, &described)].concat()
    }
    let node = [message(1, b"x"), message(2, b"y"), message(4, b"GlobalAveragePool")].concat();
    let graph = [
        message(1, &node),
        message(2, b"pool"),
        message(11, &tensor("x", [3, 224, 224])),
        message(12, &tensor("y", [3, 1, 1])),
    ];
    let operators = message(8, &number(2, 13));
    [number(1, 8), message(7, &graph.concat()), operators].concat()
}

#[tokio::test]
async fn what_the_model_server_refuses_comes_through_as_it_said_it() {
    let pair = Pair::start(1).await;
    for (body, status) in [
        ("{", 400),
        ("{\"instances\": []}", 400),
        ("{\"instances\": [\"x\"]}", 400),
    ] {
        let refused = pair.post("/predict", body).await;
        assert_eq!(refused.status(), status, "{body}");
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = refused.json().await.expect("JSON");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["error"], problem["detail"]);
    }
    // The model server's own 404, below a prefix that the gateway passes through.
    let unknown = pair.get("/predict/nothing-here").await;
    assert_eq!(
        (unknown.status().as_u16(), unknown.headers().contains_key("x-served-by")),
        (404, true)
    );
}

#[tokio::test]
async fn one_request_id_names_the_request_in_the_answer_and_in_both_logs() {
    let pair = Pair::start(1).await;
    let id = pair.get("/predict").await.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    for process in [&pair.gateway, &pair.replicas[0].process] {
        let line = process
            .log_line_where("the request", |line| line["request_id"] == id.as_str())
            .await;
        assert_eq!(line["status"], 200);
        assert_eq!(line["method"], "GET");
    }
}

#[tokio::test]
async fn requests_are_spread_evenly() {
    let pair = Pair::start(3).await;
    // A replica that the machine kept waiting gets less until that is forgotten.
    eventually("60 requests are spread evenly", DEADLINE, async || {
        let mut served: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..60 {
            let response = pair.get("/predict").await;
            let pod = response.headers()["x-served-by"].to_str().expect("text").to_owned();
            *served.entry(pod).or_default() += 1;
        }
        served.len() == 3 && served.values().all(|count| (15..=25).contains(count))
    })
    .await;
}

#[tokio::test]
async fn two_hundred_concurrent_clients_are_served() {
    let pair = Arc::new(Pair::start(2).await);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let pair = Arc::clone(&pair);
        clients.spawn(async move {
            for _ in 0..5 {
                assert_eq!(pair.get("/predict").await.text().await.expect("text"), LAB_LINE);
            }
        });
    }
    assert_eq!(clients.join_all().await.len(), 200);
}

/// What a client under steady load saw.
#[derive(Default)]
struct Seen {
    by_version: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// Sends requests one after the other, GET and POST in turn, until `stop`.
async fn load(pair: Arc<Pair>, stop: Arc<AtomicBool>, keep_alive: bool) -> Seen {
    let mut seen = Seen::default();
    let mut turn = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let mut request = match turn % 2 {
            0 => pair.client.get(pair.url("/predict")),
            _ => pair.client.post(pair.url("/predict")).body("{\"instances\": [1.0]}"),
        };
        if !keep_alive {
            request = request.header("connection", "close");
        }
        match request.send().await {
            Ok(response) if response.status() == 200 => {
                let version = response.headers()["x-model-version"].to_str().expect("text").to_owned();
                match response.text().await {
                    Ok(_) => *seen.by_version.entry(version).or_default() += 1,
                    Err(error) => seen.failures.push(format!("turn {turn}: {error:?}")),
                }
            }
            Ok(response) => seen.failures.push(format!("turn {turn}: {}", response.status())),
            Err(error) => seen.failures.push(format!("turn {turn}: {error:?}")),
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_every_replica_under_load_loses_no_request() {
    let mut pair = Pair::start(3).await;
    let replicas = std::mem::take(&mut pair.replicas);
    let pair = Arc::new(pair);
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..8 {
        clients.spawn(load(Arc::clone(&pair), Arc::clone(&stop), number % 2 == 0));
    }

    // One by one, each on its own port: first v2, and as one would not do in a hurry, one by kill -9.
    let mut updated = Vec::new();
    for (number, replica) in replicas.into_iter().enumerate() {
        let port = replica.address.port();
        if number == 1 {
            drop(replica);
        } else {
            let finished = replica.stop().await;
            assert_eq!(finished.code, 0, "{finished:?}");
        }
        updated.push(Replica::start(&format!("ml-inference-v2-{number}"), "2.0", port).await);
    }
    let new_version = |seen: &Seen| seen.by_version.get("2.0").copied().unwrap_or(0);

    stop.store(true, Ordering::Relaxed);
    let seen = clients.join_all().await;
    let failures: Vec<&String> = seen.iter().flat_map(|seen| &seen.failures).collect();
    let total: usize = seen.iter().flat_map(|seen| seen.by_version.values()).sum();
    assert!(
        failures.is_empty(),
        "failed requests: {} of {total}: {failures:?}\n{}",
        failures.len(),
        pair.gateway.output()
    );
    assert!(total > 100, "there was load: {total}");
    assert!(
        seen.iter().map(new_version).sum::<usize>() > 0,
        "the new version answered"
    );
}

#[tokio::test]
async fn the_pair_stops_cleanly() {
    let mut pair = Pair::start(1).await;
    assert_eq!(pair.get("/predict").await.status(), 200);
    pair.gateway.signal(Signal::INT);
    assert_eq!(pair.gateway.wait_exit(DEADLINE).await.code, 0);
    for replica in pair.replicas {
        assert_eq!(replica.stop().await.code, 0);
    }
}
