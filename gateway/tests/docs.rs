//! The generated tables of gateway/docs say what the code says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use gateway::config::PROGRAM;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shared::http_client;
use shared::test_util::docs::{check_page, keys_table, metrics_table, metrics_without_series, settings_table};
use shared::test_util::{DEADLINE, Process, RawClient, Scratch};
use tokio::net::TcpStream;

const MEND: &str = "cargo test -p gateway --test docs";
/// Labels with few values, all of which the metrics of a gateway that has just started show.
const ENUMERATED: &[&str] = &["code_class", "outcome", "tier", "result"];
/// One cluster, whose only endpoint refuses connections.
const GATEWAY_YAML: &str = "clusters:
  - { name: \"backend:5000\", endpoints: [\"127.0.0.1:1\"] }
routes:
  - { prefix: /, cluster: \"backend:5000\" }
";

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

#[test]
fn the_page_of_settings_lists_them_all() {
    let table = settings_table(PROGRAM.settings);
    check_page(&page("settings.md"), MEND, &[("settings", &table)]);
}

#[test]
fn the_page_of_gateway_yaml_lists_every_key() {
    let tables: Vec<_> = PROGRAM
        .documents
        .iter()
        .map(|key| (key.name, keys_table(key)))
        .collect();
    let regions: Vec<_> = tables.iter().map(|(name, table)| (*name, table as _)).collect();
    check_page(&page("gateway-yaml.md"), MEND, &regions);
}

#[tokio::test]
async fn the_page_of_metrics_lists_them_all() {
    let scrape = scrape().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in [root.join("src"), root.join("../shared/src")] {
        assert_eq!(metrics_without_series(&scrape, &directory, "gateway"), [""; 0]);
    }
    let table = metrics_table(&scrape, ENUMERATED);
    check_page(&page("metrics.md"), MEND, &[("metrics", &table)]);
}

/// What Prometheus gets when every metric has a series.
async fn scrape() -> String {
    let scratch = Scratch::new("docs");
    let file = scratch.file("gateway.yaml", GATEWAY_YAML);
    let variables = [
        ("CONFIG_FILE", file.to_str().expect("UTF-8")),
        ("LISTEN_ADDRESS", "127.0.0.1:0"),
        ("ADMIN_ADDRESS", "127.0.0.1:0"),
    ];
    let process = Process::start(env!("CARGO_BIN_EXE_gateway"), variables);
    let admin = process.address_of("admin listening").await;
    for listener in [process.listening().await, admin] {
        let mut client = RawClient::connect(listener).await;
        client.send("GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(client.response().await.status, 400, "it has no Host");
    }
    call_by_grpc(process.listening().await).await;
    let client = http_client::client(DEADLINE).expect("a client");
    let answer = client.get(format!("http://{admin}/metrics")).send().await;
    answer.expect("an answer").text().await.expect("text")
}

/// A gRPC call that fails because the endpoint is unavailable.
async fn call_by_grpc(address: SocketAddr) {
    let stream = TcpStream::connect(address).await.expect("it listens");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.expect("it speaks HTTP/2");
    let call = Request::post(format!("http://{address}/service/Method"))
        .header("content-type", "application/grpc")
        .body(Empty::<Bytes>::new());
    tokio::select! {
        answer = sender.send_request(call.expect("a request")) => {
            assert_eq!(answer.expect("an answer").headers()["grpc-status"], "14");
        }
        ended = connection => panic!("the connection ended first: {ended:?}"),
    }
}
