//! The real binary on real sockets, against servers that do what each test says.
//!
//! ```text
//! attempts.rs   which failures are tried again, how often, and which end the run
//! bad_rows.rs   rows that no answer is for: skipped and told, or the end of the run
//! formats.rs    CSV and JSON lines, read and written
//! kills.rs      runs that are killed go on to the same output
//! output.rs     one output belongs to one input, one set of options and one process
//! parquet.rs    Parquet, read and written
//! progress.rs   what a run says of itself
//! protocols.rs  the model servers' protocols
//! signals.rs    runs that are asked to end
//! ```

mod attempts;
mod bad_rows;
mod formats;
mod kills;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod progress;
mod protocols;
mod signals;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use shared::test_util::{DEADLINE, Finished, Process, Scratch, UpstreamConnection};
use tokio::time::sleep;

const BINARY: &str = env!("CARGO_BIN_EXE_batch-score");

/// A directory with an input, and the runs over it.
struct Work {
    scratch: Scratch,
    input: PathBuf,
    output: PathBuf,
}

impl Work {
    fn new(input: &str, content: impl AsRef<[u8]>, output: &str) -> Self {
        let scratch = Scratch::new("batch-score");
        let input = scratch.file(input, content);
        let output = scratch.path().join(output);
        Self { scratch, input, output }
    }

    fn start(&self, address: SocketAddr, arguments: &str) -> Process {
        self.start_at(&format!("http://{address}/predict"), arguments)
    }

    fn start_at(&self, url: &str, arguments: &str) -> Process {
        let (input, output) = (
            self.input.to_str().expect("UTF-8"),
            self.output.to_str().expect("UTF-8"),
        );
        let mut all = vec!["--input", input, "--output", output, "--url", url];
        all.extend(arguments.split_whitespace());
        Process::start_with(BINARY, &all, [("API_KEY", "the-key")])
    }

    async fn run(&self, address: SocketAddr, arguments: &str) -> Finished {
        self.start(address, arguments).wait_exit(DEADLINE).await
    }

    /// Runs to the end, which has to be a good one, and returns the output.
    async fn score(&self, address: SocketAddr, arguments: &str) -> String {
        let finished = self.run(address, arguments).await;
        assert_eq!(finished.code, 0, "{finished:?}");
        self.read("")
    }

    fn path(&self, extension: &str) -> PathBuf {
        PathBuf::from(format!("{}{extension}", self.output.display()))
    }

    /// The output, or the file beside it with this extension.
    fn read(&self, extension: &str) -> String {
        let path = self.path(extension);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The names of what is there.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.scratch.path()).expect("a directory");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }
}

fn instances(body: &[u8]) -> Vec<Value> {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    body["instances"].as_array().expect("instances").clone()
}

fn answer_text(status: u16, head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} Scripted\r\n{head}content-length: {length}\r\n\r\n{body}")
}

/// The model of these tests: half of the instance, plus two.
fn half_plus_two(instances: &[Value]) -> String {
    let half = |instance: &Value| json!(instance.as_f64().expect("a number") / 2.0 + 2.0);
    let predictions: Vec<Value> = instances.iter().map(half).collect();
    json!({"predictions": predictions, "model": "half_plus_two", "version": "1.0"}).to_string()
}

/// Answers every request; a negative instance is a mistake of the client.
async fn model(mut connection: UpstreamConnection, longest_pause: Duration) {
    while let Some((_, body)) = connection.read_request().await {
        sleep(longest_pause.mul_f64(fastrand::f64())).await;
        let instances = instances(&body);
        let negative = instances
            .iter()
            .position(|instance| instance.as_f64().expect("a number") < 0.0);
        let answer = match negative {
            Some(at) => {
                let detail = format!("instances[{at}]: it is negative");
                answer_text(
                    400,
                    "",
                    &json!({"status": 400, "detail": detail, "error": detail}).to_string(),
                )
            }
            None => answer_text(200, "x-model-version: 9\r\n", &half_plus_two(&instances)),
        };
        connection.send(answer).await;
    }
}

/// Numbers from 0, one a line, below the header `x`.
fn numbers(count: usize) -> String {
    let mut text = String::from("x\n");
    (0..count).for_each(|number| text.push_str(&format!("{number}\n")));
    text
}

/// The output for these numbers.
fn expected(count: usize) -> String {
    let mut text = String::from("row,x,prediction,model_version\n");
    (0..count).for_each(|number| {
        let prediction = json!(number as f64 / 2.0 + 2.0);
        text.push_str(&format!("{},{number},{prediction},1.0\n", number + 1));
    });
    text
}
