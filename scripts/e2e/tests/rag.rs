//! deploy/rag as it runs together: ml-inference with the embedding model, rag-api behind the gateway, queries that stream while
//! one rag-api after the other is replaced.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::{binary, repository};
use serde_json::{Value, json};
use shared::http_client;
use shared::test_util::{DEADLINE, Process, Scratch, Signal, eventually};

/// Between two passages of a streamed answer.
const PAUSE: Duration = Duration::from_millis(150);
const TOP_K: usize = 5;
const QUESTIONS: [&str; 4] = [
    "What is the smallest unit that Kubernetes deploys?",
    "How does a rolling update avoid downtime?",
    "Which command shows why a pod does not start?",
    "How do I scale the replicas by hand?",
];

fn client() -> reqwest::Client {
    http_client::client(DEADLINE).expect("the client builds")
}

async fn is_ready(address: SocketAddr) -> bool {
    let readiness = client().get(format!("http://{address}/readyz")).send().await;
    readiness.is_ok_and(|response| response.status() == 200)
}

/// ml-inference with the model of deploy/rag.
struct Models {
    _process: Process,
    address: SocketAddr,
    _directory: Scratch,
}

impl Models {
    async fn start(port: u16) -> Self {
        let directory = Scratch::new("models");
        let model = std::fs::read(repository().join("deploy/rag/minilm.onnx")).expect("is checked in");
        // Mounted as the ConfigMap that deploy/rag makes of it.
        std::fs::create_dir(directory.path().join("..1")).expect("writable");
        directory.file("..1/minilm.onnx", model);
        for (to, link) in [("..1", "..data"), ("..data/minilm.onnx", "minilm.onnx")] {
            symlink(to, directory.path().join(link)).expect("writable");
        }
        let environment = [
            ("BIND_ADDRESS", "127.0.0.1"),
            ("SERVICE_PORT", &port.to_string()),
            ("ADMIN_ADDRESS", "127.0.0.1:0"),
            ("MODELS_DIR", directory.path().to_str().expect("UTF-8")),
            ("MODELS_INTERVAL", "0.05"),
        ];
        let process = Process::start(binary("ml-inference"), environment);
        let address = process.listening().await;
        eventually("ml-inference is ready", DEADLINE, async || is_ready(address).await).await;
        Self {
            _process: process,
            address,
            _directory: directory,
        }
    }
}

struct RagApi {
    process: Process,
    address: SocketAddr,
}

impl RagApi {
    fn spawn(models: SocketAddr, pod: &str, more: &[(&str, &str)]) -> Process {
        let root = repository().canonicalize().expect("it is there");
        let file = |name: &str| root.join("deploy/rag").join(name).display().to_string();
        let mut environment = vec![
            ("BIND_ADDRESS", "127.0.0.1".to_owned()),
            ("SERVICE_PORT", "0".to_owned()),
            ("POD_NAME", pod.to_owned()),
            ("EMBEDDING_URL", format!("http://{models}")),
            ("VOCABULARY_FILE", file("vocab.txt")),
            ("TEXTS_FILE", file("texts.txt")),
            ("PASSAGE_PAUSE", PAUSE.as_secs_f64().to_string()),
            ("DRAIN_WINDOW", "1".to_owned()),
        ];
        environment.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Process::start(binary("rag-api"), environment)
    }

    async fn start(models: SocketAddr, pod: &str, more: &[(&str, &str)]) -> Self {
        let process = Self::spawn(models, pod, more);
        let address = process.listening().await;
        eventually("rag-api is ready", DEADLINE, async || is_ready(address).await).await;
        Self { process, address }
    }

    async fn metric(&self, name: &str) -> f64 {
        let scrape = client().get(format!("http://{}/metrics", self.address)).send().await;
        let text = scrape.expect("an answer").text().await.expect("text");
        let line = text.lines().find(|line| line.starts_with(name)).expect("the metric");
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse().ok())
            .expect("a number")
    }

    async fn post(&self, body: &str) -> reqwest::Response {
        let request = client().post(format!("http://{}/query", self.address));
        request.body(body.to_owned()).send().await.expect("an answer")
    }
}

