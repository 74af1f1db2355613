//! One load from beginning to end: opens the connections, lets them send, and gives what was recorded.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::arguments::Options;
use crate::client::Client;
use crate::failure::Failure;
use crate::marks::Marks;
use crate::progress::Progress;
use crate::recorder::{Recorder, Span};
use crate::schedule::Schedule;
use crate::target::Protocol;
use crate::tickets::{ClosedLoop, ConstantRate, Tickets};

/// From the first connection's readiness to the first request: time for all to wait for it.
const HEAD_START: Duration = Duration::from_millis(10);
/// In a closed loop, a connection that could not be opened is tried again after this, not at once.
const RECONNECT: Duration = Duration::from_millis(100);
const MARKS_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("nothing answers at {url}: {}", if failure.detail.is_empty() { failure.kind.to_string() } else { failure.detail.clone() })]
    Unavailable { url: String, failure: Failure },
    #[error("ended by a signal before the first request")]
    NotBegun,
    #[error("cannot {what}: {error}")]
    System { what: &'static str, error: io::Error },
}

/// What a load came to.
#[derive(Debug)]
pub struct Finished {
    pub started: Timestamp,
    /// Without the warm-up; shorter than planned after a signal.
    pub measured: Duration,
    pub ended_early: bool,
    pub recorder: Recorder,
}

/// What the connections share.
struct Load {
    tickets: Tickets,
    recorder: Mutex<Recorder>,
    timeout: Duration,
    begin: Instant,
    /// The end of the warm-up: time 0 of the report.
    zero: Instant,
    closed_loop: bool,
}

/// Runs the load that `options` describe. SIGINT or SIGTERM ends it early.
pub async fn run(options: &Options) -> Result<Finished, LoadError> {
    let mut signals = Signals::install().map_err(|error| system("install signal handlers", error))?;
    let clients = tokio::select! {
        clients = open_connections(options) => clients?,
        () = signals.next() => return Err(LoadError::NotBegun),
    };
    let load = Arc::new(Load::begin(options).map_err(|error| system("start a thread", error))?);
    let started = Timestamp::now();
    let observers = load.observe(options);
    let stopped_at = load.send(clients, &mut signals).await;
    observers.finish(&load).await;

    let until_stop = stopped_at.map(|stopped_at| stopped_at.saturating_duration_since(load.zero));
    let measured = until_stop.unwrap_or(options.duration).min(options.duration);
    Ok(Finished {
        started,
        measured,
        ended_early: measured < options.duration,
        recorder: load.take_recorder(measured),
    })
}

/// Opens the connections. One comes first: where nothing answers, that is said instead of measured.
async fn open_connections(options: &Options) -> Result<Vec<Client>, LoadError> {
    let sharing = || Client::sharing(options.streams, &options.target, options.protocol, &options.template);
    let mut ready = sharing();
    let opened = ready[0].prepare(options.timeout).await;
    opened.map_err(|failure| LoadError::Unavailable {
        url: options.target.url.clone(),
        failure,
    })?;
    let mut others = JoinSet::new();
    for _ in 1..options.connections {
        let mut clients = sharing();
        if options.protocol == Protocol::NewConnections {
            ready.extend(clients);
            continue;
        }
        let patience = options.timeout;
        others.spawn(async move {
            // The request that finds it closed tries anew, and is told.
            let _tried_again = clients[0].prepare(patience).await;
            clients
        });
    }
    ready.extend(others.join_all().await.into_iter().flatten());
    Ok(ready)
}

impl Load {
    fn begin(options: &Options) -> io::Result<Self> {
        let begin = Instant::now() + HEAD_START;
        let whole = options.warmup + options.duration;
        let tickets = match options.rate {
            None => Tickets::ClosedLoop(ClosedLoop::new(begin + whole)),
            Some(rate) => {
                let schedule = Schedule::new(rate, whole);
                Tickets::ConstantRate(ConstantRate::start(schedule, begin, options.clients())?)
            }
        };
        Ok(Self {
            tickets,
            recorder: Mutex::new(Recorder::new(2 * options.timeout)),
            timeout: options.timeout,
            begin,
            zero: begin + options.warmup,
            closed_loop: options.rate.is_none(),
        })
    }

