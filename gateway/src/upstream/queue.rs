//! Requests that wait for a free place at an endpoint, shared by all workers.
//!
//! The wait is in order and bounded three ways: by how many may wait, by the request's deadline, and by a forecast:
//! who would still be waiting at the deadline is told so at once instead of then.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::error::ProxyError;

#[derive(Debug)]
pub struct Queue {
    limit: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
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
struct Place<'a>(&'a Queue);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
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
            self.freed.notify_one();
        }
    }

    /// There are other endpoints or limits: whoever waits looks again.
    pub fn freed_many(&self) {
        self.freed.notify_waiters();
    }

    /// Waits until `take` takes a place.
    pub async fn wait<T>(&self, pace: Pace, deadline: Instant, take: impl Fn() -> Option<T>) -> Result<T, ProxyError> {
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _place = Place(self);
        let limit = self.limit.load(Ordering::Relaxed);
        if ahead >= limit {
            return Err(ProxyError::QueueFull(limit));
        }
        let forecast = pace.wait_behind(ahead);
        if Instant::now() + forecast > deadline {
            return Err(ProxyError::Overloaded(forecast));
        }
        let mut freed = std::pin::pin!(self.freed.notified());
        loop {
            // Registered before looking: a place that is freed in between is not missed.
            freed.as_mut().enable();
            fence(Ordering::SeqCst);
            if let Some(taken) = take() {
                return Ok(taken);
            }
            if timeout_at(deadline, freed.as_mut()).await.is_err() {
                return Err(ProxyError::Overloaded(pace.wait_behind(self.len())));
            }
            if let Some(taken) = take() {
                return Ok(taken);
            }
            freed.set(self.freed.notified());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    const PACE: Pace = Pace {
        places: 2,
        each: Duration::from_millis(100),
    };

    #[test]
    fn the_forecast_grows_with_the_line_and_shrinks_with_the_places() {
        assert_eq!(PACE.wait_behind(0), Duration::from_millis(50));
        assert_eq!(PACE.wait_behind(9), Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_place_in_order() {
        let queue = Rc::new(Queue::new(10));
        let free = Rc::new(Cell::new(0));
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        let local = tokio::task::LocalSet::new();
        for name in 0..3 {
            let (queue, free, order) = (Rc::clone(&queue), Rc::clone(&free), Rc::clone(&order));
            local.spawn_local(async move {
                let take = || (free.get() > 0).then(|| free.set(free.get() - 1));
                let deadline = Instant::now() + Duration::from_secs(10);
                queue.wait(PACE, deadline, take).await.expect("a place");
                order.borrow_mut().push(name);
            });
        }
        local.run_until(tokio::task::yield_now()).await;
        assert_eq!(queue.len(), 3);
        for served in 1..=3 {
            free.set(1);
            queue.freed_one();
            local
                .run_until(async { tokio::time::sleep(Duration::from_millis(1)).await })
                .await;
            assert_eq!(order.borrow().len(), served);
        }
        assert_eq!(*order.borrow(), [0, 1, 2]);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_served_in_time_is_told_at_once() {
        let queue = Queue::new(10);
        let started = Instant::now();
        let deadline = started + Duration::from_millis(40);
        let refused = queue.wait(PACE, deadline, || None::<()>).await;
        assert!(matches!(refused, Err(ProxyError::Overloaded(_))), "{refused:?}");
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_past_the_deadline_or_in_a_full_queue() {
        let queue = Queue::new(1);
        let started = Instant::now();
        let deadline = started + Duration::from_millis(60);
        let (first, second) = tokio::join!(
            queue.wait(PACE, deadline, || None::<()>),
            queue.wait(PACE, deadline, || None::<()>),
        );
        assert!(matches!(first, Err(ProxyError::Overloaded(_))), "{first:?}");
        assert!(matches!(second, Err(ProxyError::QueueFull(1))), "{second:?}");
        assert!(started.elapsed() >= Duration::from_millis(60));
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_offered_to_one_that_left_goes_to_the_next() {
        let queue = Queue::new(10);
        let free = Cell::new(false);
        let deadline = Instant::now() + Duration::from_secs(10);
        let take = || free.replace(false).then_some(());
        let mut first = Box::pin(queue.wait(PACE, deadline, take));
        assert!(
            futures_util::future::poll_immediate(&mut first).await.is_none(),
            "it waits"
        );
        let second = queue.wait(PACE, deadline, take);
        let leaves = async {
            // The place is offered to the first in line, which leaves instead of taking it.
            free.set(true);
            queue.freed_one();
            drop(first);
        };
        let (served, ()) = tokio::join!(second, leaves);
        served.expect("the second got it");
    }
}
