//! Requests that wait for a free place at an endpoint, shared by all workers.
//!
//! The wait is in order and bounded three ways: by how many may wait, by the request's deadline, and by a forecast:
//! who would still be waiting at the deadline is told so at once instead of then.
//!
//! When a place becomes free, whoever waits longest has its turn to look. Who cannot use what is free, as a retry cannot that
//! was at that endpoint already, passes the turn on and stays where it is in the line; who takes a place while more are free
//! gives the turn to the front again.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::error::ConnectError;

#[derive(Debug)]
pub struct Queue {
    limit: AtomicUsize,
    /// As many as are in the line, or come to it: who frees a place looks here without the lock.
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

/// Who waits, by ticket: the smallest has waited longest.
#[derive(Debug, Default)]
struct Line {
    /// A waiter that was polled has left its waker.
    waiters: BTreeMap<u64, Option<Waker>>,
    next_ticket: u64,
    /// Whoever is to look for a place now. Nobody: no free place is known that someone in the line could use.
    turn: Option<u64>,
    /// Grows with every offer, so that who looks notices one that came meanwhile.
    rounds: u64,
}

impl Line {
    /// Something is free: the turn is that of the front. Wake who is returned.
    fn offer(&mut self) -> Option<Waker> {
        self.rounds += 1;
        self.give_turn(self.front())
    }

    fn front(&self) -> Option<u64> {
        self.waiters.keys().next().copied()
    }

    fn behind(&self, ticket: u64) -> Option<u64> {
        self.waiters.range(ticket + 1..).next().map(|(next, _)| *next)
    }

    fn give_turn(&mut self, turn: Option<u64>) -> Option<Waker> {
        self.turn = turn;
        self.waiters.get_mut(&turn?)?.take()
    }
}

/// How fast the queue moves.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Requests that are worked on at the same time.
    pub places: u64,
    /// How long each takes.
    pub each: Duration,
}

impl Pace {
    /// How long the request behind `ahead` others will wait.
    pub fn wait_behind(self, ahead: usize) -> Duration {
        let turns = (ahead as f64 + 1.0) / self.places.max(1) as f64;
        self.each.mul_f64(turns)
    }
}

/// A request in the queue; it leaves when this is dropped.
struct Place<'a> {
    queue: &'a Queue,
    ticket: u64,
    /// Once it took what it waited for.
    took: Option<Took>,
}

#[derive(Clone, Copy)]
struct Took {
    round: u64,
    /// Whether other places were free then.
    more: bool,
}

impl Place<'_> {
    /// Waits for the turn to look for a place; the round it is in.
    fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<u64> {
        let mut line = self.queue.line();
        if line.turn == Some(self.ticket) {
            return Poll::Ready(line.rounds);
        }
        if let Some(waker) = line.waiters.get_mut(&self.ticket) {
            match waker {
                Some(known) => known.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// Nothing was found in the turn that came with `round`, though there may be `more` that others can use.
    fn looked_in_vain(&self, round: u64, more: bool) {
        let mut line = self.queue.line();
        // Another offer came after the look: it went to the front of the line, which may be here.
        if line.rounds == round && line.turn == Some(self.ticket) {
            let next = if more { line.behind(self.ticket) } else { None };
            let wakes = line.give_turn(next);
            drop(line);
            wake(wakes);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        let own = line.waiters.remove(&self.ticket);
        let mut wakes = None;
        if line.turn == Some(self.ticket) {
            let next = match self.took {
                Some(Took { round, more: false }) if round == line.rounds => None,
                // Some of what is free may be there without an offer: the front has not looked for it yet.
                Some(_) => line.front(),
                None => line.behind(self.ticket),
            };
            wakes = line.give_turn(next);
        }
        drop(line);
        drop(own);
        // After it left the line: until then, who frees a place comes to the line with it.
        self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
        wake(wakes);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            waiting: AtomicUsize::new(0),
            line: Mutex::default(),
        }
    }

    /// Changes how many may wait; those who do stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A place became free, or there are other endpoints or limits. Nearly always nobody waits for that.
    pub fn freed(&self) {
        fence(Ordering::SeqCst);
        if !self.is_empty() {
            let wakes = self.line().offer();
            wake(wakes);
        }
    }

    /// Waits until `take` takes a place; `more` says whether anyone else could.
    pub async fn wait<T>(
        &self,
        pace: Pace,
        deadline: Instant,
        take: impl Fn() -> Option<T>,
        more: impl Fn() -> bool,
    ) -> Result<T, ConnectError> {
        let (mut place, ahead) = self.enter()?;
        let forecast = pace.wait_behind(ahead);
        if Instant::now() + forecast > deadline {
            return Err(ConnectError::Overloaded(forecast));
        }
        loop {
            let turn = timeout_at(deadline, poll_fn(|cx| place.poll_turn(cx)));
            let Ok(round) = turn.await else {
                return Err(ConnectError::Overloaded(pace.wait_behind(self.len())));
            };
            // In the line before looking: a place that is freed in between is offered to it.
            fence(Ordering::SeqCst);
            let taken = take();
            // What is freed from here on brings another round.
            fence(Ordering::SeqCst);
            let more = more();
            if let Some(taken) = taken {
                place.took = Some(Took { round, more });
                return Ok(taken);
            }
            place.looked_in_vain(round, more);
        }
    }

    /// Goes to the end of the line; how many are ahead there.
    fn enter(&self) -> Result<(Place<'_>, usize), ConnectError> {
        let limit = self.limit.load(Ordering::Relaxed);
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        if ahead >= limit {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(ConnectError::QueueFull(limit));
        }
        let mut line = self.line();
        let ticket = line.next_ticket;
        line.next_ticket += 1;
        line.waiters.insert(ticket, None);
        if line.turn.is_none() {
            // What is free now, nobody in the line could use.
            line.turn = Some(ticket);
        }
        drop(line);
        let place = Place {
            queue: self,
            ticket,
            took: None,
        };
        Ok((place, ahead))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // No code that can panic runs with it.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