    /// Sends until the load is over, and gives when a signal ended it, if one did. The second one does not wait for what is
    /// under way.
    async fn send(self: &Arc<Self>, clients: Vec<Client>, signals: &mut Signals) -> Option<Instant> {
        let mut connections = JoinSet::new();
        for client in clients {
            connections.spawn(Arc::clone(self).send_all(client));
        }
        let mut stopped_at = None;
        loop {
            tokio::select! {
                ended = connections.join_next() => match ended {
                    Some(ended) => ended.expect("a connection's task does not panic"),
                    None => return stopped_at,
                },
                () = signals.next() => {
                    self.tickets.stop();
                    if stopped_at.is_some() {
                        connections.shutdown().await;
                        return stopped_at;
                    }
                    stopped_at = Some(Instant::now());
                }
            }
        }
    }

    /// One client's work.
    async fn send_all(self: Arc<Self>, mut client: Client) {
        if self.closed_loop {
            tokio::time::sleep_until(self.begin.into()).await;
        }
        while let Some(ticket) = self.tickets.next().await {
            let late = ticket.due.elapsed();
            if ticket.was_awaited && !self.closed_loop {
                lock(&self.recorder).record_lateness(late);
            }
            let outcome = match late > self.timeout {
                true => Failure::not_sent(late).into(),
                false => client.exchange(self.timeout).await,
            };
            let no_connection = matches!(&outcome.result, Err(failure) if failure.is_connect());
            self.record(ticket.due, outcome);
            if no_connection && self.closed_loop {
                sleep(RECONNECT).await;
            }
        }
    }

    fn record(&self, due: Instant, outcome: crate::client::Outcome) {
        let ended = Instant::now().saturating_duration_since(self.zero);
        let mut recorder = lock(&self.recorder);
        match due.checked_duration_since(self.zero) {
            Some(due) => recorder.record(Span { due, ended }, outcome),
            None => recorder.record_warmup(&outcome),
        }
    }

    /// Everything that was due is in it, even what was given up.
    fn take_recorder(&self, measured: Duration) -> Recorder {
        let mut recorder = lock(&self.recorder);
        let unfinished = self.tickets.issued().saturating_sub(recorder.recorded());
        recorder.record_unfinished(unfinished, measured);
        std::mem::replace(&mut *recorder, Recorder::new(Duration::ZERO))
    }

    fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.zero)
    }

    /// Starts what looks at the load from the side.
    fn observe(self: &Arc<Self>, options: &Options) -> Observers {
        let mut tasks = JoinSet::new();
        if !options.quiet {
            tasks.spawn(Arc::clone(self).show_progress(Progress::new(options)));
        }
        let marks = options.marks.clone().map(|path| Arc::new(Mutex::new(Marks::new(path))));
        if let Some(marks) = &marks {
            tasks.spawn(Arc::clone(self).read_marks(Arc::clone(marks)));
        }
        Observers { tasks, marks }
    }

    async fn show_progress(self: Arc<Self>, mut progress: Progress) {
        let mut every = interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(MissedTickBehavior::Skip);
        every.tick().await;
        loop {
            every.tick().await;
            let elapsed = self.begin.elapsed();
            let mut recorder = lock(&self.recorder);
            let tick = recorder.take_tick();
            progress.show(elapsed, &tick, &recorder);
        }
    }

    async fn read_marks(self: Arc<Self>, marks: Arc<Mutex<Marks>>) {
        let mut every = interval(MARKS_EVERY);
        loop {
            every.tick().await;
            self.take_marks(&marks);
        }
    }

    /// A file that cannot be read marks nothing: the load is what matters.
    fn take_marks(&self, marks: &Mutex<Marks>) {
        let lines = lock(marks).read().unwrap_or_default();
        let mut recorder = lock(&self.recorder);
        for text in lines {
            recorder.mark(self.now(), text);
        }
    }
}

/// The tasks beside the load. They end with it.
struct Observers {
    tasks: JoinSet<()>,
    marks: Option<Arc<Mutex<Marks>>>,
}

impl Observers {
    async fn finish(mut self, load: &Load) {
        self.tasks.shutdown().await;
        if let Some(marks) = &self.marks {
            load.take_marks(marks);
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn system(what: &'static str, error: io::Error) -> LoadError {
    LoadError::System { what, error }
}

/// A panic while it was held ends the load anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