/// A gateway whose endpoints can be changed, as those of a Service change.
struct Front {
    gateway: Process,
    address: SocketAddr,
    admin: SocketAddr,
    scratch: Scratch,
}

impl Front {
    async fn start(endpoints: &[SocketAddr]) -> Self {
        let scratch = Scratch::new("rag");
        let file = scratch.file("gateway.yaml", Self::yaml(endpoints));
        let environment = [
            ("CONFIG_FILE", file.to_str().expect("UTF-8")),
            ("LISTEN_ADDRESS", "127.0.0.1:0"),
            ("ADMIN_ADDRESS", "127.0.0.1:0"),
            ("RELOAD_INTERVAL", "0.1"),
        ];
        let gateway = Process::start(binary("gateway"), environment);
        Self {
            address: gateway.listening().await,
            admin: gateway.address_of("admin listening").await,
            gateway,
            scratch,
        }
    }

    /// The route of deploy/rag.
    fn yaml(endpoints: &[SocketAddr]) -> String {
        let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
        format!(
            "clusters: [{{ name: \"rag-api:80\", endpoints: [{}] }}]
routes: [{{ prefix: /rag, cluster: \"rag-api:80\", rewrite: /, idempotent: true }}]\n",
            endpoints.join(", ")
        )
    }

    async fn has_endpoints(&self, endpoints: &[SocketAddr]) {
        self.scratch.file("gateway.yaml", Self::yaml(endpoints));
        eventually("the gateway has taken the endpoints over", DEADLINE, async || {
            let status = client().get(format!("http://{}/status.json", self.admin)).send().await;
            let status: Value = status.expect("an answer").json().await.expect("JSON");
            let known = status["clusters"][0]["endpoints"].as_array().expect("a list");
            let known: BTreeSet<&str> = known
                .iter()
                .filter_map(|endpoint| endpoint["address"].as_str())
                .collect();
            let expected: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            known == expected.iter().map(String::as_str).collect()
        })
        .await;
    }
}

fn query(question: &str, stream: bool) -> String {
    json!({ "question": question, "top_k": TOP_K, "stream": stream }).to_string()
}

/// A streamed answer as its client saw it.
struct Streamed {
    pod: String,
    passages: Vec<Value>,
    /// From the first part to the last.
    took: Duration,
}

/// Asks for a stream, of events or of lines, and reads it to its end.
async fn stream(client: &reqwest::Client, url: &str, question: &str, media_type: &str) -> Streamed {
    let request = client
        .post(url)
        .header("accept", media_type)
        .body(query(question, true));
    let mut answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], media_type);
    assert!(
        answer.headers().get("content-length").is_none(),
        "nobody knows how long it is"
    );
    let pod = answer.headers()["x-served-by"].to_str().expect("text").to_owned();
    let (mut body, mut first) = (Vec::new(), None);
    while let Some(part) = answer.chunk().await.expect("no stream breaks off") {
        first.get_or_insert_with(Instant::now);
        body.extend_from_slice(&part);
    }
    let took = first.expect("a part").elapsed();
    let body = String::from_utf8(body).expect("UTF-8");
    let (passages, done) = match media_type {
        "text/event-stream" => events(&body),
        _ => lines(&body),
    };
    assert_eq!(done, json!({ "passages": passages.len() }), "{body}");
    Streamed { pod, passages, took }
}

fn events(body: &str) -> (Vec<Value>, Value) {
    let mut passages = Vec::new();
    let mut done = Value::Null;
    for event in body.split_terminator("\n\n") {
        assert!(done.is_null(), "nothing follows the end: {body}");
        let (kind, data) = event.split_once('\n').expect("two lines");
        let data = data.strip_prefix("data: ").expect("data");
        let data: Value = serde_json::from_str(data).expect("JSON");
        match kind {
            "event: passage" => passages.push(data),
            "event: done" => done = data,
            other => panic!("{other}"),
        }
    }
    (passages, done)
}

fn lines(body: &str) -> (Vec<Value>, Value) {
    let mut passages: Vec<Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let done = passages.pop().expect("a last line")["done"].take();
    (passages, done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_under_way_survive_the_replacement_of_every_rag_api() {
    let models = Models::start(0).await;
    let mut pods = Vec::new();
    for pod in ["rag-api-1", "rag-api-2"] {
        pods.push(RagApi::start(models.address, pod, &[]).await);
    }
    let addresses = |pods: &[RagApi]| pods.iter().map(|pod| pod.address).collect::<Vec<_>>();
    let front = Front::start(&addresses(&pods)).await;
    let url = format!("http://{}/rag/query", front.address);

    let mut expected = Vec::new();
    for question in QUESTIONS {
        let answer = client()
            .post(&url)
            .body(query(question, false))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["question"], question);
        let passages = answer["passages"].as_array().expect("a list").clone();
        let ranks: Vec<u64> = passages.iter().filter_map(|passage| passage["rank"].as_u64()).collect();
        assert_eq!(ranks, (1..=TOP_K as u64).collect::<Vec<_>>());
        expected.push(passages);
    }
    let best = [
        "A pod is the smallest",
        "A rolling update",
        "kubectl describe",
        "kubectl scale",
    ];
    for (passages, begin) in expected.iter().zip(best) {
        let text = passages[0]["text"].as_str().expect("a text");
        assert!(text.starts_with(begin), "{text}");
    }

    let is_over = Arc::new(AtomicBool::new(false));
    let clients = (0..6).map(|number| {
        let (is_over, url) = (Arc::clone(&is_over), url.clone());
        let (question, expected) = (
            QUESTIONS[number % QUESTIONS.len()],
            expected[number % QUESTIONS.len()].clone(),
        );
        let media_type = ["text/event-stream", "application/x-ndjson"][number % 2];
        tokio::spawn(async move {
            let client = client();
            let mut pods = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                let streamed = stream(&client, &url, question, media_type).await;
                assert_eq!(streamed.passages, expected, "{question}");
                // The passages came one by one, not at the end.
                assert!(streamed.took >= PAUSE * (TOP_K as u32) / 2, "{:?}", streamed.took);
                pods.push(streamed.pod);
            }
            pods
        })
    });
    let clients: Vec<_> = clients.collect();

    for (number, new) in ["rag-api-3", "rag-api-4"].into_iter().enumerate() {
        let new = RagApi::start(models.address, new, &[]).await;
        let mut old = std::mem::replace(&mut pods[number], new);
        eventually("streams are under way at the old one", DEADLINE, async || {
            // The scrape itself is one.
            old.metric("rag_api_requests_in_flight").await > 1.0
        })
        .await;
        old.process.signal(Signal::TERM);
        front.has_endpoints(&addresses(&pods)).await;
        let finished = old.process.wait_exit(DEADLINE).await;
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.stdout.contains("\"drained\""), "{finished:?}");
        assert!(!finished.stdout.contains("\"aborted\":true"), "{finished:?}");
        let new = &pods[number];
        eventually("the new one has streams", DEADLINE, async || {
            new.metric("rag_api_requests_in_flight").await > 1.0
        })
        .await;
    }
    is_over.store(true, Ordering::SeqCst);
    let mut served = Vec::new();
    for client in clients {
        served.extend(
            client
                .await
                .unwrap_or_else(|error| panic!("{error}\n{}", front.gateway.output())),
        );
    }
    served.sort();
    served.dedup();
    assert_eq!(served, ["rag-api-1", "rag-api-2", "rag-api-3", "rag-api-4"]);
}

