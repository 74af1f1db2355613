//! gRPC clients, which the service tells in their own words that it has no gRPC.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{self, SendRequest};
use http::{Request, Response};
use shared::test_util::DEADLINE;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::Server;

const CALL: &str = "/inference.GRPCInferenceService/ModelInfer";
/// A frame of gRPC: not compressed, four bytes long.
const MESSAGE: &[u8] = b"\0\0\0\0\x04iris";

/// An HTTP/2 connection without TLS.
async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (client, connection) = client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

/// The answer to a POST on a connection of its own.
async fn post(address: SocketAddr, path: &str, content_type: &str) -> Response<RecvStream> {
    let mut client = connect(address).await.ready().await.expect("takes a request");
    let request = Request::post(format!("http://{address}{path}"))
        .header("content-type", content_type)
        .header("x-request-id", "a-call")
        .header("te", "trailers");
    let (answer, mut body) = client
        .send_request(request.body(()).expect("a request"), false)
        .expect("is sent");
    body.send_data(Bytes::from_static(MESSAGE), true).expect("is sent");
    let answer = timeout(DEADLINE, answer).await.expect("an answer in time");
    answer.expect("an answer")
}

#[tokio::test]
async fn a_grpc_call_is_unimplemented_in_grpcs_words_at_both_listeners() {
    let server = Server::start(&[]).await;
    let admin = server.process.address_of("admin listening").await;
    for address in [server.address, admin] {
        for path in [CALL, "/v2/models/half_plus_two/infer", "/readyz"] {
            for content_type in ["application/grpc", "application/grpc+proto"] {
                let answer = post(address, path, content_type).await;
                let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
                assert_eq!(answer.status(), 200, "{address}{path}");
                assert_eq!(header("content-type"), Some("application/grpc"));
                assert_eq!(header("grpc-status"), Some("12"));
                let message = "ml-inference has no gRPC API; its HTTP API is /predict, /v1 and /v2";
                assert_eq!(header("grpc-message"), Some(message));
                assert_eq!(header("x-request-id"), Some("a-call"));
                assert!(answer.body().is_end_stream(), "headers and nothing else");
            }
        }
    }
    let line = server
        .process
        .log_line_where("the call", |line| line["request_id"] == "a-call")
        .await;
    assert_eq!(
        (line["path"].as_str(), line["grpc_status"].as_u64()),
        (Some(CALL), Some(12))
    );
    let counted = "ml_inference_requests_total{code_class=\"2xx\",method=\"POST\",route=\"grpc\"} 12";
    let metrics = server.metrics().await;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
}

#[tokio::test]
async fn what_is_no_grpc_call_is_answered_as_ever() {
    let server = Server::start(&[]).await;
    for content_type in ["application/grpc-web", "application/json"] {
        let answer = post(server.address, CALL, content_type).await;
        assert_eq!(
            (answer.status().as_u16(), answer.headers().get("grpc-status")),
            (404, None)
        );
    }
    // gRPC is HTTP/2 only.
    let over_http1 = server
        .request("POST", CALL, &[("content-type", "application/grpc")])
        .await;
    over_http1.problem(404);
}
