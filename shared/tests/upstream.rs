//! The scripted upstream does what its scripts say: other tests lean on it.

use shared::test_util::{RawClient, Upstream};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn it_answers_each_connection_by_the_script() {
    let upstream = Upstream::start(|mut connection| async move {
        let (head, body) = connection.read_request().await.expect("a request");
        assert!(head.starts_with("POST / HTTP/1.1\r\n"));
        let body = String::from_utf8_lossy(&body).into_owned();
        connection.answer(201, &format!("{}: {body}", connection.number)).await;
    })
    .await;
    for number in 0..3 {
        let mut client = RawClient::connect(upstream.address).await;
        client.send("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi").await;
        let response = client.response().await;
        assert_eq!((response.status, response.body), (201, format!("{number}: hi")));
        assert!(client.closed().await.is_empty());
    }
    assert_eq!(upstream.accepted(), 3);
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_drop_closes_everything() {
    let upstream = Upstream::start(|connection| async move {
        match connection.number {
            0 => connection.reset(),
            _ => connection.hang().await,
        }
    })
    .await;
    let mut first = TcpStream::connect(upstream.address).await.expect("connects");
    let error = first.read(&mut [0; 1]).await.expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let mut second = RawClient::connect(upstream.address).await;
    assert!(second.is_silent_for(std::time::Duration::from_millis(20)).await);
    let address = upstream.address;
    drop(upstream);
    second.closed().await;
    shared::test_util::eventually("the port is closed", shared::test_util::DEADLINE, async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
}
