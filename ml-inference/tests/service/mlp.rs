//! The model that costs CPU: what it answers, and that others are answered while it computes.

use serde_json::{Value, json};
use shared::test_util::{DEADLINE, Signal, eventually};
use tokio::task::JoinHandle;

use crate::server::Server;

/// One worker and one compute thread: whoever held the worker would hold everyone up.
const MLP: [(&str, &str); 2] = [("MODEL_NAME", "mlp"), ("TENSORFLOW_INTER_OP_PARALLELISM", "1")];

fn rows(count: usize) -> Value {
    json!({ "instances": vec![vec![0.5; 64]; count] })
}

/// Posts `body` on a connection of its own.
async fn post(server: &Server, body: &Value) -> JoinHandle<String> {
    let mut client = server.connect().await;
    let body = body.to_string();
    let length = body.len();
    tokio::spawn(async move {
        client
            .send(format!(
                "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
            .await;
        let response = client.response().await;
        assert_eq!(response.status, 200);
        response.body
    })
}

#[tokio::test]
async fn each_row_of_64_numbers_gets_one() {
    let server = Server::start(&MLP).await;
    let answered = "{\"predictions\": [-0.95948076], \"model\": \"mlp\", \"version\": \"1.0\"}\n";
    assert_eq!(server.get("/predict").await.body, answered);
    let answer = server.post("/predict", rows(10).to_string()).await;
    assert_eq!(answer.json()["predictions"], json!(vec![-0.959_480_76; 10]));
}

#[tokio::test]
async fn a_row_of_another_length_is_named() {
    let server = Server::start(&MLP).await;
    for (body, found) in [
        (json!({"instances": [1, 2, 5]}), "FP32[3]"),
        (json!({"instances": [vec![0.5; 65]]}), "FP32[1,65]"),
    ] {
        let problem = server.post("/", body.to_string()).await.problem(400);
        assert_eq!(problem["field"], "x");
        assert_eq!(problem["detail"], format!("x: expected FP32[-1,64], found {found}"));
    }
    let problem = server
        .post("/", json!({"instances": [vec![3e38; 64]]}).to_string())
        .await
        .problem(400);
    assert_eq!(problem["field"], "instances[0]");
}

#[tokio::test]
async fn probes_are_answered_while_it_computes() {
    let server = Server::start(&MLP).await;
    // A second of CPU and more.
    let requests = [post(&server, &rows(500)).await, post(&server, &rows(500)).await];
    let mut probes = 0;
    while !requests.iter().any(JoinHandle::is_finished) {
        assert_eq!(server.get("/livez").await.status, 200);
        assert_eq!(server.get("/readyz").await.status, 200);
        probes += 1;
    }
    // A worker that was held would answer the first ones before it reads the requests, and then none.
    assert!(probes > 20, "{probes} probes");
    for request in requests {
        let answer: Value = serde_json::from_str(&request.await.expect("an answer")).expect("JSON");
        assert_eq!(answer["predictions"].as_array().map(Vec::len), Some(500));
    }
}

#[tokio::test]
async fn what_computes_or_waits_to_is_answered_after_sigterm() {
    let settings: Vec<(&str, &str)> = MLP.iter().copied().chain([("DRAIN_WINDOW", "0")]).collect();
    let mut server = Server::start(&settings).await;
    let body = rows(100);
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(post(&server, &body).await);
    }
    eventually("one is computed and two wait", DEADLINE, async || {
        server.metrics().await.contains("ml_inference_requests_waiting 2")
    })
    .await;
    server.process.signal(Signal::TERM);
    for asked in asked {
        let answer = asked.await.expect("is answered with 200");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["predictions"], json!(vec![-0.959_480_76; 100]));
    }
    let finished = server.process.wait_exit(DEADLINE).await;
    assert_eq!(finished.code, 0, "{}", finished.stdout);
    assert!(finished.stdout.contains("\"drained\""), "{}", finished.stdout);
}
