//! A replica that does what the test says: it answers as ml-inference does, and slowly, wrongly or not at all on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared::test_util::{Upstream, UpstreamConnection};
use tokio::sync::watch;
use tokio::time::sleep;

/// How long an answer takes while nothing is wrong.
pub(crate) const SERVICE_TIME: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// The right answer after this time.
    Answers(Duration),
    /// 500, at once.
    Fails,
    /// Takes connections and requests, and does nothing.
    Silent,
    /// One right answer a connection, which is closed after it though nothing said so: every other one only when the next
    /// request is there, as if the two had crossed.
    Closes,
}

/// Ends with all its connections when it is dropped.
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    conduct: watch::Sender<Conduct>,
    _upstream: Upstream,
}

impl Replica {
    pub(crate) async fn start(name: &str, address: SocketAddr) -> Self {
        let conduct = watch::Sender::new(Conduct::Answers(SERVICE_TIME));
        let (served, server): (_, Arc<str>) = (conduct.clone(), name.into());
        let script = move |connection| serve(connection, Arc::clone(&server), served.subscribe());
        let upstream = Upstream::start_at(address, script).await;
        Self {
            name: name.to_owned(),
            address,
            conduct,
            _upstream: upstream,
        }
    }

    /// From now on, on every connection. What it has in hand is answered as it was begun.
    pub(crate) fn behave(&self, conduct: Conduct) {
        self.conduct.send_replace(conduct);
    }
}

async fn serve(mut connection: UpstreamConnection, name: Arc<str>, conduct: watch::Receiver<Conduct>) {
    let crosses = connection.number % 2 == 1;
    let mut answered = 0;
    while let Some((_, body)) = connection.read_request().await {
        let conduct = *conduct.borrow();
        match conduct {
            Conduct::Silent => return connection.hang().await,
            Conduct::Fails => {
                connection.answer(500, "").await;
                continue;
            }
            Conduct::Answers(after) => sleep(after).await,
            Conduct::Closes if crosses && answered > 0 => return,
            Conduct::Closes => sleep(SERVICE_TIME).await,
        }
        let answer = json!({"predictions": predictions(&body)}).to_string();
        let length = answer.len();
        let head = format!("HTTP/1.1 200 OK\r\nx-served-by: {name}\r\ncontent-length: {length}\r\n\r\n");
        connection.send(head + &answer).await;
        answered += 1;
        if conduct == Conduct::Closes && !crosses {
            return;
        }
    }
}

/// y = x / 2 + 2, of the lab's example where nothing was given.
fn predictions(body: &[u8]) -> Vec<f64> {
    let given: Value = serde_json::from_slice(body).unwrap_or_default();
    let instances = given["instances"].as_array().cloned();
    let instances = instances.unwrap_or_else(|| vec![json!(1.0), json!(2.0), json!(5.0)]);
    instances
        .iter()
        .filter_map(Value::as_f64)
        .map(|x| x / 2.0 + 2.0)
        .collect()
}
