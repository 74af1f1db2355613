//! What befalls replicas under a steady load, and what clients notice of it: the real gateway with its default settings in
//! front of three replicas, one fault at a time.
//!
//! ```text
//! load.rs     requests at fixed times, on kept connections and on new ones, GET and POST
//! lab.rs      the gateway, the name server, the pods' addresses
//! replica.rs  a replica that misbehaves on demand; where a real process can, it is ml-inference's
//! machine.rs  whether the machine was busy with other things
//! run.rs      the figures of one run and the bars they are held against
//! ```
//!
//! `cargo nextest run -p e2e --test faults --no-capture` prints a line of figures for each fault.

mod lab;
mod load;
mod machine;
mod replica;
mod run;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use e2e::Replica as Process;
use shared::test_util::{ApiServer, DEADLINE, Mood, Pod, Signal, eventually, slice};
use tokio::sync::Mutex;
use tokio::time::sleep;

use lab::{Lab, Network};
use replica::{Conduct, Replica, SERVICE_TIME};
use run::{FIRST, Run};

/// What a replica does for whoever has not heard yet that it is leaving: shorter than the default, longer than news takes.
const DRAIN_WINDOW: &str = "2";
/// An endpoint that is seen to be ill is avoided within this time.
const SEEN: Duration = Duration::from_secs(1);
/// DNS is asked once a second (`DNS_MIN_TTL`).
const DNS_NEWS: Duration = Duration::from_millis(1500);
/// A watch tells at once.
const WATCH_NEWS: Duration = Duration::from_millis(300);
/// How long the figures after a fault are taken for, beyond the first seconds.
const AFTER: Duration = Duration::from_millis(2500);

/// A fault is tried at most so often while its times are too long on a busy machine. What is wrong with the gateway is wrong
/// each time.
const TRIES: usize = 3;

/// Runs `scenario` alone.
#[expect(clippy::print_stdout, reason = "the figures")]
async fn measured(scenario: impl AsyncFn() -> Run) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let _alone = ALONE.lock().await;
    for tried in 1..=TRIES {
        let run = scenario().await;
        println!("{}", run.figures());
        if run.slow.is_empty() {
            return;
        }
        let complaint = run.complaint();
        assert!(run.was_disturbed() && tried < TRIES, "{complaint}");
        println!("again, since the machine is busy: {complaint}");
    }
}

/// Replicas of the test's own.
async fn scripted<const N: usize>(network: &Network) -> [Replica; N] {
    let mut replicas = Vec::new();
    for (name, address) in (0..N).map(|_| network.pod()) {
        replicas.push(Replica::start(&name, address).await);
    }
    replicas
        .try_into()
        .unwrap_or_else(|_| unreachable!("one was started for each"))
}

fn addresses(replicas: &[Replica]) -> Vec<SocketAddr> {
    replicas.iter().map(|replica| replica.address).collect()
}

/// Processes of ml-inference.
async fn processes<const N: usize>(network: &Network, version: &str) -> [(String, Process); N] {
    let mut processes = Vec::new();
    for (name, address) in (0..N).map(|_| network.pod()) {
        let process = Process::start_at(address, &name, version, DRAIN_WINDOW).await;
        processes.push((name, process));
    }
    processes
        .try_into()
        .unwrap_or_else(|_| unreachable!("one was started for each"))
}