#[tokio::test]
async fn it_is_ready_when_ml_inference_has_embedded_the_texts() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let rag = RagApi::spawn(SocketAddr::from(([127, 0, 0, 1], port)), "rag-api", &[]);
    let rag = RagApi {
        address: rag.listening().await,
        process: rag,
    };
    let warned = rag
        .process
        .log_line("not ready: the texts have no vectors yet; trying again")
        .await;
    assert!(
        warned["error"].as_str().expect("text").contains("cannot reach"),
        "{warned}"
    );
    assert!(!is_ready(rag.address).await);
    let early = rag.post(&query(QUESTIONS[0], false)).await;
    assert_eq!(early.status(), 503);
    assert_eq!(early.headers()["retry-after"], "1");
    let get = async |path: &str| {
        client()
            .get(format!("http://{}{path}", rag.address))
            .send()
            .await
            .expect("an answer")
    };
    assert_eq!(get("/livez").await.status(), 200);

    let models = Models::start(port).await;
    eventually("it is ready", DEADLINE, async || is_ready(rag.address).await).await;
    let health: Value = get("/health").await.json().await.expect("JSON");
    assert_eq!(
        (&health["status"], &health["service"]),
        (&"healthy".into(), &"rag-api".into())
    );
    assert_eq!(
        rag.metric("rag_api_texts").await,
        health["texts"].as_f64().expect("a number")
    );

    // Without ml-inference there is no answer, and the reason names no address.
    drop(models);
    let refused = rag.post(&query(QUESTIONS[0], true)).await;
    assert_eq!(refused.status(), 503);
    let problem: Value = refused.json().await.expect("JSON");
    assert_eq!(problem["detail"], "the embedding model does not answer");
    assert!(rag.metric("rag_api_embedding_errors_total").await >= 2.0);
}

