//! A server of HTTP/2 by script, and calls through a gateway to it.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream, client};
use http::{HeaderMap, HeaderValue, Request, Response};
use shared::test_util::{DEADLINE, DnsServer, eventually};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::Gateway;

pub(super) const OPEN: &str = "gateway_upstream_connections_open{cluster=\"backend:5000\"}";

pub(crate) type Connection = server::Connection<TcpStream, Bytes>;

/// A server that speaks HTTP/2 by a script for each connection.
pub(crate) struct H2Upstream {
    pub(crate) address: SocketAddr,
    pub(super) accepted: Arc<AtomicUsize>,
    pub(super) task: JoinHandle<()>,
}

impl H2Upstream {
    pub(crate) async fn start<F, S>(builder: server::Builder, script: F) -> Self
    where
        F: Fn(usize, Connection) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut scripts = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let (builder, script) = (builder.clone(), script.clone());
                scripts.spawn(async move {
                    if let Ok(connection) = builder.handshake(stream).await {
                        script(number, connection).await;
                    }
                });
            }
        });
        Self {
            address,
            accepted,
            task,
        }
    }

    /// Each request by a script of its own.
    pub(super) async fn answering<F, S>(answer: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> S + Clone + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::start(server::Builder::new(), move |_, connection| {
            serve(connection, answer.clone())
        })
        .await
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for H2Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn serve<F, S>(mut connection: Connection, answer: F)
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let mut answers = tokio::task::JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        answers.spawn(answer(request, respond));
    }
}

pub(super) async fn whole(body: &mut RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(part)) = body.data().await {
        // A connection that has gone needs no window.
        let _gone = body.flow_control().release_capacity(part.len());
        bytes.extend_from_slice(&part);
    }
    bytes
}

pub(super) fn head(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).expect("a head")
}

pub(super) fn grpc_head() -> Response<()> {
    let head = Response::builder().header("content-type", "application/grpc");
    head.body(()).expect("a head")
}

pub(super) fn grpc_status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static(code))])
}

pub(super) fn yaml(endpoints: &[SocketAddr], more: &str) -> String {
    let yaml = crate::harness::yaml(endpoints);
    yaml.replace("routes:", &format!("    protocol: h2c\n{more}routes:"))
}

/// A gateway, with one worker, whose cluster is a name with one address, as a Service has it.
pub(super) async fn gateway_behind_name(
    upstream: &H2Upstream,
    service_connections: usize,
) -> (Gateway, String, DnsServer) {
    let server = DnsServer::start().await;
    server.set("h2c.test.", &[Ipv4Addr::LOCALHOST]);
    let name = format!("h2c.test.:{}", upstream.address.port());
    let yaml = format!(
        "clusters: [{{ name: \"{name}\", protocol: h2c, service_connections: {service_connections} }}]
routes: [{{ prefix: /raw, cluster: \"{name}\" }}]\n"
    );
    let servers = server.address.to_string();
    let gateway = Gateway::start(&yaml, &[("DNS_SERVERS", &servers), ("WORKERS", "1")]).await;
    eventually("the name resolves", DEADLINE, async || {
        gateway.metric("gateway_cluster_endpoints").await == 1.0
    })
    .await;
    (gateway, name, server)
}

/// With one worker, so that connections can be counted.
pub(super) async fn gateway(endpoints: &[SocketAddr]) -> Gateway {
    Gateway::start(&yaml(endpoints, ""), &[("WORKERS", "1")]).await
}

/// A client's connection to the gateway.
pub(super) async fn connect(gateway: &Gateway) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(gateway.address).await.expect("connects");
    let (sender, connection) = client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender.ready().await.expect("ready")
}

pub(super) fn call(path: &str) -> Request<()> {
    let request = Request::post(format!("http://h{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers");
    request.body(()).expect("a request")
}

/// A call whose messages are still to be sent.
pub(super) async fn open(gateway: &Gateway, request: Request<()>) -> (client::ResponseFuture, SendStream<Bytes>) {
    connect(gateway).await.send_request(request, false).expect("sent")
}

pub(super) async fn answer_of(response: client::ResponseFuture) -> Response<RecvStream> {
    let answered = timeout(DEADLINE, response).await;
    answered.expect("an answer in time").expect("an answer")
}

/// A whole call of one message: the answer's head, its message and its trailers.
pub(super) async fn unary(gateway: &Gateway, request: Request<()>, message: &str) -> (Response<()>, String, HeaderMap) {
    let (response, mut stream) = open(gateway, request).await;
    stream
        .send_data(Bytes::copy_from_slice(message.as_bytes()), true)
        .expect("sent");
    let (head, mut body) = answer_of(response).await.into_parts();
    let message = String::from_utf8(whole(&mut body).await).expect("text");
    let trailers = body.trailers().await.expect("an end").unwrap_or_default();
    (Response::from_parts(head, ()), message, trailers)
}
