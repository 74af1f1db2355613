//! A watch that no longer tells of the pods while they are replaced: requests find out, and none is lost or waits for long.

use super::*;
use crate::harness::problem;
use shared::test_util::{TcpFront, Way};
use tokio::task::JoinHandle;

/// Longest that a request may take here: connecting to a pod that is gone, a check, a list and DNS, on a busy machine.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Requests one after the other on several clients, until they are ended.
struct Load {
    end: std::sync::Arc<Notify>,
    clients: Vec<JoinHandle<Vec<(u16, Duration)>>>,
}

impl Load {
    fn start(setup: &Setup) -> Self {
        let end = std::sync::Arc::new(Notify::new());
        let client = |_| {
            let (end, client) = (std::sync::Arc::clone(&end), setup.gateway.client.clone());
            let url = setup.gateway.url("/predict");
            tokio::spawn(async move {
                let mut answers = Vec::new();
                let mut ended = std::pin::pin!(end.notified());
                ended.as_mut().enable();
                loop {
                    let asked = Instant::now();
                    let answer = client.get(&url).send().await.expect("an answer");
                    answers.push((answer.status().as_u16(), asked.elapsed()));
                    let pause = tokio::time::timeout(Duration::from_millis(10), ended.as_mut());
                    if pause.await.is_ok() {
                        return answers;
                    }
                }
            })
        };
        Self {
            clients: (0..4).map(client).collect(),
            end,
        }
    }

    /// Ends it; every request must have been answered by a pod, and soon.
    async fn lost_nothing(self) {
        self.end.notify_waiters();
        for client in self.clients {
            let answers = client.await.expect("it ran");
            let bad = |(status, took): &&(u16, Duration)| *status != 200 || *took > LONGEST_WAIT;
            let bad: Vec<_> = answers.iter().filter(bad).collect();
            assert!(bad.is_empty(), "{} of {}: {bad:?}", bad.len(), answers.len());
        }
    }
}

impl Setup {
    /// Ends the pod at A: its connections break and new ones are refused.
    fn end_pod_a(&mut self) {
        drop(self._upstreams.remove(0));
    }

    /// Takes A's address, and answers no connection attempt there, as a pod's address that no pod has any more. For as long
    /// as what is returned is kept.
    async fn swallow_at_a(&self) -> Vec<socket2::Socket> {
        let address = SocketAddr::from((A, self.port));
        let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let listener = socket();
        listener.set_reuse_address(true).expect("it may be reused");
        eventually("the pod's listener is closed", DEADLINE, async || {
            listener.bind(&address.into()).is_ok()
        })
        .await;
        listener.listen(0).expect("listens");
        let mut held = vec![listener];
        // A backlog of 0 still holds one; the attempts after that are dropped by the kernel.
        for _ in 0..3 {
            let filler = socket();
            filler.set_nonblocking(true).expect("non-blocking");
            let _in_progress = filler.connect(&address.into());
            held.push(filler);
        }
        held
    }
}