#[tokio::test]
async fn what_a_client_may_not_ask_is_answered_with_the_reason() {
    let models = Models::start(0).await;
    let limits = [
        ("MAX_QUERIES", "1"),
        ("MAX_QUESTION_CHARS", "20"),
        ("API_KEY", "the-key"),
        // A stream lasts until its client leaves.
        ("PASSAGE_PAUSE", "3600"),
    ];
    let rag = RagApi::start(models.address, "rag-api", &limits).await;
    let client = client();
    let url = format!("http://{}/query", rag.address);
    let ask = async |body: &str| {
        let request = client.post(&url).header("x-api-key", "the-key").body(body.to_owned());
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.expect("JSON"))
    };
    let long = format!("{{\"question\": \"{}\"}}", "x".repeat(128 << 10));
    for (body, status, field) in [
        ("{", 400, "body"),
        ("{\"question\": \"\"}", 400, "question"),
        ("{\"question\": \"What is a pod, and why?\"}", 400, "question"),
        ("{\"question\": \"q\", \"top_k\": 11}", 400, "top_k"),
        (long.as_str(), 413, "body"),
    ] {
        let (found, problem) = ask(body).await;
        assert_eq!((found, &problem["field"]), (status, &field.into()), "{problem}");
    }
    assert_eq!(ask("{\"question\": \"What is a pod?\"}").await.0, 200);
    let without = rag.post(&query("q", false)).await;
    assert_eq!(without.status(), 401);
    assert_eq!(without.headers()["www-authenticate"], "Bearer");
    for (method, path, status) in [
        ("GET", "/query", 405),
        ("POST", "/health", 405),
        ("GET", "/nowhere", 404),
    ] {
        let method = method.parse().expect("a method");
        let answer = client
            .request(method, format!("http://{}{path}", rag.address))
            .send()
            .await;
        assert_eq!(answer.expect("an answer").status(), status, "{path}");
    }

    // A second query while a stream is under way; its place is free again when the stream's client has left.
    let stream = client
        .post(&url)
        .header("x-api-key", "the-key")
        .body("{\"question\": \"pod\", \"stream\": true}");
    let stream = stream.send().await.expect("an answer");
    assert_eq!(stream.status(), 200);
    let (status, problem) = ask("{\"question\": \"node\"}").await;
    assert_eq!(
        (status, &problem["detail"]),
        (503, &"too many queries at a time".into())
    );
    drop(stream);
    eventually("the place is free", DEADLINE, async || {
        ask("{\"question\": \"node\"}").await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn files_that_cannot_be_used_end_the_start_with_their_names() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let scratch = Scratch::new("rag");
    let empty = scratch.file("empty.txt", "# nothing\n");
    for (setting, path, expected) in [
        ("TEXTS_FILE", empty.to_str().expect("UTF-8"), "TEXTS_FILE: "),
        ("VOCABULARY_FILE", empty.to_str().expect("UTF-8"), "VOCABULARY_FILE: "),
        ("TEXTS_FILE", "/nowhere/texts.txt", "/nowhere/texts.txt: cannot be read"),
    ] {
        let mut rag = RagApi::spawn(nowhere, "rag-api", &[(setting, path)]);
        let finished = rag.wait_exit(DEADLINE).await;
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(finished.stdout.contains(expected), "{finished:?}");
    }
}
