//! A server at the address that kubectl names: a gateway with replicas behind it, as the files of the stage say.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use std::fs;

const METRICS: &str = "ml_inference_inference_duration_seconds_sum{model=\"mlp\"} 0.52\n\
                       ml_inference_inference_duration_seconds_count{model=\"mlp\"} 200\n";

/// Answers on a free port of 127.0.0.1 for as long as the test runs, one request a connection:
///
/// | File | |
/// | --- | --- |
/// | `no-answer` | none is given; with a number in it, that many times |
/// | `image` | its tag is the version that answers; `edge` is 2.0 |
/// | `mixed` | every other answer is of this version |
/// | `replicas` | so many pods answer by turns |
/// | `served` | the model that answers |
pub(crate) fn start(files: &Path) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let mut replies = Replies {
        files: files.to_owned(),
        answered: 0,
    };
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that left has no use for an answer.
            let _left = replies.answer(client);
        }
    });
    port
}

struct Replies {
    files: PathBuf,
    answered: usize,
}

impl Replies {
    fn answer(&mut self, client: TcpStream) -> std::io::Result<()> {
        client.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut head = BufReader::new(&client).lines().map_while(Result::ok);
        let request = head.next().unwrap_or_default();
        head.take_while(|line| !line.is_empty()).for_each(drop);
        if self.is_silent() {
            return Ok(());
        }
        let body = match request.split(' ').nth(1) {
            Some("/predict/metrics") => METRICS.to_owned(),
            Some("/predict") => self.prediction(),
            _ => "OK\n".to_owned(),
        };
        let replicas = self.read("replicas").and_then(|text| text.parse().ok()).unwrap_or(1);
        let pod = self.answered % replicas + 1;
        let version = self.version();
        self.answered += 1;
        let mut client = client;
        write!(
            client,
            "HTTP/1.1 200 OK\r\nX-Served-By: ml-inference-{pod}\r\nX-Model-Version: {version}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Gives true when this request is one of those that get no answer.
    fn is_silent(&self) -> bool {
        let Some(left) = self.read("no-answer") else {
            return false;
        };
        let file = self.files.join("no-answer");
        match left.parse::<usize>() {
            Ok(1) => fs::remove_file(file).expect("it is there"),
            Ok(left) => fs::write(file, (left - 1).to_string()).expect("writable"),
            Err(_) => {}
        }
        true
    }

    fn prediction(&self) -> String {
        let model = self.read("served").unwrap_or_else(|| "half_plus_two".to_owned());
        format!("{{\"predictions\": [2.5], \"model\": \"{model}\", \"version\": \"1.0\"}}\n")
    }

    fn version(&self) -> String {
        if let Some(mixed) = self.read("mixed").filter(|_| self.answered % 2 == 1) {
            return mixed;
        }
        let image = self.read("image").unwrap_or_default();
        match image.rsplit(':').next().unwrap_or_default() {
            "edge" => "2.0".to_owned(),
            tag => tag.to_owned(),
        }
    }

    fn read(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.files.join(name)).ok()?;
        Some(text.trim().to_owned())
    }
}
