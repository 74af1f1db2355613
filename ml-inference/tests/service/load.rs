//! Many clients at once.

use tokio::task::JoinSet;

use crate::server::Server;
use shared::test_util::{DEADLINE, RawClient, eventually};

const CLIENTS: usize = 200;

#[tokio::test]
async fn two_hundred_clients_each_get_their_own_answers() {
    let server = Server::start(&[]).await;
    let mut connected = Vec::new();
    for _ in 0..CLIENTS {
        connected.push(RawClient::connect(server.address).await);
    }
    eventually("all are connected at once", DEADLINE, async || {
        let open = server.metrics().await;
        let open = open
            .lines()
            .find_map(|line| line.strip_prefix("ml_inference_connections_open "));
        open.and_then(|count| count.parse().ok())
            .is_some_and(|count: usize| count >= CLIENTS)
    })
    .await;

    let mut clients = JoinSet::new();
    for (number, mut client) in connected.into_iter().enumerate() {
        clients.spawn(async move {
            for round in 0..5 {
                let x = number * 100 + round;
                let body = format!("{{\"instances\": [{x}]}}");
                let length = body.len();
                client
                    .send(format!(
                        "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
                    ))
                    .await;
                let response = client.response().await;
                let predicted = x as f64 / 2.0 + 2.0;
                let expected = format!("{{\"predictions\": [{predicted:?}], ");
                assert_eq!(response.status, 200);
                assert!(response.body.starts_with(&expected), "{}", response.body);
            }
        });
    }
    clients.join_all().await;
}
