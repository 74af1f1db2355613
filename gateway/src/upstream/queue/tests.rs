use super::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use tokio::task::{JoinHandle, LocalSet};

const PACE: Pace = Pace {
    slots: 2,
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
            let more = || free.get() > 0;
            let deadline = Instant::now() + Duration::from_secs(10);
            queue.wait(PACE, deadline, take, more).await.expect("a place");
            order.borrow_mut().push(name);
        });
    }
    local.run_until(tokio::task::yield_now()).await;
    assert_eq!(queue.len(), 3);
    for served in 1..=3 {
        free.set(1);
        queue.freed();
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
    let refused = queue.wait(PACE, deadline, || None::<()>, || false).await;
    assert!(matches!(refused, Err(ConnectError::Overloaded(_))), "{refused:?}");
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_past_the_deadline_or_in_a_full_queue() {
    let queue = Queue::new(1);
    let started = Instant::now();
    let deadline = started + Duration::from_millis(60);
    let (first, second) = tokio::join!(
        queue.wait(PACE, deadline, || None::<()>, || false),
        queue.wait(PACE, deadline, || None::<()>, || false),
    );
    assert!(matches!(first, Err(ConnectError::Overloaded(_))), "{first:?}");
    assert!(matches!(second, Err(ConnectError::QueueFull(1))), "{second:?}");
    assert!(started.elapsed() >= Duration::from_millis(60));
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_place_offered_to_one_that_left_goes_to_the_next() {
    let queue = Queue::new(10);
    let free = Cell::new(false);
    let deadline = Instant::now() + Duration::from_secs(10);
    let take = || free.replace(false).then_some(());
    let more = || free.get();
    let mut first = Box::pin(queue.wait(PACE, deadline, take, more));
    assert!(
        futures_util::future::poll_immediate(&mut first).await.is_none(),
        "it waits"
    );
    let second = queue.wait(PACE, deadline, take, more);
    let leaves = async {
        // The place is offered to the first in line, which leaves instead of taking it.
        free.set(true);
        queue.freed();
        drop(first);
    };
    let (served, ()) = tokio::join!(second, leaves);
    served.expect("the second got it");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_use_a_place_passes_it_on_and_stays_first() {
    let queue = Queue::new(10);
    let deadline = Instant::now() + Duration::from_secs(10);
    let free: [Cell<bool>; 2] = Default::default();
    let more = || free.iter().any(Cell::get);
    let either = || free.iter().any(|place| place.replace(false)).then_some(());
    let only_the_second = || free[1].replace(false).then_some(());
    let mut first = Box::pin(queue.wait(PACE, deadline, only_the_second, more));
    assert!(futures_util::poll!(&mut first).is_pending());
    let mut second = Box::pin(queue.wait(PACE, deadline, either, more));
    assert!(futures_util::poll!(&mut second).is_pending());
    free[0].set(true);
    queue.freed();
    assert!(futures_util::poll!(&mut first).is_pending(), "it is of no use to it");
    assert!(futures_util::poll!(&mut second).is_ready(), "it is offered it then");
    drop(second);
    // And another that comes meanwhile takes what the first cannot use.
    free[0].set(true);
    queue.wait(PACE, deadline, either, more).await.expect("a place");
    free[1].set(true);
    queue.freed();
    assert!(futures_util::poll!(&mut first).is_ready(), "it is still there");
}

#[tokio::test(start_paused = true)]
async fn looking_again_changes_nobodys_turn() {
    let queue = Queue::new(10);
    let deadline = Instant::now() + Duration::from_secs(10);
    let free = Cell::new(false);
    let take = || free.replace(false).then_some(());
    let more = || free.get();
    let mut first = Box::pin(queue.wait(PACE, deadline, take, more));
    assert!(futures_util::poll!(&mut first).is_pending());
    // All are to look again, and before the first does another comes, and a place.
    queue.freed();
    let mut second = Box::pin(queue.wait(PACE, deadline, take, more));
    assert!(futures_util::poll!(&mut second).is_pending());
    free.set(true);
    queue.freed();
    assert!(futures_util::poll!(&mut second).is_pending(), "it is the first's");
    assert!(futures_util::poll!(&mut first).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_was_taken_away_comes_back() {
    let queue = Queue::new(10);
    let deadline = Instant::now() + Duration::from_secs(10);
    let (x, y) = (Cell::new(false), Cell::new(false));
    let more = || x.get() || y.get();
    let only_y = || y.replace(false).then_some(());
    let any = || x.replace(false).then_some(()).or_else(only_y);
    let mut first = Box::pin(queue.wait(PACE, deadline, only_y, more));
    let mut second = Box::pin(queue.wait(PACE, deadline, only_y, more));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    // Nobody can use this one.
    x.set(true);
    queue.freed();
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    y.set(true);
    queue.freed();
    let mut third = Box::pin(queue.wait(PACE, deadline, any, more));
    assert!(futures_util::poll!(&mut third).is_pending(), "it is the first's turn");
    assert!(futures_util::poll!(&mut first).is_ready());
    y.set(true);
    queue.freed();
    assert!(futures_util::poll!(&mut second).is_ready());
    third.await.expect("the place that was left");
    assert!(!x.get());
}

#[tokio::test(start_paused = true)]
async fn places_that_come_without_a_word_are_found_with_the_next() {
    let queue = Queue::new(10);
    let deadline = Instant::now() + Duration::from_secs(10);
    let free = Cell::new(0);
    let more = || free.get() > 0;
    let take = || more().then(|| free.set(free.get() - 1));
    let mut first = Box::pin(queue.wait(PACE, deadline, take, more));
    let mut second = Box::pin(queue.wait(PACE, deadline, take, more));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    // An endpoint's penalty ends by the clock alone; then another place becomes free.
    free.set(2);
    queue.freed();
    assert!(futures_util::poll!(&mut first).is_ready());
    assert!(futures_util::poll!(&mut second).is_ready());
}

/// An event at a queue of requests for one of two endpoints.
#[derive(Debug, Clone)]
enum Event {
    /// A request comes that may use these endpoints.
    Comes([bool; 2]),
    /// One comes, and something else happens before it has looked.
    ComesAtOnce([bool; 2]),
    /// One of those who wait goes away.
    Leaves(prop::sample::Index),
    /// A place becomes free at an endpoint.
    Freed(usize),
    /// A place becomes free, and nobody waits until those who are woken by that have looked.
    FreedAtOnce(usize),
    LookAgain,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => prop_oneof![Just([true, true]), Just([true, false]), Just([false, true])].prop_map(Event::Comes),
        2 => prop_oneof![Just([true, true]), Just([true, false]), Just([false, true])].prop_map(Event::ComesAtOnce),
        1 => any::<prop::sample::Index>().prop_map(Event::Leaves),
        2 => (0..2_usize).prop_map(Event::Freed),
        2 => (0..2_usize).prop_map(Event::FreedAtOnce),
        1 => Just(Event::LookAgain),
    ]
}

/// A request that was started: which endpoints it may use, and where it got its place.
struct Asked {
    may_use: [bool; 2],
    got: Rc<Cell<Option<usize>>>,
    task: JoinHandle<()>,
}

async fn quiet() {
    // The clock stands until nothing is left to do.
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn plays(events: Vec<Event>) -> Result<(), TestCaseError> {
    let queue = Rc::new(Queue::new(1_000));
    let free: Rc<[Cell<usize>; 2]> = Rc::default();
    let order: Rc<RefCell<Vec<usize>>> = Rc::default();
    let mut all: Vec<Asked> = Vec::new();
    for event in events {
        match event {
            Event::Comes(may_use) | Event::ComesAtOnce(may_use) => {
                let got = Rc::new(Cell::new(None));
                let number = all.len();
                let (queue, free, order, cell) =
                    (Rc::clone(&queue), Rc::clone(&free), Rc::clone(&order), Rc::clone(&got));
                let task = tokio::task::spawn_local(async move {
                    let take = || {
                        let place = (0..2).find(|at| may_use[*at] && free[*at].get() > 0)?;
                        free[place].set(free[place].get() - 1);
                        Some(place)
                    };
                    let deadline = Instant::now() + Duration::from_secs(1_000);
                    let more = || free.iter().any(|free| free.get() > 0);
                    let place = queue.wait(PACE, deadline, take, more).await.expect("there is time");
                    order.borrow_mut().push(number);
                    cell.set(Some(place));
                });
                all.push(Asked { may_use, got, task });
                match event {
                    Event::ComesAtOnce(_) => tokio::task::yield_now().await,
                    _ => quiet().await,
                }
            }
            Event::Leaves(which) if !all.is_empty() => which.get(&all).task.abort(),
            Event::Leaves(_) => {}
            Event::Freed(place) => {
                free[place].set(free[place].get() + 1);
                queue.freed();
                quiet().await;
            }
            Event::FreedAtOnce(place) => {
                free[place].set(free[place].get() + 1);
                queue.freed();
            }
            Event::LookAgain => queue.freed(),
        }
    }
    quiet().await;
    let waits = |asked: &&Asked| asked.got.get().is_none() && !asked.task.is_finished();
    for asked in all.iter().filter(waits) {
        let could = (0..2).any(|at| asked.may_use[at] && free[at].get() > 0);
        prop_assert!(!could, "a place is free that nobody told it of");
    }
    prop_assert_eq!(queue.len(), all.iter().filter(waits).count());
    // Whoever may use the same is served in the order of its coming.
    for kind in [[true, true], [true, false], [false, true]] {
        let served: Vec<usize> = order
            .borrow()
            .iter()
            .copied()
            .filter(|at| all[*at].may_use == kind)
            .collect();
        prop_assert!(served.is_sorted(), "{:?} of {:?}", served, kind);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn no_free_place_waits_for_one_who_could_use_it(events in prop::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        LocalSet::new().block_on(&runtime.expect("a runtime"), plays(events))?;
    }
}

#[test]
fn every_worker_gets_its_places_in_the_end() {
    const PLACES: usize = 3;
    const EACH: usize = 2_000;
    let queue = Arc::new(Queue::new(1_000));
    let free = Arc::new(AtomicUsize::new(PLACES));
    let worker = |_| {
        let (queue, free) = (Arc::clone(&queue), Arc::clone(&free));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let asks = async || {
                for turn in 0..EACH {
                    let take = || {
                        let taken = free.try_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1));
                        taken.ok()
                    };
                    let more = || free.load(Ordering::SeqCst) > 0;
                    let deadline = Instant::now() + Duration::from_secs(60);
                    queue
                        .wait(PACE, deadline, take, more)
                        .await
                        .expect("a place in a minute");
                    if turn % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    free.fetch_add(1, Ordering::SeqCst);
                    queue.freed();
                }
            };
            runtime
                .expect("a runtime")
                .block_on(async { tokio::join!(asks(), asks(), asks(), asks()) });
        })
    };
    let workers: Vec<_> = (0..4).map(worker).collect();
    workers.into_iter().for_each(|worker| worker.join().expect("it ends"));
    assert_eq!(free.load(Ordering::SeqCst), PLACES);
    assert!(queue.is_empty());
}
