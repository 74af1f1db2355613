//! Chromium without a window, driven by its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/) over a pipe.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use serde_json::{Value, json};
use shared::test_util::{DEADLINE, Scratch, eventually};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

const PROGRAM: &str = "chromium";

/// The reason for which a test is left out, if it is.
pub(super) fn is_missing() -> bool {
    let missing = e2e::installed(PROGRAM).is_none();
    e2e::is_left_out(missing, "chromium is missing (apt-get install chromium)")
}

/// A browser with one tab, which is killed when the test lets go of it.
pub(super) struct Chromium {
    child: Child,
    commands: ChildStdin,
    messages: UnboundedReceiver<Value>,
    sent: u64,
    session: Option<String>,
    profile: Scratch,
}

impl Chromium {
    /// Starts it. It finds each host with its port at the address beside it, and no other host.
    pub(super) async fn start(hosts: &[(&str, SocketAddr)]) -> Self {
        let profile = Scratch::new("chromium");
        let mut rules: Vec<String> = hosts
            .iter()
            .map(|(host, address)| format!("MAP {host} {address}"))
            .collect();
        rules.push("MAP * ~NOTFOUND".to_owned());
        // The protocol is spoken on descriptors 3 and 4, messages end in a NUL.
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null",
                "sh",
                PROGRAM,
                "--headless=new",
                "--no-sandbox",
                "--remote-debugging-pipe",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--no-first-run",
                "--no-proxy-server",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--host-resolver-rules={}", rules.join(", ")))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(profile.path().join("stderr")).expect("writable"));
        let mut child = command.spawn().expect("sh runs");
        let commands = child.stdin.take().expect("piped");
        let answers = child.stdout.take().expect("piped");
        let (sender, messages) = unbounded_channel();
        thread::spawn(move || read_messages(answers, &sender));
        let mut chromium = Self {
            child,
            commands,
            messages,
            sent: 0,
            session: None,
            profile,
        };
        let tab = chromium
            .call("Target.createTarget", json!({ "url": "about:blank" }))
            .await;
        let target = json!({ "targetId": tab["targetId"], "flatten": true });
        let attached = chromium.call("Target.attachToTarget", target).await;
        chromium.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        chromium
    }

    /// The result of a command.
    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let written = self.commands.write_all(format!("{message}\0").as_bytes());
        written.unwrap_or_else(|error| panic!("{method}: {error}\n{}", self.errors()));
        loop {
            let Ok(Some(mut answer)) = timeout(DEADLINE, self.messages.recv()).await else {
                panic!("no answer to {message}\n{}", self.errors());
            };
            // Events have no id.
            if answer["id"] == self.sent {
                assert!(answer["error"].is_null(), "{message}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// Opens a page in the tab and waits until it is loaded.
    pub(super) async fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        let loaded = "new Promise(done => document.readyState === 'complete' ? done(true) : addEventListener('load', () => done(true)))";
        assert_eq!(self.evaluate(loaded).await, true);
    }

    /// The value of a JavaScript expression in the page; if it is a promise, what it is resolved with.
    pub(super) async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut evaluated = self.call("Runtime.evaluate", parameters).await;
        assert!(evaluated["exceptionDetails"].is_null(), "{expression}: {evaluated}");
        evaluated["result"]["value"].take()
    }

    /// Ends it and waits for the end, so that nobody writes to its profile when that is removed.
    pub(super) async fn close(mut self) {
        self.session = None;
        self.call("Browser.close", json!({})).await;
        eventually("chromium ends", DEADLINE, async || {
            self.child.try_wait().expect("a child can be waited for").is_some()
        })
        .await;
    }

    /// What it printed, for a failure's message.
    fn errors(&self) -> String {
        std::fs::read_to_string(self.profile.path().join("stderr")).expect("it was made")
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn read_messages(answers: ChildStdout, sender: &UnboundedSender<Value>) {
    let mut answers = BufReader::new(answers);
    let mut message = Vec::new();
    while matches!(answers.read_until(0, &mut message), Ok(1..)) {
        message.pop();
        let message = std::mem::take(&mut message);
        let message = serde_json::from_slice(&message).expect("JSON");
        if sender.send(message).is_err() {
            return;
        }
    }
}