/// Three replicas, of which the first changes its conduct under load.
async fn misconduct(fault: &'static str, conduct: Conduct) -> (Run, Instant) {
    let network = Network::new();
    let replicas: [Replica; 3] = scripted(&network).await;
    let lab = Lab::by_dns(&network, &addresses(&replicas)).await;
    let load = lab.steady_load().await;
    let struck = Instant::now();
    replicas[0].behave(conduct);
    sleep(FIRST + AFTER).await;
    let ends = Instant::now();
    (lab.finish(fault, load, struck).await, ends)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_gets_twenty_times_slower_is_avoided() {
    measured(async || {
        let (run, ends) = misconduct("slow 20x", Conduct::Answers(SERVICE_TIME * 20)).await;
        let struck = run.struck;
        run.lost_nothing()
            .diverted(&["pod-1"], struck, ends, SEEN)
            .settled()
            .kept_nobody_waiting()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_fails_fast_is_no_black_hole() {
    measured(async || {
        let (run, ends) = misconduct("500 at once", Conduct::Fails).await;
        let struck = run.struck;
        run.lost_nothing()
            .diverted(&["pod-1"], struck, ends, SEEN)
            .settled()
            .kept_nobody_waiting()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_requests_and_never_answers_is_avoided() {
    measured(async || {
        let (run, ends) = misconduct("never answers", Conduct::Silent).await;
        let struck = run.struck;
        run.lost_nothing()
            .diverted(&["pod-1"], struck, ends, SEEN)
            .kept_nobody_waiting()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_closes_connections_without_a_word_costs_nothing() {
    measured(async || {
        let (run, ends) = misconduct("closes unannounced", Conduct::Closes).await;
        let struck = run.struck;
        assert!(!run.resent.is_empty(), "requests met connections that were closing");
        run.lost_nothing()
            .kept_its_share("pod-1", struck, ends)
            .settled()
            .kept_nobody_waiting()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_takes_no_request_with_it() {
    measured(async || {
        let network = Network::new();
        let [one, two, three]: [_; 3] = processes(&network, "1.0").await;
        let lab = Lab::by_dns(&network, &[one.1.address, two.1.address, three.1.address]).await;
        let load = lab.steady_load().await;
        let struck = Instant::now();
        // Frozen first, so that it has requests in hand.
        one.1.process.signal(Signal::STOP);
        lab.waits_for(one.1.address).await;
        one.1.process.signal(Signal::KILL);
        sleep(FIRST + AFTER).await;
        let ends = Instant::now();
        let run = lab.finish("kill -9", load, struck).await;
        assert!(!run.resent.is_empty(), "requests met their end with it");
        run.lost_nothing()
            .diverted(&["pod-1"], struck, ends, SEEN)
            .settled()
            .kept_nobody_waiting()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_frozen_replica_and_it_comes_back() {
    measured(async || {
        let network = Network::new();
        let [one, two, three]: [_; 3] = processes(&network, "1.0").await;
        let lab = Lab::by_dns(&network, &[one.1.address, two.1.address, three.1.address]).await;
        let load = lab.steady_load().await;
        let struck = Instant::now();
        one.1.process.signal(Signal::STOP);
        sleep(Duration::from_secs(3)).await;
        one.1.process.signal(Signal::CONT);
        let thawed = Instant::now();
        eventually("it is used again", DEADLINE, async || {
            load.0.answered_by("pod-1", thawed)
        })
        .await;
        let back = Instant::now();
        sleep(Duration::from_secs(2)).await;
        let run = lab.finish("frozen for 3 s", load, struck).await;
        run.lost_nothing()
            .diverted(&["pod-1"], struck, thawed, SEEN)
            .kept_its_share("pod-1", back, back + Duration::from_secs(2))
            .kept_nobody_waiting()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_stopped_before_dns_says_so_finishes_what_it_gets() {
    measured(async || {
        let network = Network::new();
        let [one, two, three]: [_; 3] = processes(&network, "1.0").await;
        let (mut one, two, three) = (one.1, two.1, three.1);
        let lab = Lab::by_dns(&network, &[one.address, two.address, three.address]).await;
        let load = lab.steady_load().await;
        let struck = Instant::now();
        one.process.signal(Signal::TERM);
        let [(_, four)]: [_; 1] = processes(&network, "1.0").await;
        assert_eq!(one.process.wait_exit(DEADLINE).await.code, 0);
        let exited = Instant::now();
        // DNS goes on to name what is no longer there.
        sleep(Duration::from_millis(500)).await;
        lab.name(&[two.address, three.address, four.address]);
        eventually("the new one is used", DEADLINE, async || {
            load.0.answered_by("pod-4", struck)
        })
        .await;
        sleep(Duration::from_secs(1)).await;
        let ends = Instant::now();
        let mut run = lab.finish("SIGTERM, DNS late", load, struck).await;
        run.diverted = run.last_answer_of("pod-1").map_or(Duration::ZERO, |last| last - struck);
        run.lost_nothing()
            .left_alone(&["pod-1"], exited, ends)
            .settled()
            .kept_nobody_waiting()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_loses_no_request() {
    measured(async || {
        let network = Network::new();
        let api = ApiServer::start(Mood::Well).await;
        let mut old: Vec<(String, Process)> = processes::<3>(&network, "1.0").await.into();
        let mut pods: Vec<Pod> = old.iter().map(|(_, process)| Pod::Ready(v4(process.address))).collect();
        api.put("slice", slice(network.port(), &pods));
        let lab = Lab::by_endpoint_slices(&network, &api, 3).await;
        let load = lab.steady_load().await;
        let struck = Instant::now();
        let (mut new, mut leaving) = (Vec::new(), Vec::new());
        for (at, (name, process)) in old.iter().enumerate() {
            let [started]: [_; 1] = processes(&network, "2.0").await;
            pods.push(Pod::Ready(v4(started.1.address)));
            new.push(started);
            pods[at] = Pod::Leaving(v4(process.address));
            // At the same moment, as in a cluster: the process may know before the gateway or after.
            api.put("slice", slice(network.port(), &pods));
            process.process.signal(Signal::TERM);
            leaving.push((name.clone(), Instant::now()));
        }
        for (at, (_, process)) in old.iter_mut().enumerate() {
            assert_eq!(process.process.wait_exit(DEADLINE).await.code, 0);
            pods[at] = Pod::Gone(v4(process.address));
            api.put("slice", slice(network.port(), &pods));
        }
        sleep(Duration::from_secs(1)).await;
        let ends = Instant::now();
        let mut run = lab.finish("rolling update", load, struck).await;
        for (name, told) in &leaving {
            run = run.left_alone(&[name], *told + WATCH_NEWS, ends);
            run = run.diverted(&[name], *told, ends, WATCH_NEWS);
        }
        run.lost_nothing().settled().kept_nobody_waiting()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_answer_of_dns_moves_every_request() {
    measured(async || {
        let network = Network::new();
        let old: [Replica; 3] = scripted(&network).await;
        let new: [Replica; 3] = scripted(&network).await;
        let lab = Lab::by_dns(&network, &addresses(&old)).await;
        let load = lab.steady_load().await;
        let struck = Instant::now();
        lab.name(&addresses(&new));
        eventually("the new ones are used", DEADLINE, async || {
            load.0.answered_by(&new[0].name, struck)
        })
        .await;
        // What the old ones have in hand they may finish, as they do in their drain.
        sleep(Duration::from_millis(500)).await;
        let names = old.each_ref().map(|replica| replica.name.clone());
        drop(old);
        sleep(AFTER).await;
        let ends = Instant::now();
        let run = lab.finish("DNS answer replaced", load, struck).await;
        let names = names.each_ref().map(String::as_str);
        run.lost_nothing()
            .left_alone(&names, struck + DNS_NEWS, ends)
            .diverted(&names, struck, ends, DNS_NEWS)
            .settled()
            .kept_nobody_waiting()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_endpoint_slices_move_requests_at_once() {
    const STEP: Duration = Duration::from_millis(900);
    measured(async || {
        let network = Network::new();
        let api = ApiServer::start(Mood::Well).await;
        let [a, b, c, d] = scripted::<4>(&network)
            .await
            .map(|replica| (v4(replica.address), replica));
        let port = network.port();
        api.put(
            "first",
            slice(port, &[Pod::Ready(a.0), Pod::Ready(b.0), Pod::Ready(c.0)]),
        );
        let lab = Lab::by_endpoint_slices(&network, &api, 3).await;
        let load = lab.steady_load().await;
        let mut moments = Vec::new();
        let mut step = async |change: &dyn Fn()| {
            let before = Instant::now();
            change();
            moments.push((before, Instant::now()));
            sleep(STEP).await;
        };
        step(&|| {
            api.put(
                "first",
                slice(port, &[Pod::Leaving(a.0), Pod::Ready(b.0), Pod::Ready(c.0)]),
            );
            api.put("second", slice(port, &[Pod::Ready(d.0)]));
        })
        .await;
        step(&|| {
            api.put(
                "first",
                slice(port, &[Pod::Gone(a.0), Pod::Unready(b.0), Pod::Ready(c.0)]),
            )
        })
        .await;
        step(&|| api.delete("second")).await;
        // Nothing is ready: what is leaving, but still serves, is better than an error.
        step(&|| api.put("first", slice(port, &[Pod::Unready(b.0), Pod::Leaving(c.0)]))).await;
        step(&|| api.put("first", slice(port, &[Pod::Ready(a.0), Pod::Ready(b.0)]))).await;
        assert!(load.0.answered_by("pod-1", moments[4].1), "it is ready again");
        let ends = Instant::now();
        let mut run = lab.finish("EndpointSlice events", load, moments[0].0).await;
        for (out, from, until) in [
            ("pod-1", moments[0].1, moments[4].0),
            ("pod-2", moments[1].1, moments[4].0),
            ("pod-4", moments[2].1, ends),
            ("pod-3", moments[4].1, ends),
        ] {
            run = run
                .left_alone(&[out], from + WATCH_NEWS, until)
                .diverted(&[out], from, until, WATCH_NEWS);
        }
        run.lost_nothing().settled().kept_nobody_waiting()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_replicas_are_gone_clients_hear_it_at_once_and_when_they_are_back_too() {
    /// From the first moment at which all are there again.
    const RECOVERY: Duration = Duration::from_millis(2500);
    measured(async || {
        let network = Network::new();
        let replicas: [_; 3] = processes(&network, "1.0").await;
        let addresses = replicas.each_ref().map(|(_, process)| process.address);
        let lab = Lab::by_dns(&network, &addresses).await;
        let load = lab.steady_load().await;
        let struck = Instant::now();
        drop(replicas);
        sleep(FIRST).await;
        let mut back = Vec::new();
        for address in addresses {
            back.push(Process::start_at(address, "again", "1.0", DRAIN_WINDOW).await);
        }
        let returned = Instant::now();
        sleep(RECOVERY + Duration::from_secs(1)).await;
        let mut run = lab.finish("all gone for 2 s", load, struck).await;
        let lost = run.samples.iter().filter(|sample| sample.outcome.is_err()).count();
        assert!(lost > 100, "nobody was there to answer: {lost}");
        run.diverted = run
            .last_lost()
            .map_or(Duration::ZERO, |last| last.saturating_duration_since(returned));
        run.lost_only_between(struck, returned + RECOVERY)
            .settled()
            .kept_nobody_waiting()
    })
    .await;
}

fn v4(address: SocketAddr) -> Ipv4Addr {
    match address.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("a pod at {address}"),
    }
}
