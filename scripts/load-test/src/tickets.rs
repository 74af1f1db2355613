//! Who sends the next request, and when it was due.
//!
//! Closed loop: at once, until the time is over. Constant rate: a thread releases each request when it is due, and whoever of
//! the connections is free takes the oldest. What is due while none is free waits, as the numbers between `taken` and what was
//! released; nothing is stored for it.
//!
//! The thread is there because the timers of the asynchronous runtime tick in milliseconds, which is longer than many answers
//! take. A sleeping thread wakes within a tenth of a millisecond. A request counts from when it was due all the same, so that
//! what is lost here is seen rather than hidden: the report says how much it was.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::schedule::Schedule;

/// Permission to send one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Latency counts from here.
    pub due: Instant,
    /// Whether a free connection waited for it. Otherwise it waited for a connection.
    pub was_awaited: bool,
}

#[derive(Debug)]
pub enum Tickets {
    ClosedLoop(ClosedLoop),
    ConstantRate(ConstantRate),
}

impl Tickets {
    /// The next request to send; `None` when the load is over.
    pub async fn next(&self) -> Option<Ticket> {
        match self {
            Self::ClosedLoop(tickets) => tickets.next(),
            Self::ConstantRate(tickets) => tickets.next().await,
        }
    }

    /// Nothing more becomes due.
    pub fn stop(&self) {
        match self {
            Self::ClosedLoop(tickets) => tickets.stopped.store(true, Ordering::Relaxed),
            Self::ConstantRate(tickets) => tickets.pacer.stop(),
        }
    }

    /// Requests that were due so far.
    pub fn issued(&self) -> u64 {
        match self {
            Self::ClosedLoop(tickets) => tickets.issued.load(Ordering::Relaxed),
            Self::ConstantRate(tickets) => tickets.line.released.load(Ordering::Acquire),
        }
    }
}

/// As fast as the connections carry.
#[derive(Debug)]
pub struct ClosedLoop {
    end: Instant,
    stopped: AtomicBool,
    issued: AtomicU64,
}

impl ClosedLoop {
    pub fn new(end: Instant) -> Self {
        let stopped = AtomicBool::new(false);
        let issued = AtomicU64::new(0);
        Self { end, stopped, issued }
    }

    fn next(&self) -> Option<Ticket> {
        let due = Instant::now();
        if due >= self.end || self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        self.issued.fetch_add(1, Ordering::Relaxed);
        let was_awaited = true;
        Some(Ticket { due, was_awaited })
    }
}

/// At a fixed rate, however long the answers take.
#[derive(Debug)]
pub struct ConstantRate {
    schedule: Schedule,
    start: Instant,
    taken: AtomicU64,
    line: Arc<Line>,
    pacer: Pacer,
}

impl ConstantRate {
    /// Begins at `start`, for so many takers.
    pub fn start(schedule: Schedule, start: Instant, takers: usize) -> io::Result<Self> {
        let line = Arc::new(Line::default());
        let pacer = Pacer::start(schedule, start, takers, Arc::clone(&line))?;
        let taken = AtomicU64::new(0);
        Ok(Self {
            schedule,
            start,
            taken,
            line,
            pacer,
        })
    }

    async fn next(&self) -> Option<Ticket> {
        let was_awaited = match self.line.permits.try_acquire() {
            Ok(permit) => {
                permit.forget();
                false
            }
            Err(_none_due) => {
                let permit = self.line.permits.acquire().await;
                permit.expect("the semaphore is never closed").forget();
                true
            }
        };
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number >= self.line.released.load(Ordering::Acquire) {
            return None;
        }
        let due = self.start + self.schedule.due(number);
        Some(Ticket { due, was_awaited })
    }
}

/// What the pacer and the connections share.
#[derive(Debug)]
struct Line {
    /// One for each request that is due and not taken; and at the end one for each taker, which tells it to end.
    permits: Semaphore,
    /// Requests that were due so far. Grows before the permits do.
    released: AtomicU64,
}

impl Default for Line {
    fn default() -> Self {
        let permits = Semaphore::new(0);
        let released = AtomicU64::new(0);
        Self { permits, released }
    }
}

