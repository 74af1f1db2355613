//! The connections of one worker, as its accept loop and each of them see them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use slab::Slab;
use tokio::sync::Notify;

use super::limits::ConnectionLimits;
use super::metrics::ConnectionMetrics;
use crate::lifecycle::PhaseWatch;

/// The state that a worker's connections share.
pub(super) struct Connections {
    pub(super) phase: PhaseWatch,
    pub(super) limits: ConnectionLimits,
    /// The listener is closed: idle connections end, busy ones end after their response.
    pub(super) closing: Cell<bool>,
    /// The grace time is over: connections that never sent a request end too.
    pub(super) grace_over: Cell<bool>,
    /// One waker a connection, woken when a flag above changes and when the drain begins.
    wakers: RefCell<Slab<Waker>>,
    open: Cell<usize>,
    one_ended: Notify,
    pub(super) metrics: ConnectionMetrics,
}

impl Connections {
    pub(super) fn new(phase: PhaseWatch, limits: ConnectionLimits, metrics: ConnectionMetrics) -> Self {
        Self {
            phase,
            limits,
            closing: Cell::new(false),
            grace_over: Cell::new(false),
            wakers: RefCell::default(),
            open: Cell::new(0),
            one_ended: Notify::new(),
            metrics,
        }
    }

    /// The number of open connections.
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    /// Returns when a connection has ended.
    pub(super) async fn one_ended(&self) {
        self.one_ended.notified().await;
    }

    /// Returns when no connection is open.
    pub(super) async fn all_ended(&self) {
        while self.open.get() > 0 {
            self.one_ended.notified().await;
        }
    }

    pub(super) fn wake_all(&self) {
        for (_, waker) in self.wakers.borrow().iter() {
            waker.wake_by_ref();
        }
    }
}

/// Counts a connection as open for as long as it lives.
pub(super) struct OpenGuard(Rc<Connections>);

impl OpenGuard {
    pub(super) fn new(connections: &Rc<Connections>) -> Self {
        connections.open.set(connections.open.get() + 1);
        connections.metrics.accepted.inc();
        connections.metrics.open.inc();
        Self(Rc::clone(connections))
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.metrics.open.dec();
        self.0.one_ended.notify_one();
    }
}

/// The place of a connection's waker among its worker's, for as long as the connection lives.
pub(super) struct WakerSlot {
    slot: Option<usize>,
    connections: Rc<Connections>,
}

impl WakerSlot {
    pub(super) fn new(connections: &Rc<Connections>) -> Self {
        Self {
            slot: None,
            connections: Rc::clone(connections),
        }
    }

    /// A task keeps one waker for its life, so the first poll's is enough.
    pub(super) fn register(&mut self, cx: &Context<'_>) {
        if self.slot.is_none() {
            self.slot = Some(self.connections.wakers.borrow_mut().insert(cx.waker().clone()));
        }
    }
}

impl Drop for WakerSlot {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.connections.wakers.borrow_mut().remove(slot);
        }
    }
}
