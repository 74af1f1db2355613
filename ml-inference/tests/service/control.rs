//! Models that are loaded and unloaded on request, at the admin listener.

use std::fs::{self, File};
use std::io::Write;

use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::test_util::{DEADLINE, Scratch, eventually};

use super::repository::{ROW, pipe, put, zoo};
use super::server::{Answer, Server};

/// The next look never comes.
const NEVER: &str = "3600";
pub(crate) const OFTEN: &str = "0.05";

/// A directory of models, a server, and its admin listener.
pub(crate) struct Scene {
    pub(crate) scratch: Scratch,
    pub(crate) server: Server,
    admin: String,
}

impl Scene {
    /// The models are there before the server.
    pub(crate) async fn start(models: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new("models");
        for (path, name) in models {
            put(scratch.path(), path, &zoo(name));
        }
        let directory = scratch.path().to_str().expect("a path").to_owned();
        let usual = [("MODELS_DIR", directory.as_str()), ("MODELS_INTERVAL", NEVER)];
        let settings: Vec<(&str, &str)> = usual.iter().chain(settings).copied().collect();
        let server = Server::start_unready(&settings).await;
        let admin = server.process.address_of("admin listening").await;
        Self {
            scratch,
            server,
            admin: format!("http://{admin}"),
        }
    }

    pub(crate) async fn ready(self) -> Self {
        eventually("it is ready", DEADLINE, async || {
            self.server.get("/readyz").await.status == 200
        })
        .await;
        self
    }

    pub(crate) fn put(&self, path: &str, content: &[u8]) {
        put(self.scratch.path(), path, content);
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.server
            .request_at(method, &format!("{}{path}", self.admin), body)
            .await
    }

    async fn control(&self, verb: &str, model: &str) -> Answer {
        self.ask("POST", &format!("/v2/repository/models/{model}/{verb}"), "{}")
            .await
    }

    pub(crate) async fn load(&self, model: &str) -> Answer {
        self.control("load", model).await
    }

    pub(crate) async fn unload(&self, model: &str) -> Answer {
        self.control("unload", model).await
    }

    pub(crate) async fn predict(&self, model: &str) -> Answer {
        self.server.post(&format!("/v1/models/{model}:predict"), ROW).await
    }

