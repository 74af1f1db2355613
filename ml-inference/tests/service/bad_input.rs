//! What is no valid request is answered with a problem that says what is wrong with it.

use crate::server::Server;

/// Body, the field that the problem names, and a part of its text.
const REFUSED: &[(&str, &str, &str)] = &[
    ("", "", "the body is empty"),
    (" \n\t", "", "the body is empty"),
    ("nope", "", "broken JSON: Invalid value, at line 1 column 1"),
    ("{", "", "broken JSON: A string is expected, at line 1 column 2"),
    ("{}", "", "neither `instances` nor `features`"),
    ("[1,2]", "", "expected an object with `instances` or `features`"),
    ("null", "", "expected an object"),
    ("5", "", "expected an object"),
    ("\"instances\"", "", "expected an object"),
    ("\u{feff}{\"instances\":[1]}", "", "broken JSON"),
    (
        "{\"instances\":[1]} {}",
        "",
        "something follows the JSON object, at line 1 column 19",
    ),
    ("{\"instances\":[1],}", "", "A string is expected"),
    ("{instances:[1]}", "", "A string is expected"),
    ("{'instances':[1]}", "", "A string is expected"),
    (
        "{\"instances\":[1,2",
        "instances[2]",
        "A comma or ] is missing after an element, at line 1 column 18",
    ),
    (
        "{\"instances\":[1,]}",
        "instances[1]",
        "Invalid value, at line 1 column 17",
    ),
    ("{\"instances\":[1 2]}", "instances[1]", "A comma or ] is missing"),
    ("{\n\"instances\":[1,\n01]}", "instances[2]", "line 3 column 2"),
    ("{\"instances\":[.5]}", "instances[0]", "Invalid value"),
    ("{\"instances\":[+1]}", "instances[0]", "Invalid value"),
    ("{\"instances\":[0x10]}", "instances[1]", "A comma or ] is missing"),
    (
        "{\"instances\":[1,NaN]}",
        "instances[1]",
        "NaN and Infinity are not JSON numbers",
    ),
    (
        "{\"instances\":[nan]}",
        "instances[0]",
        "NaN and Infinity are not JSON numbers",
    ),
    (
        "{\"instances\":[1,2,Infinity]}",
        "instances[2]",
        "NaN and Infinity are not JSON numbers",
    ),
    (
        "{\"instances\":[-Infinity]}",
        "instances[0]",
        "NaN and Infinity are not JSON numbers",
    ),
    (
        "{\"features\":[1,-inf]}",
        "features[1]",
        "NaN and Infinity are not JSON numbers",
    ),
    (
        "{\"instances\":[1,1e400]}",
        "instances[1]",
        "too large for a 64-bit float, at line 1",
    ),
    ("{\"features\":[-1e400]}", "features[0]", "too large for a 64-bit float"),
    ("{\"features\":[1e308,1e308]}", "features", "the result is too large"),
    ("{\"instances\":[]}", "instances", "is empty"),
    ("{\"features\":[]}", "features", "is empty"),
    ("{\"instances\":[[]]}", "instances[0]", "is empty"),
    ("{\"instances\":[[1],[]]}", "instances[1]", "is empty"),
    (
        "{\"instances\":[1,2,3,\"4\"]}",
        "instances[3]",
        "expected a number, found a string",
    ),
    (
        "{\"instances\":[true]}",
        "instances[0]",
        "expected a number, found true or false",
    ),
    (
        "{\"instances\":[1,null]}",
        "instances[1]",
        "expected a number, found null",
    ),
    (
        "{\"instances\":[{\"x\":1}]}",
        "instances[0]",
        "expected a number, found an object",
    ),
    (
        "{\"instances\":[[1,2],[3]]}",
        "instances[1]",
        "expected a list of 2 as before, found one of 1",
    ),
    (
        "{\"instances\":[[1],2]}",
        "instances[1]",
        "expected a list as before, found a number",
    ),
    (
        "{\"instances\":[1,[2]]}",
        "instances[1]",
        "expected a number as before, found a list",
    ),
    ("{\"instances\":5}", "instances", "expected a list, found a number"),
    ("{\"instances\":\"5\"}", "instances", "expected a list, found a string"),
    ("{\"instances\":{}}", "instances", "expected a list, found an object"),
    ("{\"instances\":null}", "instances", "expected a list, found null"),
    ("{\"features\":[[1]]}", "features[0]", "expected a number, found a list"),
    ("{\"features\":7}", "features", "expected a list, found a number"),
    (
        "{\"instances\":[[[[[[[[[1]]]]]]]]]}",
        "instances[0][0][0][0][0][0][0][0]",
        "deeper than the limit of 8",
    ),
    ("{\"foo\":1}", "foo", "unknown member; known are instances and features"),
    ("{\"instances\":[1],\"signature\":\"x\"}", "signature", "unknown member"),
    ("{\"Instances\":[1]}", "Instances", "unknown member"),
    ("{\"\":[1]}", "", "unknown member"),
    ("{\"instances\":[1],\"instances\":[2]}", "instances", "is given twice"),
    ("{\"features\":[1],\"features\":[2]}", "features", "is given twice"),
    (
        "{\"instances\":[1],\"features\":[1]}",
        "features",
        "cannot stand beside instances",
    ),
    (
        "{\"features\":[1],\"instances\":[1]}",
        "instances",
        "cannot stand beside features",
    ),
];

