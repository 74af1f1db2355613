//! THE ordered list of middleware, from the client's side to the proxy. Each line says why it stands there.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use shared::serve::{CatchPanicLayer, Takeover};
use tower::{Service, ServiceBuilder};

use crate::exchange::Peer;
use crate::middleware::access_log::{AccessLogLayer, RecordedBody};
use crate::middleware::api_key::ApiKey;
use crate::middleware::body_limit::BodyLimit;
use crate::middleware::error_response::ErrorResponseLayer;
use crate::middleware::exchange::ExchangeLayer;
use crate::middleware::guard::GuardLayer;
use crate::middleware::routing::Routing;
use crate::proxy::Proxy;
use crate::worker::CurrentWorker;

/// Everything that one client connection's requests pass through.
pub(crate) fn stack(
    worker: &Rc<CurrentWorker>,
    peer: SocketAddr,
    takeover: Takeover,
) -> TowerToHyperService<
    impl Service<Request<Incoming>, Response = Response<RecordedBody>, Error = Infallible, Future: 'static> + Clone + use<>,
> {
    TowerToHyperService::new(
        ServiceBuilder::new()
            // First: everything below, and every answer, has a request id, and the settings of this moment.
            .layer(ExchangeLayer::new(Rc::clone(worker), Peer::new(peer, takeover)))
            // Around all that can answer: each request gets its line and its measurements, errors too.
            .layer(AccessLogLayer)
            // Below the log, so that a panic has its line: it is one request's 500, and its connection goes on.
            .layer(CatchPanicLayer)
            // Below the log, so that it sees the status an error became.
            .layer(ErrorResponseLayer)
            // The layers below ask the route what it wants.
            .layer(GuardLayer(Routing))
            // Before a body is read for anyone, and before a key is looked at.
            .layer(GuardLayer(BodyLimit))
            // Last: what passes here is forwarded.
            .layer(GuardLayer(ApiKey))
            .service(Proxy),
    )
}
