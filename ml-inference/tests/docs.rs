//! The generated tables of ml-inference/docs say what the code says.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use ml_inference::config::PROGRAM;
use ml_inference::repository::ModelConfig;
use model_runtime::OnnxMl;
use shared::http_client;
use shared::test_util::docs::{
    Table, check_page, code, map_table, metrics_table, metrics_without_series, settings_table,
};
use shared::test_util::{DEADLINE, Process, RawClient, Scratch, eventually};
use yaml_rust2::{Yaml, YamlLoader};

const MEND: &str = "cargo test -p ml-inference --test docs";

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

#[test]
fn the_page_of_settings_lists_them_all() {
    let table = settings_table(PROGRAM.settings);
    check_page(&page("settings.md"), MEND, &[("settings", &table)]);
}

#[test]
fn the_page_of_models_lists_every_key_of_config_yaml() {
    let table = map_table(ModelConfig::KEYS);
    check_page(&page("models.md"), MEND, &[("config.yaml", &table)]);
}

#[test]
fn the_page_of_operators_lists_them_all() {
    let mut table = Table::new(["Domain", "Operator sets", "Operators"]);
    for (domain, sets, mut names) in OnnxMl::operators() {
        names.sort_unstable_by_key(|name| name.to_ascii_lowercase());
        let sets = format!("{} to {}", sets.start(), sets.end());
        table.row([&code(domain), &sets, &names.join(", ")]);
    }
    check_page(&page("operators.md"), MEND, &[("operators", &table)]);
}

#[test]
fn the_page_of_compatibility_counts_the_differences_from_triton() {
    let (corpus, found) = (differential("corpus.yaml"), differential("differences.yaml"));
    let groups = corpus.as_hash().expect("a map").values();
    let requests: usize = groups.map(|group| group.as_vec().expect("a list").len()).sum();
    let mut counts = Table::new([
        "Requests",
        "Triton and ml-inference answer the same",
        "and through the gateway",
    ]);
    let [triton, gateway] = ["triton", "gateway"].map(|name| requests - cases(&found[name]));
    counts.row([requests, triton, gateway].map(|count| count.to_string()));
    let (triton, gateway) = (differences(&found["triton"]), differences(&found["gateway"]));
    let regions: [(&str, &dyn Display); 3] = [("counts", &counts), ("triton", &triton), ("gateway", &gateway)];
    check_page(&page("compatibility.md"), MEND, &regions);
}

fn differential(name: &str) -> Yaml {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/differential")
        .join(name);
    let text = std::fs::read_to_string(file).expect("it is there");
    YamlLoader::load_from_str(&text).expect("YAML").remove(0)
}

fn cases(list: &Yaml) -> usize {
    let entries = list.as_vec().expect("a list").iter();
    entries
        .map(|entry| entry["cases"].as_hash().expect("a map").len())
        .sum()
}

/// How many cases each reason has; the most frequent first.
fn differences(list: &Yaml) -> Table {
    let entries = list.as_vec().expect("a list").iter().map(|entry| {
        let cases = entry["cases"].as_hash().expect("a map").len();
        (cases, entry["reason"].as_str().expect("a text").trim())
    });
    let mut entries: Vec<(usize, &str)> = entries.collect();
    entries.sort_by_key(|(cases, _)| std::cmp::Reverse(*cases));
    let mut table = Table::new(["Cases", "Reason"]);
    for (cases, reason) in entries {
        table.row([cases.to_string().as_str(), reason]);
    }
    table
}

#[tokio::test]
async fn the_page_of_metrics_lists_them_all() {
    let scrape = scrape().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in [root.join("src"), root.join("../shared/src")] {
        assert_eq!(metrics_without_series(&scrape, &directory, "ml_inference"), [""; 0]);
    }
    let table = metrics_table(&scrape, &[]);
    check_page(&page("metrics.md"), MEND, &[("metrics", &table)]);
}

/// What Prometheus gets when every metric has a series.
async fn scrape() -> String {
    let scratch = Scratch::new("docs");
    scratch.file("broken.onnx", "no model");
    let registry = format!("file://{}/registry", scratch.path().display());
    let variables = [
        ("BIND_ADDRESS", "127.0.0.1"),
        ("SERVICE_PORT", "0"),
        ("ADMIN_ADDRESS", "127.0.0.1:0"),
        ("MODEL_NAME", "iris"),
        ("MODELS_DIR", scratch.path().to_str().expect("UTF-8")),
        ("MODEL_URI", registry.as_str()),
    ];
    let process = Process::start(env!("CARGO_BIN_EXE_ml-inference"), variables);
    let address = process.listening().await;
    for listener in [address, process.address_of("admin listening").await] {
        let mut client = RawClient::connect(listener).await;
        client.send("GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(client.response().await.status, 400, "it has no Host");
    }
    let client = http_client::client(DEADLINE).expect("a client");
    let question = client
        .post(format!("http://{address}/predict"))
        .body("{\"features\": [1, 2]}");
    assert_eq!(question.send().await.expect("an answer").status(), 200);
    let mut scrape = String::new();
    eventually("a load and a pull have failed", DEADLINE, async || {
        let answer = client.get(format!("http://{address}/metrics")).send().await;
        scrape = answer.expect("an answer").text().await.expect("text");
        ["ml_inference_model_loads_total{", "ml_inference_registry_errors_total{"]
            .iter()
            .all(|series| scrape.contains(series))
    })
    .await;
    scrape
}
