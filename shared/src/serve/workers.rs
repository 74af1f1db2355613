//! Worker threads.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::thread;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tracing::error;

use super::accept::serve;
use super::bind::Listeners;
use super::limits::ConnectionLimits;
use super::metrics::ConnectionMetrics;
use super::takeover::Takeover;
use crate::lifecycle::PhaseWatch;

/// The CPUs this process may use. Inside a container this honours the CPU quota: 1 for less than two CPUs.
pub fn usable_cpus() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get())
}

/// The running workers of one listener.
#[derive(Debug)]
pub struct Workers {
    ended: mpsc::UnboundedReceiver<()>,
}

impl Workers {
    /// Returns when a worker has ended, which before a drain is an error.
    pub async fn one_ended(&mut self) {
        let _one_or_all = self.ended.recv().await;
    }

    /// Returns when every worker has ended.
    pub async fn all_ended(&mut self) {
        while self.ended.recv().await.is_some() {}
    }
}

/// Reports the end of a worker, also after a panic.
struct TellEnd(mpsc::UnboundedSender<()>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        // Nobody listens any more: then the process is ending.
        let _unheard = self.0.send(());
    }
}

/// Starts one thread per socket of `listeners`. `make_worker` runs on the worker's thread and gives the
/// function that makes a service for each of its connections.
pub fn spawn<W, M, S, B>(
    listeners: Listeners,
    limits: ConnectionLimits,
    phase: &PhaseWatch,
    metrics: &ConnectionMetrics,
    make_worker: W,
) -> io::Result<Workers>
where
    W: Fn() -> M + Clone + Send + 'static,
    M: Fn(SocketAddr, Takeover) -> S + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (tell_end, ended) = mpsc::unbounded_channel();
    let limits = limits.per_worker(listeners.sockets.len());
    let proxies = listeners.proxies;
    for (index, socket) in listeners.sockets.into_iter().enumerate() {
        let (make_worker, phase, metrics) = (make_worker.clone(), phase.clone(), metrics.clone());
        let proxies = proxies.clone();
        let tell_end = TellEnd(tell_end.clone());
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let _tell_end = tell_end;
            // One thread for work that would hold the worker up, so that such work has no more processors than requests.
            let runtime = match Builder::new_current_thread()
                .max_blocking_threads(1)
                .enable_all()
                .build_local(LocalOptions::default())
            {
                Ok(runtime) => runtime,
                Err(error) => return error!(%error, "a worker could not start its runtime"),
            };
            let served =
                runtime.block_on(async { serve(socket, proxies, limits, phase, metrics, make_worker()).await });
            if let Err(error) = served {
                error!(%error, "a worker could not take over its listener");
            }
        })?;
    }
    Ok(Workers { ended })
}

/// Serves `listeners` on the current thread's local runtime instead of threads of their own: for listeners
/// that see few requests, such as an admin port.
pub fn spawn_local<M, S, B>(
    listeners: Listeners,
    limits: ConnectionLimits,
    phase: PhaseWatch,
    metrics: &ConnectionMetrics,
    make_service: M,
) where
    M: Fn(SocketAddr, Takeover) -> S + Clone + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    for socket in listeners.sockets {
        let proxies = listeners.proxies.clone();
        let served = serve(
            socket,
            proxies,
            limits,
            phase.clone(),
            metrics.clone(),
            make_service.clone(),
        );
        tokio::task::spawn_local(async move {
            if let Err(error) = served.await {
                error!(%error, "cannot take over a listener");
            }
        });
    }
}
