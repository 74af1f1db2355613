//! A DNS server inside the test, and upstreams at the addresses it gives.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType, rdata};
use tokio::net::UdpSocket;

use super::upstream::Upstream;

/// Answers A questions from a table, with a TTL of 0, and keeps what it was asked.
#[derive(Debug)]
pub struct DnsServer {
    /// The address it listens on.
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

/// The names that the server knows, and its faults.
#[derive(Debug, Default)]
pub struct Zone {
    names: HashMap<String, Vec<Ipv4Addr>>,
    /// Every question is answered SERVFAIL.
    pub broken: bool,
    /// AAAA questions get no answer at all.
    pub swallows_v6: bool,
    /// The names of all questions so far, with the final dot and in lower case.
    pub asked: Vec<String>,
}

impl DnsServer {
    /// Starts a server that knows no name.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("an address");
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let served = Arc::clone(&zone);
        tokio::spawn(async move {
            let mut datagram = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut datagram).await {
                let question = Message::from_vec(&datagram[..length]).expect("a DNS message");
                let v6 = question.queries[0].query_type() == RecordType::AAAA;
                if v6 && served.lock().expect("the lock is whole").swallows_v6 {
                    continue;
                }
                let answer = answer(&question, &mut served.lock().expect("the lock is whole"));
                let _client_gone = socket.send_to(&answer.to_vec().expect("encodes"), client).await;
            }
        });
        Self { address, zone }
    }

    /// Sets the addresses of `name`, which ends in a dot.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.zone().names.insert(name.to_owned(), addresses.to_vec());
    }

    /// The zone, locked.
    pub fn zone(&self) -> std::sync::MutexGuard<'_, Zone> {
        self.zone.lock().expect("the lock is whole")
    }
}

fn answer(question: &Message, zone: &mut Zone) -> Message {
    let mut answer = question.clone();
    answer.metadata.message_type = MessageType::Response;
    let query = &question.queries[0];
    let name = query.name().to_string().to_ascii_lowercase();
    zone.asked.push(name.clone());
    let known = zone.names.get(&name);
    answer.metadata.response_code = match known {
        _ if zone.broken => ResponseCode::ServFail,
        None => ResponseCode::NXDomain,
        Some(_) => ResponseCode::NoError,
    };
    if query.query_type() == RecordType::A && !zone.broken {
        for address in known.into_iter().flatten() {
            let data = RData::A(rdata::A(*address));
            answer.add_answer(Record::from_rdata(query.name().clone(), 0, data));
        }
    }
    answer
}

/// The same port on several loopback addresses, as pods have it.
pub async fn pods(names: &'static [(&'static str, Ipv4Addr)]) -> Vec<Upstream> {
    let mut port = 0;
    let mut upstreams = Vec::new();
    for (name, address) in names {
        let upstream = Upstream::start_at(
            SocketAddr::new(IpAddr::V4(*address), port),
            move |mut connection| async move {
                connection.answer_all(name).await;
            },
        )
        .await;
        port = upstream.address.port();
        upstreams.push(upstream);
    }
    upstreams
}
