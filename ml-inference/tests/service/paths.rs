//! Every path of the lab: exact bodies and headers.

use std::time::{Duration, SystemTime};

use shared::test_util::RawClient;

use crate::server::{LABS_LINE, Server};

#[tokio::test]
async fn a_get_answers_the_labs_line_byte_for_byte() {
    let server = Server::start(&[]).await;
    for path in ["/", "/predict", "/predict?x=1"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, LABS_LINE, "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("content-length"), LABS_LINE.len().to_string());
        assert_eq!(answer.header("x-served-by"), "ml-inference-abc12");
        assert_eq!(answer.header("x-model-version"), "1.0");
        assert_eq!(answer.header("x-request-id").len(), 32);
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = Server::start(&[]).await;
    for (path, content_type) in [
        ("/", "application/json"),
        ("/predict", "application/json"),
        ("/health", "application/json"),
        ("/livez", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4"),
    ] {
        let mut client = server.connect().await;
        // The second request shows that no body was left on the connection after the first.
        for _ in 0..2 {
            client.send(format!("HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
            let response = client.response_to_head().await;
            assert_eq!(response.status, 200, "{path}");
            assert_eq!(response.header("content-type"), Some(content_type), "{path}");
            assert!(response.header("content-length").is_some(), "{path}");
        }
    }
}

#[tokio::test]
async fn instances_are_answered_by_the_model() {
    let server = Server::start(&[]).await;
    for (body, predictions) in [
        (r#"{"instances": [1.0, 2.0, 5.0]}"#, "[2.5, 3.0, 4.5]"),
        (r#"{"instances":[0]}"#, "[2.0]"),
        ("\r\n { \"instances\" : [ 10 , -4 ] } \t\n", "[7.0, 0.0]"),
        (r#"{"\u0069nstances":[2]}"#, "[3.0]"),
        (r#"{"instances":[[1,2],[3,4]]}"#, "[[2.5, 3.0], [3.5, 4.0]]"),
        (
            r#"{"instances":[1e300,1e-300,-1e22,5e-324]}"#,
            "[5e+299, 2.0, -5e+21, 2.0]",
        ),
        // 2^53 + 1 is no double; the nearest even one is meant.
        (r#"{"instances":[9007199254740993]}"#, "[4503599627370498.0]"),
        (
            r#"{"instances":[123456789012345678901234567890]}"#,
            "[6.172839450617284e+28]",
        ),
    ] {
        for path in ["/", "/predict"] {
            let answer = server.post(path, body).await;
            assert_eq!(answer.status, 200, "{body}: {}", answer.body);
            let expected =
                format!("{{\"predictions\": {predictions}, \"model\": \"half_plus_two\", \"version\": \"1.0\"}}\n");
            assert_eq!(answer.body, expected, "{body}");
            assert_eq!(answer.header("content-type"), "application/json");
        }
    }
}

#[tokio::test]
async fn features_are_answered_by_the_sum() {
    let server = Server::start(&[]).await;
    for path in ["/", "/predict"] {
        let answer = server.post(path, r#"{"features": [1,2,3,4,5]}"#).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, "{\"prediction\": 15.0, \"model_version\": \"v1.0\"}\n");
    }
}

#[tokio::test]
async fn the_content_type_of_a_request_does_not_matter() {
    let server = Server::start(&[]).await;
    let body = r#"{"instances": [1, 2, 5]}"#;
    for header in [
        "",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: text/plain\r\n",
        "content-type: application/json; charset=utf-8\r\n",
        "content-type: image/png\r\n",
    ] {
        let mut client = server.connect().await;
        let length = body.len();
        client
            .send(format!(
                "POST / HTTP/1.1\r\nhost: x\r\n{header}content-length: {length}\r\n\r\n{body}"
            ))
            .await;
        assert_eq!(client.response().await.body, LABS_LINE, "{header:?}");
    }
}

#[tokio::test]
async fn another_version_shows_in_the_body_and_in_the_headers() {
    let server = Server::start(&[("MODEL_VERSION", "2.0")]).await;
    let answer = server.get("/predict").await;
    assert_eq!(answer.body, LABS_LINE.replace("1.0", "2.0"));
    assert_eq!(answer.header("x-model-version"), "2.0");
    let answer = server.post("/", r#"{"features": [0.5]}"#).await;
    assert_eq!(answer.body, "{\"prediction\": 0.5, \"model_version\": \"v2.0\"}\n");
}

#[tokio::test]
async fn the_model_sum_adds_up_each_row() {
    let server = Server::start(&[("MODEL_NAME", "sum")]).await;
    let answered = "{\"predictions\": [15.0], \"model\": \"sum\", \"version\": \"1.0\"}\n";
    assert_eq!(server.get("/").await.body, answered);
    let answer = server.post("/", r#"{"instances": [[1,2],[3,4]]}"#).await;
    assert_eq!(answer.body, answered.replace("15.0", "3.0, 7.0"));
    let answer = server.post("/", r#"{"instances": [1,2]}"#).await;
    assert_eq!(answer.body, answered.replace("15.0", "1.0, 2.0"));
}

#[tokio::test]
async fn a_request_larger_than_a_batch_is_answered_whole_and_in_order() {
    let server = Server::start(&[("BATCH_SIZE", "3")]).await;
    let numbers: Vec<u32> = (0..1000).collect();
    let answer = server
        .post("/", serde_json::json!({ "instances": numbers }).to_string())
        .await;
    let expected: Vec<f64> = numbers.iter().map(|x| f64::from(*x) / 2.0 + 2.0).collect();
    assert_eq!(answer.json()["predictions"], serde_json::json!(expected));
}

#[tokio::test]
async fn health_is_the_labs_and_the_time_is_now() {
    let server = Server::start(&[("SERVICE_NAME", "ml-service")]).await;
    let answer = server.get("/health").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    let start = "{\"status\":\"healthy\",\"service\":\"ml-service\",\"timestamp\":\"";
    let end = "Z\",\"monitoring\":\"prometheus\"}\n";
    assert!(
        answer.body.starts_with(start) && answer.body.ends_with(end),
        "{}",
        answer.body
    );

    let health = answer.json();
    let timestamp: jiff::Timestamp = health["timestamp"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("RFC 3339");
    let age = SystemTime::now().duration_since(timestamp.into()).expect("in the past");
    assert!(age < Duration::from_secs(60), "{age:?}");
}

#[tokio::test]
async fn probes_say_ok_as_text() {
    let server = Server::start(&[]).await;
    for path in ["/livez", "/readyz"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
}

#[tokio::test]
async fn an_old_client_is_answered_too() {
    let server = Server::start(&[]).await;
    let mut client = RawClient::connect(server.address).await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((response.status, response.body.as_str()), (200, LABS_LINE));
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]).await;
    let mut client = server.connect().await;
    let post = |body: &str| {
        format!(
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    client
        .send(post(r#"{"features":[1]}"#) + &post(r#"{"features":[2]}"#) + &post("broken"))
        .await;
    assert!(client.response().await.body.starts_with("{\"prediction\": 1.0"));
    assert!(client.response().await.body.starts_with("{\"prediction\": 2.0"));
    assert_eq!(client.response().await.status, 400);
}
