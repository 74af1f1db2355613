//! THE ordered list of what surrounds every request, at both listeners, outermost first.
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
use shared::cors::Cors;
use shared::serve::CatchPanicLayer;
use tower::{ServiceBuilder, service_fn};

use crate::http::{ParsedRequest, ResponseBody, ServiceState};
use crate::middleware::{AccessLogLayer, ContextLayer, CorsLayer, Identity};

/// The service of one connection, whose requests `answer` answers, under the rule `cors` for pages of other origins.
pub fn service<A>(
    state: Arc<ServiceState>,
    identity: Identity,
    cors: Option<Arc<Cors>>,
    peer: SocketAddr,
    answer: impl Fn(ParsedRequest<Incoming>) -> A + Clone + 'static,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<impl Body<Data = Bytes, Error = Infallible> + 'static>,
    Error = Infallible,
> + 'static
where
    A: Future<Output = Response<ResponseBody>> + 'static,
{
    let access_log = AccessLogLayer {
        state: Arc::clone(&state),
        peer,
    };
    let stack = ServiceBuilder::new()
        // Before everything else: what follows logs the id and the path, and the id must be on every answer.
        .layer(ContextLayer)
        // Sees the status that really leaves, a caught panic's too.
        .layer(access_log)
        // Every answer says who gave it, a caught panic's too.
        .map_response(move |response| identity.sign(response))
        // Above the panic guard: a page is shown its 500, too.
        .layer(CorsLayer(cors))
        // Next to the handler, so that a panic there is an answer like any other for all above.
        .layer(CatchPanicLayer)
        .service(service_fn(move |request| {
            let answered = answer(request);
            async move { Ok(answered.await) }
        }));
    TowerToHyperService::new(stack)
}
