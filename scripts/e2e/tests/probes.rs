//! The readiness probes of `deploy/base`, asked as the kubelet asks them: of a process that is frozen, which has to leave its
//! Service soon, and of one that is only busy, which has to stay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e::{Replica, binary, repository};
use shared::http_client;
use shared::test_util::{DEADLINE, Process, Scratch, Signal, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use yaml_rust2::{Yaml, YamlLoader};

/// The longest that a frozen pod may count as ready.
const FROZEN: Duration = Duration::from_secs(3);
/// What a test's own timers are late by on a busy machine.
const SLACK: Duration = Duration::from_millis(300);
/// How long a pod is kept busy.
const BUSY: Duration = Duration::from_secs(8);
/// Clients of a busy pod, each with the next request as soon as it has an answer.
const CLIENTS: usize = 64;
/// The period in which the kernel counts a container's CPU time.
const CPU_PERIOD: Duration = Duration::from_millis(100);

/// A readiness probe, as a manifest has it.
#[derive(Debug)]
struct Probe {
    path: String,
    period: Duration,
    timeout: Duration,
    failures: u32,
    /// Thousandths of a CPU that the container may use.
    cpu: u32,
}

impl Probe {
    fn of(manifest: &str) -> Self {
        let file = repository().join("deploy/base").join(manifest);
        let text = std::fs::read_to_string(file).expect("readable");
        let deployment = &YamlLoader::load_from_str(&text).expect("YAML")[0];
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let probe = &container["readinessProbe"];
        let number = |key: &str| u32::try_from(probe[key].as_i64().expect(key)).expect(key);
        let cpu = container["resources"]["limits"]["cpu"].as_str().expect("a limit");
        Self {
            path: text_of(&probe["httpGet"]["path"]),
            period: Duration::from_secs(number("periodSeconds").into()),
            timeout: Duration::from_secs(number("timeoutSeconds").into()),
            failures: number("failureThreshold"),
            cpu: cpu
                .strip_suffix('m')
                .and_then(|cpu| cpu.parse().ok())
                .expect("thousandths"),
        }
    }

    /// The longest time from a freeze to the last failure: it comes right after a success, and then each probe times out.
    fn bound(&self) -> Duration {
        self.period + self.period.max(self.timeout) * (self.failures - 1) + self.timeout
    }

    /// Whether a new connection gets a 200 in time.
    async fn succeeds(&self, address: SocketAddr) -> bool {
        let asked = timeout(self.timeout, async {
            let mut connection = TcpStream::connect(address).await?;
            let head = format!(
                "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
                self.path
            );
            connection.write_all(head.as_bytes()).await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        });
        matches!(asked.await, Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 "))
    }
}

fn text_of(value: &Yaml) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Asks a probe until it has failed as often in a row as it may, or for some time; `after` is called after each success.
/// Gives whether it has failed so often, and the most failures in a row.
async fn kubelet(probe: &Probe, address: SocketAddr, patience: Duration, mut after: impl FnMut()) -> (bool, u32) {
    // As Go's ticker: what was missed comes once, at once, and the next one when it is due.
    let mut ticks = interval(probe.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = Instant::now();
    let (mut failed, mut most) = (0, 0);
    while failed < probe.failures && began.elapsed() < patience {
        ticks.tick().await;
        if probe.succeeds(address).await {
            failed = 0;
            after();
        } else {
            failed += 1;
            most = most.max(failed);
        }
    }
    (failed == probe.failures, most)
}

/// Freezes a process right after a probe has succeeded, which is the worst moment.
async fn leaves_when_frozen(probe: &Probe, process: &Process, address: SocketAddr) {
    assert!(probe.bound() <= FROZEN, "{:?}", probe.bound());
    let mut frozen = None;
    let freeze = || {
        process.signal(Signal::STOP);
        frozen = Some(Instant::now());
    };
    let (unready, _) = kubelet(probe, address, FROZEN * 3, freeze).await;
    let took = frozen.expect("it was ready").elapsed();
    assert!(unready, "still ready {took:?} after the freeze");
    assert!(took <= FROZEN + SLACK, "not ready only {took:?} after the freeze");
    process.signal(Signal::CONT);
    assert!(probe.succeeds(address).await, "ready again");
}

/// Probes a process that is at its CPU limit, on a machine that is busy too, with more requests than it can answer.
async fn stays_when_busy(probe: &Probe, process: &Process, address: SocketAddr, url: String, body: String) {
    let load = Load::start(url, body);
    let (unready, most) = tokio::select! {
        seen = kubelet(probe, address, BUSY, || {}) => seen,
        () = at_its_limit(process, probe.cpu) => unreachable!("it goes on"),
    };
    process.signal(Signal::CONT);
    let answered = load.end();
    assert!(
        answered >= 20,
        "{answered} answers: that is no load\n{}",
        process.output()
    );
    assert!(
        !unready,
        "{most} probes failed in a row while {answered} requests were answered"
    );
}

/// Lets a process run for its part of every [`CPU_PERIOD`] only, as the kernel does with a container at its limit.
async fn at_its_limit(process: &Process, cpu: u32) {
    let runs = CPU_PERIOD * cpu / 1000;
    loop {
        process.signal(Signal::STOP);
        sleep(CPU_PERIOD - runs).await;
        process.signal(Signal::CONT);
        sleep(runs).await;
    }
}

/// Clients and a thread for each CPU that does nothing but run.
struct Load {
    ends: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
    clients: JoinHandle<u64>,
    clients_end: oneshot::Sender<()>,
}

impl Load {
    fn start(url: String, body: String) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let cpus = std::thread::available_parallelism().map_or(2, usize::from);
        let run = |ends: Arc<AtomicBool>| {
            while !ends.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let running = (0..cpus).map(|_| {
            let ends = Arc::clone(&ends);
            std::thread::spawn(move || run(ends))
        });
        let running = running.collect();
        let (clients_end, ended) = oneshot::channel();
        let clients = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(clients(url, body, ended))
        });
        Self {
            ends,
            running,
            clients,
            clients_end,
        }
    }

    /// The number of requests that were answered with 200.
    fn end(self) -> u64 {
        drop(self.clients_end);
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.running {
            thread.join().expect("it ends");
        }
        self.clients.join().expect("it ends")
    }
}

/// Sends requests until it is told to end, and gives how many were answered with 200.
async fn clients(url: String, body: String, ended: oneshot::Receiver<()>) -> u64 {
    let answered = Arc::new(AtomicU64::new(0));
    let client = http_client::client(DEADLINE).expect("the client builds");
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, url, body, answered) = (client.clone(), url.clone(), body.clone(), Arc::clone(&answered));
        clients.spawn(async move {
            loop {
                // One that is turned away asks again.
                let answer = client.post(&url).body(body.clone()).send().await;
                if answer.is_ok_and(|answer| answer.status() == 200) {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    // Only the sender's end matters.
    let _ended = ended.await;
    clients.shutdown().await;
    answered.load(Ordering::Relaxed)
}

/// A gateway with as many workers as a pod with this limit has.
async fn gateway(replica: &Replica, scratch: &Scratch) -> (Process, SocketAddr, SocketAddr) {
    let yaml = format!(
        "clusters: [{{ name: \"ml-inference-service:5000\", endpoints: [\"{}\"] }}]\n",
        replica.address
    );
    let file = scratch.file("gateway.yaml", yaml).display().to_string();
    let environment = [
        ("CONFIG_FILE", file.as_str()),
        ("LISTEN_ADDRESS", "127.0.0.1:0"),
        ("ADMIN_ADDRESS", "127.0.0.1:0"),
        ("WORKERS", "1"),
    ];
    let process = Process::start(binary("gateway"), environment);
    let admin = process.address_of("admin listening").await;
    let address = process.listening().await;
    (process, admin, address)
}

#[tokio::test]
async fn a_frozen_gateway_leaves_its_service_within_three_seconds() {
    let probe = Probe::of("gateway-deployment.yaml");
    let (replica, scratch) = (Replica::start("pod", "1.0", 0).await, Scratch::new("probes"));
    let (process, admin, _) = gateway(&replica, &scratch).await;
    leaves_when_frozen(&probe, &process, admin).await;
}

#[tokio::test]
async fn a_frozen_replica_leaves_its_service_within_three_seconds() {
    let probe = Probe::of("ml-service-deployment.yaml");
    let replica = Replica::start("pod", "1.0", 0).await;
    leaves_when_frozen(&probe, &replica.process, replica.address).await;
}

#[tokio::test]
async fn a_busy_gateway_stays_ready() {
    let probe = Probe::of("gateway-deployment.yaml");
    let (replica, scratch) = (Replica::start("pod", "1.0", 0).await, Scratch::new("probes"));
    let (process, admin, address) = gateway(&replica, &scratch).await;
    let body = r#"{"instances": [1.0, 2.0, 5.0]}"#.to_owned();
    stays_when_busy(&probe, &process, admin, format!("http://{address}/predict"), body).await;
}

/// The model is the one whose rows cost CPU; the probe is answered by the thread that takes the requests.
#[tokio::test]
async fn a_busy_replica_stays_ready() {
    let probe = Probe::of("ml-service-deployment.yaml");
    let environment = [
        ("BIND_ADDRESS", "127.0.0.1"),
        ("SERVICE_PORT", "0"),
        ("ADMIN_ADDRESS", "127.0.0.1:0"),
        ("MODEL_NAME", "mlp"),
    ];
    let process = Process::start(binary("ml-inference"), environment);
    let address = process.listening().await;
    eventually("it is ready", DEADLINE, async || probe.succeeds(address).await).await;
    let row = vec!["0.5"; 64].join(", ");
    let body = format!("{{\"instances\": [[{row}]]}}");
    stays_when_busy(&probe, &process, address, format!("http://{address}/"), body).await;
}
