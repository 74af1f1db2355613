//! Requests that wait for a free slot at an endpoint, shared by all workers.
//!
//! The wait is in order and bounded three ways: by the number of waiters, by the request's deadline, and by a forecast: a
//! request that would still be waiting at its deadline is refused at once.
//!
//! When a slot becomes free, the waiter at the front is notified and tries to acquire it. A waiter that cannot use what is
//! free, as a retry that was at that endpoint already, passes the notification on to the next and keeps its position; a
//! waiter that acquires a slot while more are free notifies the front again.

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
    /// Waiters in the queue or about to enter it: freeing a slot reads this without the lock.
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

/// The waiters by ticket: the smallest has waited longest.
#[derive(Debug, Default)]
struct Waiters {
    /// With the waker of each that was polled.
    by_ticket: BTreeMap<u64, Option<Waker>>,
    next_ticket: u64,
    /// The waiter that may acquire a slot now; `None` while no free slot is known that a waiter could use.
    notified: Option<u64>,
    /// Grows with every slot that becomes free, so that a waiter notices one that came while it was trying.
    epoch: u64,
}

impl Waiters {
    /// Notifies the front of a free slot; the caller wakes what is returned.
    fn notify_front(&mut self) -> Option<Waker> {
        self.epoch += 1;
        self.notify(self.front())
    }

    fn front(&self) -> Option<u64> {
        self.by_ticket.keys().next().copied()
    }

    fn behind(&self, ticket: u64) -> Option<u64> {
        self.by_ticket.range(ticket + 1..).next().map(|(next, _)| *next)
    }

    fn notify(&mut self, ticket: Option<u64>) -> Option<Waker> {
        self.notified = ticket;
        self.by_ticket.get_mut(&ticket?)?.take()
    }
}

/// The speed of the queue.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Requests that are processed at the same time.
    pub slots: u64,
    /// Time that each takes.
    pub each: Duration,
}

impl Pace {
    /// Expected wait of the request behind `ahead` others.
    pub fn wait_behind(self, ahead: usize) -> Duration {
        let rounds = (ahead as f64 + 1.0) / self.slots.max(1) as f64;
        self.each.mul_f64(rounds)
    }
}

/// A request in the queue; it leaves when this is dropped.
struct Waiter<'a> {
    queue: &'a Queue,
    ticket: u64,
    /// Set once it has its slot.
    acquired: Option<Acquired>,
}

#[derive(Clone, Copy)]
struct Acquired {
    epoch: u64,
    /// Other slots were free then.
    more: bool,
}

impl Waiter<'_> {
    /// Waits for the notification; returns the epoch of it.
    fn poll_notified(&self, cx: &mut Context<'_>) -> Poll<u64> {
        let mut waiters = self.queue.waiters();
        if waiters.notified == Some(self.ticket) {
            return Poll::Ready(waiters.epoch);
        }
        if let Some(waker) = waiters.by_ticket.get_mut(&self.ticket) {
            match waker {
                Some(known) => known.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// Passes the notification of `epoch` on, if there is `more` that others could use.
    fn pass_on(&self, epoch: u64, more: bool) {
        let mut waiters = self.queue.waiters();
        // Otherwise another slot became free meanwhile: the front was notified of it, which may be this waiter.
        if waiters.epoch == epoch && waiters.notified == Some(self.ticket) {
            let next = if more { waiters.behind(self.ticket) } else { None };
            let wakes = waiters.notify(next);
            drop(waiters);
            wake(wakes);
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiters = self.queue.waiters();
        let own = waiters.by_ticket.remove(&self.ticket);
        let mut wakes = None;
        if waiters.notified == Some(self.ticket) {
            let next = match self.acquired {
                Some(Acquired { epoch, more: false }) if epoch == waiters.epoch => None,
                // A slot may be free without a notification: the front has not tried yet.
                Some(_) => waiters.front(),
                None => waiters.behind(self.ticket),
            };
            wakes = waiters.notify(next);
        }
        drop(waiters);
        drop(own);
        // After it left the queue: until then, a slot that becomes free is announced to the waiters.
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
            waiters: Mutex::default(),
        }
    }

    /// Changes the number of waiters allowed; those that wait already stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notifies the front that a slot became free, or that endpoints or limits changed. Nearly always nothing waits.
    pub fn freed(&self) {
        fence(Ordering::SeqCst);
        if !self.is_empty() {
            let wakes = self.waiters().notify_front();
            wake(wakes);
        }
    }

    /// Waits until `take` acquires a slot; `more` tells whether another waiter could.
    pub async fn wait<T>(
        &self,
        pace: Pace,
        deadline: Instant,
        take: impl Fn() -> Option<T>,
        more: impl Fn() -> bool,
    ) -> Result<T, ConnectError> {
        let (mut waiter, ahead) = self.enter()?;
        let forecast = pace.wait_behind(ahead);
        if Instant::now() + forecast > deadline {
            return Err(ConnectError::Overloaded(forecast));
        }
        loop {
            let notified = timeout_at(deadline, poll_fn(|cx| waiter.poll_notified(cx)));
            let Ok(epoch) = notified.await else {
                return Err(ConnectError::Overloaded(pace.wait_behind(self.len())));
            };
            // In the queue before trying: it is notified of a slot that becomes free in between.
            fence(Ordering::SeqCst);
            let taken = take();
            // A slot that becomes free from here on begins another epoch.
            fence(Ordering::SeqCst);
            let more = more();
            if let Some(taken) = taken {
                waiter.acquired = Some(Acquired { epoch, more });
                return Ok(taken);
            }
            waiter.pass_on(epoch, more);
        }
    }

    /// Enters the queue at its end; returns the number of waiters ahead.
    fn enter(&self) -> Result<(Waiter<'_>, usize), ConnectError> {
        let limit = self.limit.load(Ordering::Relaxed);
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        if ahead >= limit {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(ConnectError::QueueFull(limit));
        }
        let mut waiters = self.waiters();
        let ticket = waiters.next_ticket;
        waiters.next_ticket += 1;
        waiters.by_ticket.insert(ticket, None);
        if waiters.notified.is_none() {
            // No waiter ahead could use what is free now.
            waiters.notified = Some(ticket);
        }
        drop(waiters);
        let waiter = Waiter {
            queue: self,
            ticket,
            acquired: None,
        };
        Ok((waiter, ahead))
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        // No code that can panic runs under the lock.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