/// The only pod is replaced while the way to the API server is `closed`; then the way opens.
async fn a_pod_is_replaced_while_the_way_is(closed: Way, swallows: bool) {
    let api = ApiServer::start(Mood::Well).await;
    let front = TcpFront::start(api.address).await;
    let url = format!("http://{}", front.address);
    let mut setup = Setup::start_with(&url, "", &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    eventually("it watches", DEADLINE, async || !api.watches().is_empty()).await;
    let load = Load::start(&setup);
    front.set(closed);
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    setup.end_pod_a();
    let _held = match swallows {
        true => setup.swallow_at_a().await,
        false => Vec::new(),
    };
    setup.becomes("dns", &[CLUSTER_IP]).await;
    assert_eq!(setup.answers().await, ["service"]);
    front.set(Way::Open);
    setup.becomes("kubernetes", &[B]).await;
    assert_eq!(setup.answers().await, ["b"]);
    load.lost_nothing().await;
}

#[tokio::test]
async fn nothing_is_lost_when_the_way_to_the_api_server_drops_packets() {
    a_pod_is_replaced_while_the_way_is(Way::Dropping, false).await;
}

#[tokio::test]
async fn nothing_is_lost_when_a_dead_pods_address_drops_packets_too() {
    a_pod_is_replaced_while_the_way_is(Way::Dropping, true).await;
}

#[tokio::test]
async fn nothing_is_lost_when_the_way_to_the_api_server_resets() {
    a_pod_is_replaced_while_the_way_is(Way::Resetting, false).await;
}

#[tokio::test]
async fn a_watch_that_tells_of_bookmarks_only_is_not_believed_when_no_pod_answers() {
    let api = ApiServer::start(Mood::Well).await;
    let mut setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    eventually("it watches", DEADLINE, async || !api.watches().is_empty()).await;
    let load = Load::start(&setup);
    api.set_mood(Mood::OnlyBookmarks);
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    api.bookmark(600);
    setup.end_pod_a();
    setup.becomes("kubernetes", &[B]).await;
    load.lost_nothing().await;
    assert!(api.lists() >= 2, "{:?}", api.asked());
}

#[tokio::test]
async fn pods_that_all_fell_ill_are_behind_dns_until_one_takes_connections_again() {
    let api = ApiServer::start(Mood::Well).await;
    let mut setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    let address = setup._upstreams[0].address;
    setup.end_pod_a();
    eventually("the pod is gone", DEADLINE, async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    assert_eq!(setup.answers().await, ["service"]);
    setup.becomes("dns", &[CLUSTER_IP]).await;
    let warnings = setup.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");

    // The API server has nothing new to tell.
    let _back = Upstream::start_at(address, |mut pod| async move { pod.answer_all("a").await }).await;
    setup.becomes("kubernetes", &[A]).await;
    assert_eq!(setup.answers().await, ["a"]);
}

#[tokio::test]
async fn when_nobody_knows_a_pod_the_client_is_told_so_and_when_to_come_back() {
    let api = ApiServer::start(Mood::Well).await;
    let front = TcpFront::start(api.address).await;
    let url = format!("http://{}", front.address);
    let mut setup = Setup::start_with(&url, "", &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    setup._dns.zone().broken = true;
    front.set(Way::Dropping);
    setup.end_pod_a();
    let _held = setup.swallow_at_a().await;
    for _ in 0..2 {
        let asked = Instant::now();
        let answer = setup.gateway.get("/predict").await;
        assert!(asked.elapsed() < LONGEST_WAIT, "{:?}", asked.elapsed());
        assert_eq!(answer.headers()["retry-after"], "1");
        let told = "no endpoint of the upstream service takes a connection at the moment";
        assert_eq!(problem(answer).await, (503, told.to_owned()));
    }
}

#[tokio::test]
async fn a_service_without_pods_is_listed_again_when_requests_come() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Unready(A)]))).await;
    setup.becomes("kubernetes", &[]).await;
    let yet = "no endpoint of the upstream service is known yet";
    assert_eq!(
        problem(setup.gateway.get("/predict").await).await,
        (503, yet.to_owned())
    );
    api.put("one", slice(setup.port, &[Pod::Ready(A)]));
    setup.becomes("kubernetes", &[A]).await;
    api.put("one", slice(setup.port, &[Pod::Unready(A)]));
    setup.becomes("kubernetes", &[]).await;
    api.set_mood(Mood::OnlyBookmarks);
    api.put("one", slice(setup.port, &[Pod::Ready(B)]));
    let answer = setup.gateway.get("/predict").await;
    assert_eq!(answer.headers()["retry-after"], "1");
    let left = "the upstream service has no endpoint at the moment";
    assert_eq!(problem(answer).await, (503, left.to_owned()));
    eventually("a request is answered", DEADLINE, async || {
        setup.gateway.get("/predict").await.status() == 200
    })
    .await;
    assert_eq!(setup.answers().await, ["b"]);
}

#[tokio::test]
async fn a_watch_that_is_back_is_logged_before_it_tells_anything() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    eventually("it watches", DEADLINE, async || !api.watches().is_empty()).await;
    api.set_mood(Mood::RefusingWatches(500));
    api.cut();
    setup
        .gateway
        .process
        .log_line("cannot watch EndpointSlices; keeping the last endpoints")
        .await;
    api.set_mood(Mood::Well);
    // Far sooner than the watch ends, which takes 30 s here.
    let recovered = setup.gateway.process.log_line("watch of EndpointSlices recovered");
    tokio::time::timeout(Duration::from_secs(10), recovered)
        .await
        .expect("it says so at once");
}

#[tokio::test]
async fn a_refusal_is_not_final_when_the_api_server_has_just_started() {
    let api = ApiServer::start(Mood::Refusing(403)).await;
    // Pauses that only grow to this would be over half a minute.
    let setup = Setup::start(&api, &[("KUBERNETES_RETRY", "30")], |port| {
        api.put("one", slice(port, &[Pod::Ready(A)]));
    })
    .await;
    setup.becomes("dns", &[CLUSTER_IP]).await;
    api.set_mood(Mood::Well);
    setup.becomes("kubernetes", &[A]).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn tcp_asks_soon_whether_a_silent_api_server_is_there() {
    let api = ApiServer::start(Mood::Well).await;
    let setup = Setup::start(&api, &[], |port| api.put("one", slice(port, &[Pod::Ready(A)]))).await;
    setup.becomes("kubernetes", &[A]).await;
    eventually("it watches", DEADLINE, async || !api.watches().is_empty()).await;
    // Local and remote address, state, queues, timer: "02" is keepalive's, in hundredths of a second.
    let remote = format!(":{:04X}", api.address.port());
    let is_watch = |fields: &Vec<&str>| fields.len() > 5 && fields[2].ends_with(&remote) && fields[3] == "01";
    let timer = eventually_some("a keepalive timer", || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
        let sockets = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let timers = sockets.filter(is_watch).map(|fields| fields[5].to_owned());
        timers
            .filter_map(|timer| timer.strip_prefix("02:").map(str::to_owned))
            .next()
    })
    .await;
    let hundredths = u32::from_str_radix(&timer, 16).expect("a number");
    assert!(hundredths <= 300, "{hundredths}");
}

/// The first value that `look` finds.
#[cfg(target_os = "linux")]
async fn eventually_some<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let found = std::cell::Cell::new(None);
    eventually(what, DEADLINE, async || {
        let value = look();
        let is_there = value.is_some();
        found.set(value);
        is_there
    })
    .await;
    found.take().expect("it was found")
}
