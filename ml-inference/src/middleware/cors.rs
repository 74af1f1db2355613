//! Pages of other origins: answers their browsers' preflights, and writes into every other answer what they may do with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use shared::cors::{self, Cors, CrossOrigin};
use tower::{Layer, Service};

use crate::http::{ParsedRequest, ResponseBody};

/// Passes everything on as it is where there is no rule.
#[derive(Debug, Clone)]
pub struct CorsLayer(pub Option<Arc<Cors>>);

impl<S> Layer<S> for CorsLayer {
    type Service = CorsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CorsService {
            inner,
            rule: self.0.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct CorsService<S> {
    inner: S,
    rule: Option<Arc<Cors>>,
}

impl<S, B> Service<ParsedRequest<B>> for CorsService<S>
where
    S: Service<ParsedRequest<B>, Response = Response<ResponseBody>>,
{
    type Response = Response<ResponseBody>;
    type Error = S::Error;
    type Future = CorsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, parsed: ParsedRequest<B>) -> Self::Future {
        let rule = self.rule.as_ref();
        let asked = rule.map(|rule| Box::new(Asked::new(Arc::clone(rule), &parsed)));
        let is_preflight = asked.as_ref().is_some_and(|asked| asked.request.is_preflight());
        CorsFuture {
            inner: (!is_preflight).then(|| self.inner.call(parsed)),
            asked,
        }
    }
}

/// A request's origin, and the rule that it came under.
struct Asked {
    rule: Arc<Cors>,
    request: CrossOrigin,
}

impl Asked {
    #[cold]
    fn new<B>(rule: Arc<Cors>, parsed: &ParsedRequest<B>) -> Self {
        let request = CrossOrigin::of(parsed.request.method(), parsed.request.headers());
        Self { rule, request }
    }

    fn preflight(&self) -> Response<ResponseBody> {
        if !self.rule.permits(&self.request) {
            return cors::not_permitted().into_response();
        }
        let mut response = Response::new(ResponseBody::from(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }
}

pin_project! {
    pub struct CorsFuture<F> {
        // `None` for a preflight, which goes no further.
        #[pin]
        inner: Option<F>,
        asked: Option<Box<Asked>>,
    }
}

impl<F, E> Future for CorsFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = match this.inner.as_pin_mut() {
            Some(inner) => Some(ready!(inner.poll(cx))?),
            None => None,
        };
        let preflight = || this.asked.as_ref().map(|asked| asked.preflight());
        let mut response = answered.or_else(preflight).unwrap_or_default();
        if let Some(asked) = this.asked {
            asked.rule.write(&asked.request, response.headers_mut());
        }
        Poll::Ready(Ok(response))
    }
}
