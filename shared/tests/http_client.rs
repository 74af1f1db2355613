//! The control plane's HTTP client: names, and the authorities it trusts.

use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use rustls::RootCertStore;
use shared::http_client::{CaFileError, Dns, builder, trust_file};
use shared::test_util::{DEADLINE, DnsServer, Scratch, TlsFront, Upstream};

async fn upstream() -> Upstream {
    Upstream::start(|mut connection| async move { connection.answer_all("hello").await }).await
}

fn resolver(dns: &DnsServer) -> TokioResolver {
    let mut connection = ConnectionConfig::udp();
    connection.port = dns.address.port();
    let server = NameServerConfig::new(dns.address.ip(), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build();
    resolver.expect("the resolver builds")
}

#[tokio::test]
async fn a_name_is_resolved_by_the_resolver_that_is_given() {
    let (dns, upstream) = (DnsServer::start().await, upstream().await);
    dns.set("api.test.", &[Ipv4Addr::LOCALHOST]);
    let names = Dns::of(resolver(&dns), DEADLINE);
    let client = builder(RootCertStore::empty()).dns_resolver(names).timeout(DEADLINE);
    let client = client.build().expect("the client builds");
    let port = upstream.address.port();
    let answer = client
        .get(format!("http://api.test:{port}/"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.text().await.expect("a body"), "hello");

    let error = client.get(format!("http://unknown.test:{port}/")).send().await;
    let error = error.expect_err("there is no such name");
    let expected = "DNS knows no address of unknown.test";
    assert!(format!("{error:?}").contains(expected), "{error:?}");
}

#[tokio::test]
async fn a_server_is_trusted_by_the_authority_in_a_file_and_not_without() {
    let upstream = upstream().await;
    let front = TlsFront::start(upstream.address).await;
    let scratch = Scratch::new("ca");
    let mut roots = RootCertStore::empty();
    trust_file(&mut roots, &scratch.file("ca.crt", &front.ca)).expect("a certificate");
    let get = async |roots| {
        let client = builder(roots).timeout(DEADLINE).build().expect("the client builds");
        client.get(format!("https://{}/", front.address)).send().await
    };
    let answer = get(roots).await.expect("a trusted server");
    assert_eq!(answer.text().await.expect("a body"), "hello");
    assert!(get(RootCertStore::empty()).await.is_err(), "nobody vouches for it");
}

#[test]
fn a_file_without_a_certificate_says_what_is_wrong_with_it() {
    let scratch = Scratch::new("ca");
    let trust = |path: &std::path::Path| trust_file(&mut RootCertStore::empty(), path).expect_err("no authority");
    assert!(matches!(
        trust(&scratch.path().join("missing")),
        CaFileError::Unreadable(_)
    ));
    assert!(matches!(trust(&scratch.file("empty", "")), CaFileError::NoCertificate));
    assert!(matches!(
        trust(&scratch.file("text", "hello")),
        CaFileError::NoCertificate
    ));
    let large = scratch.file("large", "#".repeat((1 << 20) + 1));
    assert!(matches!(trust(&large), CaFileError::TooLarge(_)));
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_says_nothing_is_given_up() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let mut connection = ConnectionConfig::udp();
    connection.port = silent.local_addr().expect("an address").port();
    let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build();
    let names = Dns::of(resolver.expect("builds"), Duration::from_millis(50));
    let client = builder(RootCertStore::empty())
        .dns_resolver(names)
        .build()
        .expect("the client builds");
    let error = client.get("http://api.test/").send().await.expect_err("no answer");
    assert!(
        format!("{error:?}").contains("DNS says nothing about api.test in time"),
        "{error:?}"
    );
}
