//! Idle upstream connections of one worker, per endpoint.
//!
//! hyper-util's pooled client is not used: it hides whether a request was written, which decides whether
//! sending it again is safe, and it cannot drop the connections of an endpoint that left.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use prometheus::IntGauge;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connect::Opened;
use super::{Cluster, Endpoint, EndpointSet};
use crate::body::RequestBody;
use crate::config::UpstreamConfig;

pub(super) struct Pool {
    shelves: RefCell<Vec<Shelf>>,
    /// The endpoint set that the shelves were last compared with.
    followed: Cell<u64>,
    limits: PoolLimits,
    open: IntGauge,
}

struct PoolLimits {
    max_idle: usize,
    idle_timeout: Duration,
    max_age: Duration,
    max_requests: usize,
    service_connections: usize,
}

/// The connections of one endpoint.
struct Shelf {
    address: SocketAddr,
    idle: VecDeque<Connection>,
    open: Rc<Cell<usize>>,
}

struct Connection {
    sender: SendRequest<RequestBody>,
    _task: EndTask,
    opened: Instant,
    idle_since: Instant,
    requests: usize,
    _counted: Counted,
}

/// Ends a connection's task when the connection is dropped.
struct EndTask(AbortHandle);

impl Drop for EndTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts a connection as open, on its shelf and in the metric, until it is dropped.
struct Counted {
    shelf: Rc<Cell<usize>>,
    gauge: IntGauge,
}

impl Counted {
    fn new(shelf: &Rc<Cell<usize>>, gauge: &IntGauge) -> Self {
        shelf.set(shelf.get() + 1);
        gauge.inc();
        Self {
            shelf: Rc::clone(shelf),
            gauge: gauge.clone(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shelf.set(self.shelf.get() - 1);
        self.gauge.dec();
    }
}

/// A connection in use. Dropped without [`Lease::give_back`] it is closed.
pub struct Lease {
    pub endpoint: Arc<Endpoint>,
    /// Whether it carried requests before: then its failure may be that of a connection gone stale.
    pub reused: bool,
    connection: Connection,
    pool: Rc<Pool>,
}

impl Lease {
    pub fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.connection.sender
    }

    /// Returns the connection to its pool; it is used again once hyper reports it ready.
    pub fn give_back(self) {
        let Self {
            endpoint,
            mut connection,
            pool,
            ..
        } = self;
        let now = Instant::now();
        connection.idle_since = now;
        if connection.sender.is_closed() || pool.is_worn(&connection, now) {
            return;
        }
        let mut shelves = pool.shelves.borrow_mut();
        // No shelf: the endpoint left meanwhile, and its connections leave with it.
        if let Some(shelf) = shelves.iter_mut().find(|shelf| shelf.address == endpoint.address)
            && shelf.idle.len() < pool.limits.max_idle
        {
            shelf.idle.push_back(connection);
        }
    }
}

impl Pool {
    pub(super) fn new(cluster: &Cluster, limits: UpstreamConfig) -> Self {
        Self {
            shelves: RefCell::default(),
            followed: Cell::new(0),
            limits: PoolLimits {
                max_idle: limits.max_idle_connections,
                idle_timeout: limits.idle_timeout,
                max_age: cluster.config.max_connection_age,
                max_requests: cluster.config.max_connection_requests,
                service_connections: cluster.config.service_connections,
            },
            open: cluster.metrics.connections.clone(),
        }
    }

    /// Drops the idle connections of endpoints that are no longer in `set`.
    pub(super) fn follow(&self, set: &EndpointSet) {
        if self.followed.replace(set.version) == set.version {
            return;
        }
        let mut shelves = self.shelves.borrow_mut();
        shelves.retain(|shelf| set.endpoints.iter().any(|endpoint| endpoint.address == shelf.address));
        for endpoint in &set.endpoints {
            if !shelves.iter().any(|shelf| shelf.address == endpoint.address) {
                shelves.push(Shelf {
                    address: endpoint.address,
                    idle: VecDeque::new(),
                    open: Rc::default(),
                });
            }
        }
    }

    /// An idle connection to `endpoint` that is fit for a request.
    ///
    /// `spread` is for a cluster's only address, most likely a ClusterIP, where a connection means a pod: then a
    /// few connections are opened and used in turn. Otherwise the one used last is taken, which lets the
    /// others age out.
    pub(super) fn checkout(self: &Rc<Self>, endpoint: &Arc<Endpoint>, spread: bool, now: Instant) -> Option<Lease> {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.iter_mut().find(|shelf| shelf.address == endpoint.address)?;
        if spread && shelf.open.get() < self.limits.service_connections {
            return None;
        }
        for _ in 0..shelf.idle.len() {
            let next = if spread {
                shelf.idle.pop_front()
            } else {
                shelf.idle.pop_back()
            };
            let mut connection = next?;
            if connection.sender.is_closed() || self.is_worn(&connection, now) || self.is_stale(&connection, now) {
                continue;
            }
            if !connection.sender.is_ready() {
                // Its last exchange is still winding up; it will be ready for a later request.
                if spread {
                    shelf.idle.push_back(connection);
                } else {
                    shelf.idle.push_front(connection);
                }
                continue;
            }
            connection.requests += 1;
            return Some(Lease {
                endpoint: Arc::clone(endpoint),
                reused: true,
                connection,
                pool: Rc::clone(self),
            });
        }
        None
    }

    /// Takes in a connection that was just opened, for its first request.
    pub(super) fn lease(self: &Rc<Self>, endpoint: &Arc<Endpoint>, opened: Opened) -> Lease {
        let shelves = self.shelves.borrow();
        let shelf = shelves.iter().find(|shelf| shelf.address == endpoint.address);
        let open = shelf.map_or_else(Rc::default, |shelf| Rc::clone(&shelf.open));
        let now = Instant::now();
        Lease {
            endpoint: Arc::clone(endpoint),
            reused: false,
            connection: Connection {
                sender: opened.sender,
                _task: EndTask(opened.task),
                opened: now,
                idle_since: now,
                requests: 1,
                _counted: Counted::new(&open, &self.open),
            },
            pool: Rc::clone(self),
        }
    }

    pub(super) fn sweep(&self) {
        let now = Instant::now();
        for shelf in self.shelves.borrow_mut().iter_mut() {
            shelf.idle.retain(|connection| {
                !connection.sender.is_closed() && !self.is_worn(connection, now) && !self.is_stale(connection, now)
            });
        }
    }

    /// Old or used enough to be replaced.
    fn is_worn(&self, connection: &Connection, now: Instant) -> bool {
        connection.requests >= self.limits.max_requests || now - connection.opened >= self.limits.max_age
    }

    fn is_stale(&self, connection: &Connection, now: Instant) -> bool {
        now - connection.idle_since >= self.limits.idle_timeout
    }
}