    /// What the index says of a version: its state and why.
    async fn indexed(&self, model: &str, version: &str) -> (String, String) {
        let index = self.server.post("/v2/repository/index", "").await.json();
        let mut versions = index.as_array().expect("a list").iter();
        let found = versions.find(|known| known["name"] == model && known["version"] == version);
        let text = |name: &str| {
            found
                .and_then(|found| found[name].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        (text("state"), text("reason"))
    }
}

pub(crate) fn assert_done(answer: &Answer) {
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

/// The message of a refusal as the protocol has it.
pub(crate) fn refusal(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json");
    let body = answer.json();
    assert_eq!(body.as_object().map(|members| members.len()), Some(1), "{body}");
    body["error"].as_str().expect("a message").to_owned()
}

fn state(state: &str, reason: &str) -> (String, String) {
    (state.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn a_load_is_answered_when_the_model_serves() {
    let scene = Scene::start(&[], &[]).await.ready().await;
    scene.put("m/1/model.onnx", &zoo("linear_regression"));
    assert_done(&scene.load("m").await);
    let first = scene.predict("m").await;
    assert_eq!((first.status, first.header("x-model-version")), (200, "1"));

    scene.put("m/2/model.onnx", &zoo("boosting_regressor"));
    assert_done(&scene.load("m").await);
    let second = scene.predict("m").await;
    assert_eq!((second.status, second.header("x-model-version")), (200, "2"));
    assert_ne!(first.body, second.body);
    assert_done(&scene.load("m").await);
    let metrics = scene.server.metrics().await;
    let loads = "ml_inference_model_loads_total{model=\"m\",result=\"loaded\"} 2";
    assert!(
        metrics.contains(loads),
        "what did not change is not loaded again\n{metrics}"
    );
    let counted =
        "ml_inference_requests_total{code_class=\"2xx\",method=\"POST\",route=\"/v2/repository/models/load\"} 3";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn why_a_model_is_refused_is_the_same_everywhere_and_it_is_tried_again_when_asked() {
    let scene = Scene::start(&[("m/1/model.onnx", "linear_regression")], &[])
        .await
        .ready()
        .await;
    scene.put("m/2/model.onnx", b"no model");
    let problem = refusal(&scene.load("m").await, 400);
    let reason = problem
        .strip_prefix("failed to load `m`: version 2: ")
        .expect("says which");
    assert_eq!(scene.indexed("m", "2").await, state("UNAVAILABLE", reason));
    let line = scene
        .server
        .process
        .log_line("model rejected; keeping the loaded version")
        .await;
    assert_eq!(line["problem"], reason);
    assert_eq!(scene.predict("m").await.header("x-model-version"), "1");
    refusal(&scene.load("m").await, 400);
    let metrics = scene.server.metrics().await;
    assert!(
        metrics.contains("ml_inference_model_loads_total{model=\"m\",result=\"refused\"} 2"),
        "{metrics}"
    );

    scene.put("m/config.yaml", b"labels: {stable: first}\n");
    let problem = refusal(&scene.load("m").await, 400);
    assert!(
        problem.contains("m/config.yaml:1:18: labels.stable: expected"),
        "{problem}"
    );
}

#[tokio::test]
async fn what_is_unloaded_is_not_loaded_again_by_itself() {
    let models = [("m/1/model.onnx", "linear_regression")];
    let scene = Scene::start(&models, &[("MODELS_INTERVAL", OFTEN)]).await.ready().await;
    assert_eq!(scene.predict("m").await.status, 200);
    assert_done(&scene.unload("m").await);
    assert_eq!(scene.predict("m").await.status, 404);
    assert_done(&scene.unload("m").await);
    let unloaded = state("UNAVAILABLE", "unloaded");
    eventually("it is let go", DEADLINE, async || {
        scene.indexed("m", "1").await == unloaded
    })
    .await;
    let status = scene.server.get("/v1/models/m").await.json();
    assert_eq!(status["model_version_status"][0]["state"], "END");
    assert_eq!(status["model_version_status"][0]["status"]["error_message"], "unloaded");

    // Neither a new version nor a directory that goes and comes back is a reason.
    scene.put("m/2/model.onnx", &zoo("boosting_regressor"));
    scene.put("other/1/model.onnx", &zoo("linear_regression"));
    eventually("the next looks are over", DEADLINE, async || {
        scene.predict("other").await.status == 200
    })
    .await;
    assert_eq!(scene.indexed("m", "2").await, unloaded);
    fs::rename(scene.scratch.path().join("m"), scene.scratch.path().join(".m")).expect("renames");
    eventually("it is gone", DEADLINE, async || {
        scene.indexed("m", "2").await == state("", "")
    })
    .await;
    refusal(&scene.load("m").await, 404);
    fs::rename(scene.scratch.path().join(".m"), scene.scratch.path().join("m")).expect("renames");
    eventually("it is back", DEADLINE, async || {
        scene.indexed("m", "2").await == unloaded
    })
    .await;
    scene.put("another/1/model.onnx", &zoo("linear_regression"));
    eventually("the next looks are over", DEADLINE, async || {
        scene.predict("another").await.status == 200
    })
    .await;
    assert_eq!(scene.predict("m").await.status, 404);

    assert_done(&scene.load("m").await);
    assert_eq!(scene.predict("m").await.header("x-model-version"), "2");
}

#[tokio::test]
async fn what_is_unloaded_and_gone_makes_room_for_others() {
    let names: Vec<String> = (0..256).map(|number| format!("m{number}")).collect();
    let files: Vec<String> = names.iter().map(|name| format!("{name}.onnx")).collect();
    let models: Vec<(&str, &str)> = files.iter().map(|file| (file.as_str(), "linear_regression")).collect();
    let scene = Scene::start(&models, &[("MODELS_INTERVAL", OFTEN)]).await.ready().await;
    for name in &names {
        assert_done(&scene.unload(name).await);
    }
    for file in &files {
        fs::remove_file(scene.scratch.path().join(file)).expect("removes");
    }
    scene.put("late.onnx", &zoo("linear_regression"));
    eventually("the late one serves", DEADLINE, async || {
        scene.predict("late").await.status == 200
    })
    .await;
    assert_done(&scene.unload("late").await);
    assert_eq!(scene.predict("late").await.status, 404);
}

#[tokio::test]
async fn a_pod_whose_model_is_unloaded_is_alive_and_not_ready() {
    let models = [
        ("wine/1/model.onnx", "linear_regression"),
        ("m/1/model.onnx", "linear_regression"),
    ];
    let scene = Scene::start(&models, &[("MODEL_NAME", "wine")]).await.ready().await;
    assert_done(&scene.unload("m").await);
    assert_eq!(
        scene.server.get("/readyz").await.status,
        200,
        "it is not the one that is required"
    );
    assert_done(&scene.unload("wine").await);
    let problem = "not ready: the model `wine` was unloaded at the admin listener; load it there";
    assert_eq!(scene.server.get("/readyz").await.problem(503)["detail"], problem);
    assert_eq!(scene.server.post("/predict", ROW).await.problem(503)["detail"], problem);
    assert_eq!(refusal(&scene.server.get("/v2/health/ready").await, 503), problem);
    assert_eq!(scene.server.get("/livez").await.status, 200);
    assert_eq!(scene.ask("GET", "/status.json", "").await.json()["ready"], false);
    assert_done(&scene.load("wine").await);
    assert_eq!(scene.server.get("/readyz").await.status, 200);
    assert_eq!(scene.server.post("/predict", ROW).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let scene = Scene::start(&[("m/1/model.onnx", "linear_regression")], &[])
        .await
        .ready()
        .await;
    let built_in = refusal(&scene.unload("half_plus_two").await, 400);
    assert_eq!(
        built_in,
        "`half_plus_two` is part of the program and cannot be unloaded"
    );
    assert_done(&scene.load("half_plus_two").await);
    for answer in [scene.load("nope").await, scene.unload("nope").await] {
        assert_eq!(refusal(&answer, 404), "there is no model `nope` in MODELS_DIR");
    }
    for name in ["..", "%2e%2e", "m%2f1", "%00"] {
        // Whatever a client makes of such a path, it is no model.
        assert_eq!(scene.load(name).await.status, 404, "{name}");
    }
    refusal(&scene.load("%ff").await, 400);
    for (verb, body, problem) in [
        ("load", json!({ "config": "{}" }), "parameters[config]: is not taken"),
        (
            "load",
            json!({ "file:1/model.onnx": "AAAA" }),
            "parameters[file:1/model.onnx]: is not taken",
        ),
        (
            "unload",
            json!({ "unload_dependents": 1 }),
            "parameters[unload_dependents]: expected true or false",
        ),
    ] {
        let body = json!({ "parameters": body }).to_string();
        let answer = scene
            .ask("POST", &format!("/v2/repository/models/m/{verb}"), &body)
            .await;
        let refused = refusal(&answer, 400);
        assert!(refused.starts_with(problem), "{refused}");
        assert_eq!(scene.predict("m").await.status, 200);
    }
    let dependents = json!({ "parameters": { "unload_dependents": true } }).to_string();
    assert_done(&scene.ask("POST", "/v2/repository/models/m/unload", &dependents).await);
    let wrong_method = scene.ask("GET", "/v2/repository/models/m/load", "").await;
    assert_eq!(wrong_method.header("allow"), "POST");
    refusal(&wrong_method, 405);
    fs::remove_dir_all(scene.scratch.path()).expect("removes");
    let unreadable = refusal(&scene.load("m").await, 503);
    assert!(unreadable.starts_with("MODELS_DIR cannot be read: "), "{unreadable}");
}

#[tokio::test]
async fn without_a_directory_there_is_nothing_to_load() {
    let server = Server::start(&[]).await;
    let admin = server.process.address_of("admin listening").await;
    let control = async |verb: &str, model: &str| {
        let url = format!("http://{admin}/v2/repository/models/{model}/{verb}");
        server.request_at("POST", &url, "").await
    };
    assert_done(&control("load", "sum").await);
    refusal(&control("unload", "sum").await, 400);
    let problem = "there is no model `m`, and no MODELS_DIR to load it from";
    assert_eq!(refusal(&control("load", "m").await, 404), problem);
    refusal(&control("unload", "m").await, 404);
}

#[tokio::test]
async fn each_listener_has_its_own() {
    let scene = Scene::start(&[("m/1/model.onnx", "linear_regression")], &[])
        .await
        .ready()
        .await;
    for verb in ["load", "unload"] {
        let answer = scene
            .server
            .post(&format!("/v2/repository/models/m/{verb}"), "{}")
            .await;
        assert!(refusal(&answer, 403).contains("ADMIN_ADDRESS"));
    }
    assert_eq!(scene.server.get("/status.json").await.status, 404);
    assert_eq!(scene.predict("m").await.status, 200);

    for path in [
        "/livez",
        "/readyz",
        "/metrics",
        "/status.json",
        "/v2",
        "/v2/models/m",
        "/v2/models/m/config",
    ] {
        assert_eq!(scene.ask("GET", path, "").await.status, 200, "{path}");
    }
    let index = scene
        .ask("POST", "/v2/repository/index", r#"{"ready": true}"#)
        .await
        .json();
    assert!(
        index
            .as_array()
            .expect("a list")
            .iter()
            .any(|version| version["name"] == "m"),
        "{index}"
    );
    let extensions = scene.ask("GET", "/v2", "").await.json()["extensions"].clone();
    assert!(
        extensions
            .as_array()
            .expect("a list")
            .contains(&json!("model_repository")),
        "{extensions}"
    );
    for (path, body) in [
        ("/predict", ROW),
        ("/v1/models/m:predict", ROW),
        ("/v2/models/m/infer", "{}"),
        ("/nope", ""),
    ] {
        let answer = scene.ask("POST", path, body).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains("the admin listener has /livez"), "{}", answer.body);
    }
    scene.ask("PUT", "/status.json", "").await.problem(405);
}

#[tokio::test]
async fn the_status_says_what_is_served_and_by_which_settings() {
    let models = [
        ("m/2/model.onnx", "linear_regression"),
        ("net/1/model.onnx", "neural_perceptron"),
    ];
    let scene = Scene::start(&models, &[("ENVIRONMENT", "staging")]).await.ready().await;
    scene.put("m/3/model.onnx", b"no model");
    refusal(&scene.load("m").await, 400);
    let status = scene.ask("GET", "/status.json", "").await.json();
    for (member, value) in [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("pod", json!("ml-inference-abc12")),
        ("environment", json!("staging")),
        ("ready", json!(true)),
        ("draining", json!(false)),
        ("registry", Value::Null),
    ] {
        assert_eq!(status[member], value, "{status}");
    }
    assert_eq!(status["config"]["generation"], 1);
    assert_eq!(status["config"]["refused"], Value::Null);
    let model = |name: &str| {
        let mut models = status["models"].as_array().expect("a list").iter();
        models.find(|model| model["name"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(model("half_plus_two")["versions"][0]["runtime"], "ml-inference");
    assert_eq!(model("net")["versions"][0]["runtime"], "rten");
    let served = json!({ "version": 2, "state": "AVAILABLE", "problem": null, "runtime": "onnx_ml" });
    assert_eq!(model("m")["versions"][0], served);
    assert_eq!(model("m")["versions"][1]["state"], "END");
    assert!(model("m")["versions"][1]["problem"].is_string(), "{status}");
}

#[tokio::test]
async fn a_model_comes_and_goes_under_load_and_every_answer_is_whole() {
    let scene = Scene::start(&[("m/1/model.onnx", "boosting_regressor")], &[])
        .await
        .ready()
        .await;
    let right = scene.predict("m").await.body;
    let asking = async {
        let mut gone = 0;
        while gone < 20 {
            for answer in join_all((0..8).map(|_| scene.predict("m"))).await {
                match answer.status {
                    200 => assert_eq!(answer.body, right),
                    404 => gone += 1,
                    503 => assert!(answer.body.contains("still loading"), "{}", answer.body),
                    other => panic!("{other}: {}", answer.body),
                }
            }
        }
    };
    let controlling = async {
        for _ in 0..20 {
            // At once, in any order: none of them waits for another for ever.
            let both = join_all([
                scene.control("unload", "m"),
                scene.control("load", "m"),
                scene.control("load", "m"),
            ])
            .await;
            both.iter().for_each(assert_done);
        }
        assert_done(&scene.unload("m").await);
    };
    tokio::join!(asking, controlling);
    assert_done(&scene.load("m").await);
    assert_eq!(scene.predict("m").await.body, right);
}

#[tokio::test]
async fn a_configuration_that_is_a_pipe_holds_up_no_load() {
    let scene = Scene::start(&[], &[]).await.ready().await;
    scene.put("piped/1/model.onnx", &zoo("linear_regression"));
    let path = pipe(&scene.scratch, "piped/config.yaml");
    let problem = format!("failed to load `piped`: {}: is not a regular file", path.display());
    assert_eq!(refusal(&scene.load("piped").await, 400), problem);
}

#[tokio::test]
async fn nobody_waits_longer_than_the_limit_for_a_load_that_is_slow() {
    let scene = Scene::start(
        &[("m/1/model.onnx", "linear_regression")],
        &[("MODELS_LOAD_TIMEOUT", "0.3")],
    )
    .await;
    let scene = scene.ready().await;
    let slow = pipe(&scene.scratch, "slow/1/model.onnx");
    let late = refusal(&scene.load("slow").await, 503);
    let problem =
        "is not loaded after 0.3 seconds (MODELS_LOAD_TIMEOUT); the work goes on, and the index shows its outcome";
    assert_eq!(late, format!("`slow` {problem}"));
    assert_eq!(scene.indexed("slow", "1").await, state("LOADING", ""));
    refusal(&scene.server.get("/v2/models/slow/ready").await, 503);

    // What it keeps waiting: one thing after the other, and no more of them than there are places.
    let others = join_all((0..40).map(|_| scene.control("load", "m"))).await;
    let others: Vec<String> = others.iter().map(|answer| refusal(answer, 503)).collect();
    let busy = "16 load and unload requests are already waiting";
    assert_eq!(
        others.iter().filter(|problem| *problem == busy).count(),
        24,
        "{others:?}"
    );
    assert_eq!(scene.predict("m").await.status, 200, "requests wait for none of this");
    assert_eq!(scene.server.get("/readyz").await.status, 200);

    // A file takes the pipe's place before the load that reads the pipe is over.
    let mut writer = File::options().write(true).open(&slow).expect("it is being read");
    scene.put("slow/1/model.onnx", &zoo("linear_regression"));
    writer.write_all(&zoo("linear_regression")).expect("writes");
    drop(writer);
    eventually("the slow one is loaded after all", DEADLINE, async || {
        scene.indexed("slow", "1").await == state("READY", "")
    })
    .await;
    eventually("and there are places again", DEADLINE, async || {
        scene.load("m").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_slow_load_of_the_watchers_own_keeps_nothing_from_being_answered() {
    let scene = Scene::start(
        &[("m/1/model.onnx", "linear_regression")],
        &[("MODELS_INTERVAL", OFTEN)],
    )
    .await;
    let scene = scene.ready().await;
    let slow = pipe(&scene.scratch, "slow/1/model.onnx");
    eventually("it is being loaded", DEADLINE, async || {
        scene.indexed("slow", "1").await == state("LOADING", "")
    })
    .await;
    let release = async {
        // And the one that asks for this.
        let all = "ml_inference_requests_in_flight 4";
        eventually("all have asked", DEADLINE, async || {
            scene.server.metrics().await.contains(all)
        })
        .await;
        let mut writer = File::options().write(true).open(&slow).expect("it is being read");
        fs::remove_file(&slow).expect("removes");
        writer.write_all(b"no model").expect("writes");
    };
    let (loaded, unloaded, slow, ()) = tokio::join!(scene.load("m"), scene.unload("m"), scene.load("slow"), release);
    assert_done(&loaded);
    assert_done(&unloaded);
    assert!(
        refusal(&slow, 400).starts_with("failed to load `slow`: the model has no version"),
        "{}",
        slow.body
    );
    assert!(!scene.server.process.output().contains("panicked"));
}
