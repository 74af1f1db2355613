//! A proxy on the pingora crates with nothing added: one thread, one upstream, connections kept alive on both sides.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;

use async_trait::async_trait;
use bench_peers::argument;
use pingora_core::Result;
use pingora_core::apps::HttpServerOptions;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, ProxyServiceBuilder, Session};

struct Proxy {
    upstream: SocketAddr,
    access_log: bool,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn logging(&self, session: &mut Session, error: Option<&pingora_core::Error>, _ctx: &mut ()) {
        if !self.access_log {
            return;
        }
        let status = session
            .response_written()
            .map_or(0, |response| response.status.as_u16());
        let line = format!("{} {status} {error:?}\n", session.request_summary());
        // Standard output is a file of the benchmark; when it is full, the other peers lose lines as well.
        let _ = io::stdout().write_all(line.as_bytes());
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let listen: SocketAddr = argument(1, "LISTEN_ADDRESS")?;
    let upstream: SocketAddr = argument(2, "UPSTREAM_ADDRESS")?;
    let access_log = std::env::args().nth(3).is_some_and(|flag| flag == "--access-log");

    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        // More than any workload has connections.
        upstream_keepalive_pool_size: 2048,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    let mut service = ProxyServiceBuilder::new(&server.configuration, Proxy { upstream, access_log })
        .server_options(options)
        .build();
    service.add_tcp(&listen.to_string());
    server.add_service(service);
    server.run_forever()
}