/// The thread that releases requests when they are due. It ends with its schedule or when it is told to.
#[derive(Debug)]
struct Pacer {
    stop: Sender<()>,
    _thread: JoinHandle<()>,
}

impl Pacer {
    fn start(schedule: Schedule, start: Instant, takers: usize, line: Arc<Line>) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || pace(schedule, start, takers, &line, &stopped))?;
        let _thread = thread;
        Ok(Self { stop, _thread })
    }

    fn stop(&self) {
        // When it has ended by itself there is nothing to stop.
        let _ended = self.stop.send(());
    }
}

fn pace(schedule: Schedule, start: Instant, takers: usize, line: &Line, stopped: &Receiver<()>) {
    let mut released = 0;
    while released < schedule.total() {
        let due = start + schedule.due(released);
        let early = due.saturating_duration_since(Instant::now());
        if early > Duration::ZERO && stopped.recv_timeout(early) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        let now_due = schedule.released_by(start.elapsed());
        line.released.store(now_due, Ordering::Release);
        line.permits
            .add_permits(usize::try_from(now_due - released).unwrap_or(0));
        released = now_due;
    }
    line.permits.add_permits(takers);
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::test_util::eventually;

    /// Takes all there is, as `connections` that need no time for an answer.
    async fn take_all(tickets: ConstantRate, connections: usize) -> Vec<Ticket> {
        let tickets = Arc::new(Tickets::ConstantRate(tickets));
        let mut takers = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let tickets = Arc::clone(&tickets);
            takers.spawn(async move {
                let mut taken = Vec::new();
                while let Some(ticket) = tickets.next().await {
                    taken.push(ticket);
                }
                taken
            });
        }
        let mut all = takers.join_all().await.concat();
        all.sort_unstable_by_key(|ticket| ticket.due);
        all
    }

    #[tokio::test]
    async fn every_request_of_the_schedule_is_taken_once() {
        let schedule = Schedule::new(1000, Duration::from_millis(250));
        let start = Instant::now();
        let tickets = ConstantRate::start(schedule, start, 3).expect("a thread starts");
        let taken = take_all(tickets, 3).await;
        let due: Vec<Duration> = taken.iter().map(|ticket| ticket.due - start).collect();
        let expected: Vec<Duration> = (0..250).map(|number| schedule.due(number)).collect();
        assert_eq!(due, expected);
        assert!(start.elapsed() >= Duration::from_millis(249), "too early");
    }

    #[tokio::test]
    async fn what_was_due_while_nobody_was_free_is_taken_with_its_own_time() {
        let schedule = Schedule::new(100, Duration::from_millis(100));
        let start = Instant::now();
        let tickets = Arc::new(Tickets::ConstantRate(
            ConstantRate::start(schedule, start, 1).expect("a thread starts"),
        ));
        eventually("all ten are due", Duration::from_secs(10), async || {
            tickets.issued() == 10
        })
        .await;
        for number in 0..10 {
            let ticket = tickets.next().await.expect("one of ten");
            assert_eq!(ticket.due, start + schedule.due(number));
            assert!(!ticket.was_awaited, "it was there already");
        }
        assert_eq!(tickets.next().await, None);
    }

    #[tokio::test]
    async fn a_stop_ends_the_schedule_early_and_loses_nothing_that_was_due() {
        let schedule = Schedule::new(100, Duration::from_secs(3600));
        let tickets = ConstantRate::start(schedule, Instant::now(), 2).expect("a thread starts");
        let tickets = Arc::new(Tickets::ConstantRate(tickets));
        let first = tickets.next().await;
        assert!(first.is_some());
        tickets.stop();
        let mut taken = 1;
        while tickets.next().await.is_some() {
            taken += 1;
        }
        assert_eq!(taken, tickets.issued());
    }

    #[tokio::test]
    async fn a_closed_loop_ends_with_its_time() {
        let tickets = Tickets::ClosedLoop(ClosedLoop::new(Instant::now()));
        assert_eq!(tickets.next().await, None);
        let tickets = Tickets::ClosedLoop(ClosedLoop::new(Instant::now() + Duration::from_secs(3600)));
        assert!(tickets.next().await.is_some());
        tickets.stop();
        assert_eq!(tickets.next().await, None);
        assert_eq!(tickets.issued(), 1);
    }
}
