//! THE ordered list of what surrounds every request, outermost first.
//!
//! Every layer is a concrete type that passes requests on as they come: nothing is boxed, queued or held back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tower::{ServiceBuilder, service_fn};

use crate::http::{State, answer};
use crate::middleware::{AccessLogLayer, CatchPanicLayer, Identity, RequestIdLayer};

/// The service of one connection.
pub fn service(
    state: Arc<State>,
    identity: Identity,
    peer: SocketAddr,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<impl Body<Data = Bytes, Error = Infallible> + 'static>,
    Error = Infallible,
> + 'static {
    let access_log = AccessLogLayer {
        state: Arc::clone(&state),
        peer,
    };
    let stack = ServiceBuilder::new()
        // Before everything else: what follows logs the id and it must be on every answer.
        .layer(RequestIdLayer)
        // Every answer says who gave it, the ones made by the layers below included.
        .map_response(move |response| identity.sign(response))
        // Sees the status that really leaves, a caught panic's too.
        .layer(access_log)
        // Next to the handler, so that a panic there is an answer like any other for all above.
        .layer(CatchPanicLayer)
        .service(service_fn(move |request| {
            let state = Arc::clone(&state);
            async move { Ok(answer(&state, request).await) }
        }));
    TowerToHyperService::new(stack)
}
