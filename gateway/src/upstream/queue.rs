//! Requests that wait for a free place at an endpoint, shared by all workers.
//!
//! The wait is in order and bounded three ways: by how many may wait, by the request's deadline, and by a forecast:
//! who would still be waiting at the deadline is told so at once instead of then.
//!
//! A place that becomes free is offered to whoever waits longest. Who cannot use it, as a retry cannot that was at that
//! endpoint already, passes it on to the next and stays where it is in the line.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::ProxyError;

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
    /// From this ticket on nobody has looked for a place yet.
    fresh_from: u64,
    /// Whoever is to look for a place now. Nobody: no free place is known that someone in the line could use.
    turn: Option<u64>,
    /// Places that became free and were not taken yet, at most.
    offers: usize,
    /// Grows with every offer, so that who looks notices one that came meanwhile.
    rounds: u64,
}

impl Line {
    /// Offers `places` to the line from its front. Wake who is returned.
    fn offer(&mut self, places: usize) -> Option<Waker> {
        self.rounds += 1;
        self.offers = self.offers.saturating_add(places);
        self.give_turn(self.waiters.keys().next().copied())
    }

    /// `ticket` has had its turn, which goes to the next in line while there are offers, and then to those who have not
    /// looked yet. Wake who is returned.
    fn pass_on(&mut self, ticket: u64) -> Option<Waker> {
        let from = match self.offers {
            0 => self.fresh_from.max(ticket + 1),
            _ => ticket + 1,
        };
        let next = self.waiters.range(from..).next().map(|(next, _)| *next);
        self.give_turn(next)
    }

    fn give_turn(&mut self, turn: Option<u64>) -> Option<Waker> {
        self.turn = turn;
        let Some(turn) = turn else {
            // Nobody can use what is left.
            self.offers = 0;
            return None;
        };
        self.fresh_from = self.fresh_from.max(turn + 1);
        self.waiters.get_mut(&turn)?.take()
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
    took: bool,
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

    /// Nothing was found in the turn that came with `round`.
    fn looked_in_vain(&self, round: u64) {
        let mut line = self.queue.line();
        // Another offer came after the look: it went to the front of the line, which may be here.
        if line.rounds == round && line.turn == Some(self.ticket) {
            let wakes = line.pass_on(self.ticket);
            drop(line);
            wake(wakes);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        line.waiters.remove(&self.ticket);
        if self.took {
            line.offers = line.offers.saturating_sub(1);
        }
        let wakes = match line.turn == Some(self.ticket) {
            true => line.pass_on(self.ticket),
            false => None,
        };
        drop(line);
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

    /// A place became free. Nearly always nobody waits for it.
    pub fn freed_one(&self) {
        fence(Ordering::SeqCst);
        if !self.is_empty() {
            let wakes = self.line().offer(1);
            wake(wakes);
        }
    }

    /// There are other endpoints or limits: whoever waits looks again.
    pub fn freed_many(&self) {
        let wakes = self.line().offer(usize::MAX);
        wake(wakes);
    }

    /// Waits until `take` takes a place.
    pub async fn wait<T>(&self, pace: Pace, deadline: Instant, take: impl Fn() -> Option<T>) -> Result<T, ProxyError> {
        let (mut place, ahead) = self.enter()?;
        let forecast = pace.wait_behind(ahead);
        if Instant::now() + forecast > deadline {
            return Err(ProxyError::Overloaded(forecast));
        }
        loop {
            let turn = timeout_at(deadline, poll_fn(|cx| place.poll_turn(cx)));
            let Ok(round) = turn.await else {
                return Err(ProxyError::Overloaded(pace.wait_behind(self.len())));
            };
            // In the line before looking: a place that is freed in between is offered to it.
            fence(Ordering::SeqCst);
            if let Some(taken) = take() {
                place.took = true;
                return Ok(taken);
            }
            place.looked_in_vain(round);
        }
    }

    /// Goes to the end of the line; how many are ahead there.
    fn enter(&self) -> Result<(Place<'_>, usize), ProxyError> {
        let limit = self.limit.load(Ordering::Relaxed);
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        if ahead >= limit {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(ProxyError::QueueFull(limit));
        }
        let mut line = self.line();
        let ticket = line.next_ticket;
        line.next_ticket += 1;
        line.waiters.insert(ticket, None);
        if line.turn.is_none() {
            // Nobody is overtaken who could use what is free.
            line.give_turn(Some(ticket));
        }
        drop(line);
        let place = Place {
            queue: self,
            ticket,
            took: false,
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
