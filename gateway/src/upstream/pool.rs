//! Idle upstream connections of one worker, per endpoint.
//!
//! hyper-util's pooled client is not used: it hides whether a request was written, which decides whether
//! sending it again is safe, and it cannot drop the connections of an endpoint that left.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cluster::Cluster;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::endpoint_set::EndpointSet;
use super::http2::{Session, Sessions};
use crate::config::UpstreamConfig;

pub(super) struct Pool {
    view: RefCell<View>,
    owner: Rc<PoolLimits>,
}

/// The endpoint set as this worker follows it.
#[derive(Default)]
pub(super) struct View {
    pub(super) set: Arc<EndpointSet>,
    /// In the order of the set.
    pub(super) pools: Vec<Rc<EndpointPool>>,
}

/// The cluster of a pool's connections, and their limits.
pub(super) struct PoolLimits {
    pub(super) cluster: Arc<Cluster>,
    max_idle: usize,
    idle_timeout: Duration,
}

/// The connections of one endpoint.
pub(super) struct EndpointPool {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) owner: Rc<PoolLimits>,
    idle: RefCell<VecDeque<Box<Connection>>>,
    /// Connections of a cluster that speaks HTTP/2: requests share them, and none is idle in the sense above.
    pub(super) sessions: Sessions,
    /// Open connections, idle ones and those in use.
    open: Cell<usize>,
    /// The endpoint left: what is given back is closed.
    left: Cell<bool>,
}

/// A connection that counts as open, on its pool and in the metric, until it is dropped.
pub(super) struct PooledConnection {
    /// On the heap: it is passed from hand to hand by the request path.
    connection: Option<Box<Connection>>,
    pool: Rc<EndpointPool>,
}

impl PooledConnection {
    pub(super) fn new(connection: Connection, pool: &Rc<EndpointPool>) -> Self {
        pool.open.set(pool.open.get() + 1);
        pool.owner.cluster.metrics.connections.inc();
        Self {
            connection: Some(Box::new(connection)),
            pool: Rc::clone(pool),
        }
    }

    pub(super) fn as_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is there until it is given back")
    }

    pub(super) fn as_ref(&self) -> &Connection {
        self.connection.as_ref().expect("it is there until it is given back")
    }

    /// Returns the connection to its pool, or closes it when it is of no further use.
    pub(super) fn give_back(mut self, now: Instant) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        connection.idle_since = now;
        let owner = &self.pool.owner;
        let mut idle = self.pool.idle.borrow_mut();
        if connection.http.may_be_used_again()
            && !owner.is_worn(&connection, now)
            && !self.pool.left.get()
            && idle.len() < owner.max_idle
        {
            idle.push_back(connection);
        } else {
            self.pool.closed();
        }
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            self.pool.closed();
        }
    }
}

/// A pool ends when the settings of its cluster change; what is in use comes back to its pool before that ends too.
impl Drop for EndpointPool {
    fn drop(&mut self) {
        let idle = self.idle.take().len();
        self.owner.cluster.metrics.connections.sub(idle as i64);
    }
}

