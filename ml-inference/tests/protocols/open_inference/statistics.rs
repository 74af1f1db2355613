//! Statistics, as perf_analyzer reads them.

use model_runtime::tensor::DataType;
use model_runtime::{Dim, Signature, TensorSpec};
use serde_json::{Value, json};

use super::INFER;
use crate::models::{Counting, Echo, rows};
use crate::service::{Service, model};

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
