//! The end of an HTTP/2 connection in a drain, frame by frame: clients like httpx lose every request that has no answer
//! when a GOAWAY or a PING comes.

use std::time::Duration;

use shared::test_util::{DEADLINE, RawHttp2, Signal, Upstream, eventually, kind};

use crate::harness::Gateway;

const OK: u8 = 0x88;
/// The setting of a stream's window.
const INITIAL_WINDOW_SIZE: u16 = 4;

async fn upstream() -> Upstream {
    Upstream::start(|mut connection| async move { connection.answer_all("ok").await }).await
}

async fn drain(gateway: &Gateway) {
    gateway.process.signal(Signal::TERM);
    gateway.process.log_line("draining: not ready, still accepting").await;
}

async fn until_closing(gateway: &Gateway) {
    let closing = "closing the listener, finishing requests";
    gateway.process.log_line(closing).await;
}

/// The connection's end: one GOAWAY with its last stream, and nothing else.
async fn ends_after(client: &mut RawHttp2, stream: u32) {
    let frame = client.frame().await.expect("a GOAWAY before the end");
    assert_eq!(
        (frame.kind, frame.last_stream(), frame.code()),
        (kind::GOAWAY, stream, 0),
        "{frame:?}"
    );
    assert_eq!(client.frame().await, None, "one GOAWAY, and the end");
}

#[tokio::test]
async fn a_connection_that_idles_has_its_next_request_answered_and_then_ends() {
    let upstream = upstream().await;
    let mut gateway = Gateway::in_front_of(&[upstream.address], &[("DRAIN_WINDOW", "3")]).await;
    let mut idle = RawHttp2::connect(gateway.address, &[]).await;
    idle.get(1, "/raw").await;
    assert_eq!(idle.answer(1).await, (OK, b"ok".to_vec()));
    drain(&gateway).await;
    assert!(
        idle.is_silent_for(Duration::from_millis(300)).await,
        "its client may be about to send"
    );
    idle.get(3, "/raw").await;
    assert_eq!(idle.answer(3).await, (OK, b"ok".to_vec()));
    ends_after(&mut idle, 3).await;
    // So has a new one.
    let mut new = RawHttp2::connect(gateway.address, &[]).await;
    new.get(1, "/raw").await;
    assert_eq!(new.answer(1).await, (OK, b"ok".to_vec()));
    ends_after(&mut new, 1).await;
    assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 0);
}

#[tokio::test]
async fn connections_without_a_request_end_with_the_window() {
    let mut gateway = Gateway::start("{}", &[("DRAIN_WINDOW", "0.3")]).await;
    let mut idle = RawHttp2::connect(gateway.address, &[]).await;
    idle.get(1, "/health").await;
    assert_eq!(idle.answer(1).await.0, OK);
    let mut silent = RawHttp2::connect(gateway.address, &[]).await;
    let mut first = RawHttp2::connect(gateway.address, &[]).await;
    let accepted = async || gateway.metric("gateway_connections_accepted_total").await == 3.0;
    eventually("all are accepted", DEADLINE, accepted).await;
    drain(&gateway).await;
    until_closing(&gateway).await;
    ends_after(&mut idle, 1).await;
    // A first request is on its way.
    first.get(1, "/health").await;
    assert_eq!(first.answer(1).await.0, OK);
    ends_after(&mut first, 1).await;
    ends_after(&mut silent, 0).await;
    assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 0);
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_anything_else_is_said() {
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = Upstream::start(move |mut connection| {
        let mut released = released.clone();
        async move {
            connection.read_request().await;
            released
                .wait_for(|released| *released)
                .await
                .expect("the test is there");
            connection.answer(200, "ok").await;
        }
    })
    .await;
    let mut gateway = Gateway::in_front_of(&[upstream.address], &[("DRAIN_WINDOW", "0.2")]).await;
    let mut one = RawHttp2::connect(gateway.address, &[]).await;
    one.get(1, "/raw").await;
    let mut many = RawHttp2::connect(gateway.address, &[]).await;
    many.get(1, "/raw").await;
    eventually("both are under way", DEADLINE, async || upstream.accepted() == 2).await;
    drain(&gateway).await;
    until_closing(&gateway).await;
    assert!(one.is_silent_for(Duration::from_millis(300)).await);
    // A client that begins one request while another is under way is told to begin no further ones.
    many.get(3, "/raw").await;
    let frame = many.frame().await.expect("a GOAWAY");
    assert_eq!((frame.kind, frame.last_stream()), (kind::GOAWAY, u32::MAX >> 1));
    release.send(true).expect("the upstream is there");
    assert_eq!(one.answer(1).await, (OK, b"ok".to_vec()));
    ends_after(&mut one, 1).await;
    drop(many);
    assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 0);
}

#[tokio::test]
async fn an_answer_that_waits_for_its_client_is_sent_whole_first() {
    let body = "x".repeat(100_000);
    let sent = body.clone();
    let upstream = Upstream::start(move |mut connection| {
        let sent = sent.clone();
        async move { connection.answer_all(&sent).await }
    })
    .await;
    let mut gateway = Gateway::in_front_of(&[upstream.address], &[("DRAIN_WINDOW", "0.2")]).await;
    let mut client = RawHttp2::connect(gateway.address, &[(INITIAL_WINDOW_SIZE, 1000)]).await;
    client.get(1, "/raw").await;
    assert_eq!(client.frame().await.expect("the head").payload[0], OK);
    let mut got = client
        .frame()
        .await
        .expect("as much as there is room for")
        .payload
        .len();
    assert_eq!(got, 1000);
    drain(&gateway).await;
    until_closing(&gateway).await;
    assert!(client.is_silent_for(Duration::from_millis(300)).await);
    for stream in [0, 1] {
        client
            .send(kind::WINDOW_UPDATE, 0, stream, &1_000_000u32.to_be_bytes())
            .await;
    }
    loop {
        let frame = client.frame().await.expect("the rest of the answer");
        assert_eq!((frame.kind, frame.stream), (kind::DATA, 1));
        got += frame.payload.len();
        if frame.ends_stream() {
            break;
        }
    }
    assert_eq!(got, body.len());
    ends_after(&mut client, 1).await;
    assert_eq!(gateway.process.wait_exit(DEADLINE).await.code, 0);
}