impl EndpointPool {
    fn new(endpoint: &Arc<Endpoint>, owner: &Rc<PoolLimits>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            owner: Rc::clone(owner),
            idle: RefCell::default(),
            sessions: Sessions::default(),
            open: Cell::new(0),
            left: Cell::new(false),
        }
    }

    fn closed(&self) {
        self.open.set(self.open.get() - 1);
        self.owner.cluster.metrics.connections.dec();
    }

    /// An idle connection that is fit for a request.
    ///
    /// `spread` is for a cluster's only address, most likely a ClusterIP, where a connection means a pod: then a
    /// few connections are opened and used in turn. Otherwise the one used last is taken, which lets the
    /// others age out.
    pub(super) fn checkout(self: &Rc<Self>, spread: bool, now: Instant) -> Option<PooledConnection> {
        if spread && self.open.get() < self.owner.cluster.config.service_connections {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        loop {
            let mut connection = match spread {
                true => idle.pop_front(),
                false => idle.pop_back(),
            }?;
            if !self.owner.is_fit(&mut connection, now) {
                self.closed();
                continue;
            }
            connection.requests += 1;
            return Some(PooledConnection {
                connection: Some(connection),
                pool: Rc::clone(self),
            });
        }
    }

    /// A connection of HTTP/2 that may take another request; `spread` is as in [`EndpointPool::checkout`]. Where a `fresh` one
    /// is wanted, one is only shared when no more may be opened.
    pub(super) fn session(&self, spread: bool, fresh: bool, now: Instant) -> Option<Rc<Session>> {
        let config = &self.owner.cluster.config;
        let at_least = match (fresh, spread) {
            (true, _) => usize::MAX,
            (false, true) => config.service_connections,
            (false, false) => 1,
        };
        let is_worn = |session: &Session| {
            session.requests() >= config.max_connection_requests || now - session.opened() >= config.max_connection_age
        };
        self.sessions.pick(config.http2, at_least, is_worn)
    }

    fn sweep(&self, now: Instant) {
        let is_wanted = |session: &Session| {
            session
                .is_idle_since()
                .is_none_or(|since| now - since < self.owner.idle_timeout)
        };
        self.sessions.retain(is_wanted);
        self.idle.borrow_mut().retain_mut(|connection| {
            let fit = self.owner.is_fit(connection, now);
            if !fit {
                self.closed();
            }
            fit
        });
    }

    /// Closes what is idle now and what is given back later.
    fn clear(&self) {
        self.left.set(true);
        self.sessions.clear();
        for _ in self.idle.take() {
            self.closed();
        }
    }
}

impl PoolLimits {
    /// Old or used enough to be replaced.
    fn is_worn(&self, connection: &Connection, now: Instant) -> bool {
        connection.requests >= self.cluster.config.max_connection_requests
            || now - connection.opened >= self.cluster.config.max_connection_age
    }

    /// Tells whether an idle connection may carry a request: it is within its limits, and the upstream has not closed it.
    fn is_fit(&self, connection: &mut Connection, now: Instant) -> bool {
        now - connection.idle_since < self.idle_timeout && !self.is_worn(connection, now) && connection.http.is_quiet()
    }
}

impl Pool {
    pub(super) fn new(cluster: Arc<Cluster>, limits: UpstreamConfig) -> Self {
        Self {
            view: RefCell::default(),
            owner: Rc::new(PoolLimits {
                cluster,
                max_idle: limits.max_idle_connections,
                idle_timeout: limits.idle_timeout,
            }),
        }
    }

    pub(super) fn view(&self) -> Ref<'_, View> {
        self.view.borrow()
    }

    /// Gives every endpoint of `set` its pool and drops the idle connections of those that are no longer in it.
    #[cold]
    pub(super) fn follow(&self, set: Arc<EndpointSet>) {
        let before = self.view.take();
        if before.set.version == set.version {
            self.view.replace(before);
            return;
        }
        let by_address = |pool: Rc<EndpointPool>| (pool.endpoint.address, pool);
        let mut known: HashMap<SocketAddr, Rc<EndpointPool>> = before.pools.into_iter().map(by_address).collect();
        let pool = |endpoint: &Arc<Endpoint>| match known.remove(&endpoint.address) {
            Some(pool) if Arc::ptr_eq(&pool.endpoint, endpoint) => pool,
            replaced => {
                if let Some(pool) = replaced {
                    pool.clear();
                }
                Rc::new(EndpointPool::new(endpoint, &self.owner))
            }
        };
        let pools = set.endpoints.iter().map(pool).collect();
        known.values().for_each(|pool| pool.clear());
        self.view.replace(View { set, pools });
    }

    pub(super) fn sweep(&self, now: Instant) {
        for pool in &self.view().pools {
            pool.sweep(now);
        }
    }

    /// Closes what idles, now and whenever something is given back.
    pub(super) fn retire(&self) {
        self.view().pools.iter().for_each(|pool| pool.clear());
    }
}
