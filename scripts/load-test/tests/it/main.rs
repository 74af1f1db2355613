//! The real binary on real sockets, against servers that do what each test says.
//!
//! ```text
//! arguments.rs    what is sent as the arguments say, and arguments that are wrong
//! connections.rs  when a connection is used again, and when a new one is opened
//! failures.rs     what counts as a failed request, and as which kind
//! http2.rs        HTTP/2 without TLS
//! load.rs         when requests are due, and how long they are seen to have waited
//! report.rs       the verdict and its thresholds, the steps, the page
//! signals.rs      loads that are ended early
//! ```

mod arguments;
mod connections;
mod failures;
mod http2;
mod load;
mod report;
mod signals;

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;
use shared::test_util::{DEADLINE, Finished, Process, Scratch, UpstreamConnection};

const BINARY: &str = env!("CARGO_BIN_EXE_load-test");
const OK: &str = "HTTP/1.1 200 OK\r\nx-served-by: pod-a\r\nx-model-version: 1.0\r\ncontent-length: 2\r\n\r\nok";
/// Longer than a request of these tests waits on a busy machine, shorter than what they look for.
const PATIENT: &str = "--timeout 20s";

/// A finished load and its JSON report.
struct Ran {
    finished: Finished,
    report: Value,
}

impl Ran {
    fn last_line(&self) -> &str {
        self.finished.stdout.lines().last().unwrap_or_default()
    }

    fn number(&self, field: &str) -> u64 {
        self.report[field]
            .as_u64()
            .unwrap_or_else(|| panic!("{field} in {}", self.report))
    }

    fn failures(&self, kind: &str) -> u64 {
        self.report["failures"][kind].as_u64().unwrap_or_default()
    }

    fn latency(&self, which: &str) -> f64 {
        let latency = &self.report["latency_ms"][which];
        latency.as_f64().unwrap_or_else(|| panic!("{which} in {}", self.report))
    }
}

fn start(scratch: &Scratch, address: SocketAddr, arguments: &str) -> Process {
    let url = format!("http://{address}/predict");
    let json = scratch.path().join("report.json");
    let mut all = vec!["--url", &url, "--json", json.to_str().expect("UTF-8")];
    all.extend(arguments.split_whitespace());
    Process::start_with(BINARY, &all, [("NO_COLOR", "1")])
}

async fn finish(scratch: &Scratch, mut process: Process) -> Ran {
    let finished = process.wait_exit(DEADLINE).await;
    let text = fs::read_to_string(scratch.path().join("report.json")).unwrap_or_default();
    let report = serde_json::from_str(&text).unwrap_or_default();
    Ran { finished, report }
}

/// Runs the load with these arguments to its end.
async fn run(address: SocketAddr, arguments: &str) -> Ran {
    let scratch = Scratch::new("load-test");
    let process = start(&scratch, address, arguments);
    finish(&scratch, process).await
}

/// Answers each request of a connection with these bytes.
async fn answer_with(mut connection: UpstreamConnection, answer: &'static str) {
    while connection.read_request().await.is_some() {
        connection.send(answer).await;
    }
}