#[tokio::test]
async fn every_bad_body_is_a_400_that_names_the_field() {
    let server = Server::start(&[]).await;
    for (body, field, text) in REFUSED {
        for path in ["/", "/predict"] {
            let problem = server.post(path, *body).await.problem(400);
            assert_eq!(problem["title"], "Bad Request");
            assert_eq!(
                problem["field"].as_str().unwrap_or_default(),
                *field,
                "{body}: {problem}"
            );
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(detail.contains(text), "{body}: {detail}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_a_400() {
    let server = Server::start(&[]).await;
    for body in [
        &b"\xff\xfe"[..],
        b"{\"\xff\":[1]}",
        b"\0",
        b"{\"instances\":[1\0]}",
        &[b'['; 100_000],
    ] {
        server.post("/", body.to_vec()).await.problem(400);
    }
}

#[tokio::test]
async fn a_name_is_quoted_safely_in_the_problem() {
    let server = Server::start(&[]).await;
    let problem = server.post("/", "{\"<b>\\u0000\\\"\":[1]}").await.problem(400);
    assert_eq!(problem["field"], "<b>\0\"");
}

#[tokio::test]
async fn the_result_that_overflows_names_its_row() {
    let server = Server::start(&[("MODEL_NAME", "sum"), ("BATCH_SIZE", "1")]).await;
    let problem = server
        .post("/", r#"{"instances": [[1,1],[1e308,1e308]]}"#)
        .await
        .problem(400);
    assert_eq!(problem["field"], "instances[1]");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::start(&[]).await;
    for (path, allowed) in [
        ("/", "GET, HEAD, POST"),
        ("/predict", "GET, HEAD, POST"),
        ("/health", "GET, HEAD"),
        ("/livez", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
    ] {
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let answer = server.request(method, path, &[]).await;
            assert_eq!(answer.header("allow"), allowed, "{path}");
            let problem = answer.problem(405);
            let expected = format!("{method} does not work on {path}; use {allowed}");
            assert_eq!(problem["detail"], expected);
        }
    }
    server.post("/health", "{}").await.problem(405);
}

#[tokio::test]
async fn an_unknown_path_is_a_404() {
    let server = Server::start(&[]).await;
    for path in [
        "/nope",
        "/predict/",
        "/predictx",
        "/Predict",
        "/predict/x",
        "//",
        "/%70redict",
        "/healthz",
        "/v1",
    ] {
        let mut client = server.connect().await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let response = client.response().await;
        assert_eq!(response.status, 404, "{path}");
        assert!(response.body.contains("no such path"), "{}", response.body);
    }
    server.post("/nope", "{").await.problem(404);
}

#[tokio::test]
async fn every_answer_says_who_gave_it() {
    let server = Server::start(&[("MAX_BODY_BYTES", "64"), ("MODEL_VERSION", "1.3")]).await;
    let answers = [
        (200, server.get("/").await),
        (200, server.get("/health").await),
        (200, server.get("/livez").await),
        (200, server.get("/readyz").await),
        (200, server.get("/metrics").await),
        (200, server.post("/", r#"{"features":[1]}"#).await),
        (400, server.post("/", "broken").await),
        (404, server.get("/nope").await),
        (405, server.request("DELETE", "/", &[]).await),
        (413, server.post("/", "x".repeat(65)).await),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.header("x-served-by"), "ml-inference-abc12");
        assert_eq!(answer.header("x-model-version"), "1.3");
        assert_eq!(answer.header("x-request-id").len(), 32);
    }
}
