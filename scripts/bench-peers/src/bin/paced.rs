//! Load at a constant rate, for latencies: GETs over kept-alive connections, each due at its own fixed moment.
//!
//! One thread for each connection, because sleeping threads wake within tens of microseconds; the timers of the usual
//! asynchronous load generators tick in milliseconds, which is longer than what is measured here.
//!
//! A request that is due while its connection still waits for the answer before counts from when it was due: a proxy
//! that stalls cannot hide it by being asked less.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bench_peers::argument;

/// A request that takes longer has failed, and with it its connection.
const TIMEOUT: Duration = Duration::from_secs(5);
const STACK: usize = 64 * 1024;

#[derive(Default)]
struct Outcome {
    latencies: Vec<Duration>,
    errors: usize,
}

fn main() -> io::Result<()> {
    let target: SocketAddr = argument(1, "ADDRESS")?;
    let path: String = argument(2, "PATH")?;
    let rate: f64 = argument(3, "REQUESTS_PER_SECOND")?;
    let connections: u32 = argument(4, "CONNECTIONS")?;
    let length = Duration::from_secs_f64(argument(5, "SECONDS")?);

    let request = format!("GET {path} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let period = Duration::from_secs_f64(f64::from(connections) / rate);
    // Time for every thread to be there and connected.
    let start = Instant::now() + Duration::from_millis(100);
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let threads: Vec<io::Result<_>> = (0..connections)
            .map(|index| {
                let mut connection = Connection::open(target, request.as_bytes())?;
                let first_due = start + period.mul_f64(f64::from(index) / f64::from(connections));
                let builder = thread::Builder::new().stack_size(STACK);
                builder.spawn_scoped(scope, move || connection.run(first_due, period, start + length))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.map(|thread| thread.join().expect("a load thread does not panic")))
            .collect::<io::Result<_>>()
    })?;
    report(outcomes, length);
    Ok(())
}

struct Connection<'a> {
    stream: TcpStream,
    target: SocketAddr,
    request: &'a [u8],
    buffer: Vec<u8>,
}

impl<'a> Connection<'a> {
    fn open(target: SocketAddr, request: &'a [u8]) -> io::Result<Self> {
        Ok(Self {
            stream: connect(target)?,
            target,
            request,
            buffer: vec![0; 16 * 1024],
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a thread that waits for the moment a request is due"
    )]
    fn run(&mut self, first_due: Instant, period: Duration, end: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut due = first_due;
        while due < end && Instant::now() < end {
            let early = due.saturating_duration_since(Instant::now());
            // Waking up late is this program's own doing; being late already is the peer's.
            let from = if early.is_zero() {
                due
            } else {
                thread::sleep(early);
                Instant::now()
            };
            match self.exchange() {
                Ok(()) => outcome.latencies.push(from.elapsed()),
                Err(_) => {
                    outcome.errors += 1;
                    match connect(self.target) {
                        Ok(stream) => self.stream = stream,
                        Err(_) => return outcome,
                    }
                }
            }
            due += period;
        }
        outcome
    }

    fn exchange(&mut self) -> io::Result<()> {
        self.stream.write_all(self.request)?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if let Some(whole) = answer_length(&self.buffer[..filled])?
                && filled >= whole
            {
                return Ok(());
            }
        }
    }
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Head and body together, once the head is complete; an error unless it is a 200 that says how long it is.
fn answer_length(received: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let text = std::str::from_utf8(&received[..head]).map_err(|_| invalid("answer is not UTF-8"))?;
    if !text.starts_with("HTTP/1.1 200") {
        return Err(invalid("answer is not 200"));
    }
    let body = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(|| invalid("answer has no length"))?;
    Ok(Some(head + 4 + body))
}

/// One line of JSON, as scripts/lib/bench/load.py reads it.
fn report(outcomes: Vec<Outcome>, length: Duration) {
    let errors: usize = outcomes.iter().map(|outcome| outcome.errors).sum();
    let mut latencies: Vec<Duration> = outcomes.into_iter().flat_map(|outcome| outcome.latencies).collect();
    latencies.sort_unstable();
    let percentile = |share: f64| {
        let rank = (latencies.len() as f64 * share) as usize;
        latencies
            .get(rank)
            .map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    };
    println!(
        r#"{{"requests": {}, "seconds": {}, "errors": {errors}, "p50_ms": {:.4}, "p99_ms": {:.4}}}"#,
        latencies.len(),
        length.as_secs_f64(),
        percentile(0.5),
        percentile(0.99),
    );
}
