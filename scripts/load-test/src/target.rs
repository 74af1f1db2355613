//! What is asked: the URL, and the request that is sent again and again.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body_util::Full;

/// An `http://` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub url: String,
    authority: Authority,
    path: PathAndQuery,
}

impl Target {
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "no valid URL")?;
        let parts = uri.into_parts();
        match parts.scheme {
            Some(scheme) if scheme == Scheme::HTTP => {}
            Some(scheme) if scheme == Scheme::HTTPS => return Err("https is not spoken here: give an http:// URL"),
            _ => return Err("a URL begins with http://"),
        }
        let authority = parts.authority.ok_or("the URL names no host")?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err("the URL needs a host, and no user in it");
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let url = url.to_owned();
        Ok(Self { url, authority, path })
    }

    /// Without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(80)
    }
}

/// The request, made anew for each time it is sent.
#[derive(Debug, Clone)]
pub struct Template {
    method: Method,
    version: Version,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// How requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    KeepAlive,
    /// Each request on a connection of its own, which it asks the server to close.
    NewConnections,
    Http2,
}

impl Template {
    /// GET without a body, POST with one. A header given replaces one of ours.
    pub fn new(
        target: &Target,
        protocol: Protocol,
        body: Option<Bytes>,
        given: &[(HeaderName, HeaderValue)],
    ) -> Result<Self, http::Error> {
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let ours = headers.clone();
        for (name, value) in given {
            match ours.get(name) == headers.get(name) && ours.contains_key(name) {
                true => drop(headers.insert(name, value.clone())),
                false => drop(headers.append(name, value.clone())),
            }
        }
        let host = headers.remove(HOST);
        let mut uri = Uri::builder().path_and_query(target.path.clone());
        let version = match protocol {
            Protocol::Http2 => {
                let authority = match &host {
                    Some(host) => Authority::try_from(host.as_bytes())?,
                    None => target.authority.clone(),
                };
                uri = uri.scheme(Scheme::HTTP).authority(authority);
                Version::HTTP_2
            }
            Protocol::KeepAlive | Protocol::NewConnections => {
                let own = || HeaderValue::from_str(target.authority.as_str());
                headers.insert(HOST, host.map_or_else(own, Ok)?);
                Version::HTTP_11
            }
        };
        if protocol == Protocol::NewConnections {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(Self {
            method: if body.is_some() { Method::POST } else { Method::GET },
            version,
            uri: uri.build()?,
            headers,
            body: body.unwrap_or_default(),
        })
    }

    pub fn method(&self) -> &Method {
        &self.method
    }

    pub fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.version_mut() = self.version;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(protocol: Protocol, body: Option<&'static [u8]>, given: &[(&str, &str)]) -> Request<Full<Bytes>> {
        let target = Target::parse("http://127.0.0.1:30080/predict?x=1").expect("a URL");
        let header = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, value.parse().expect("a value"))
        };
        let given: Vec<_> = given.iter().map(header).collect();
        let template = Template::new(&target, protocol, body.map(Bytes::from_static), &given);
        template.expect("a request").request()
    }

    #[test]
    fn urls_are_http_and_name_a_host() {
        let target = Target::parse("http://[::1]:8080").expect("a URL");
        assert_eq!((target.host(), target.port()), ("::1", 8080));
        assert_eq!(target.path, "/");
        assert_eq!(Target::parse("http://gateway/predict").expect("a URL").port(), 80);
        for bad in [
            "",
            "127.0.0.1:30080",
            "/predict",
            "https://gateway/",
            "ftp://a/",
            "http://u:p@host/",
            "http://",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_get_in_origin_form() {
        let request = template(Protocol::KeepAlive, None, &[("x-api-key", "k"), ("x-api-key", "l")]);
        assert_eq!(
            (request.method(), request.uri().to_string().as_str()),
            (&Method::GET, "/predict?x=1")
        );
        assert_eq!(request.headers()["host"], "127.0.0.1:30080");
        assert_eq!(request.headers().get_all("x-api-key").iter().count(), 2);
        assert!(!request.headers().contains_key("connection"));
    }

    #[test]
    fn a_post_is_json_unless_told_otherwise() {
        assert_eq!(
            template(Protocol::KeepAlive, Some(b"{}"), &[]).headers()["content-type"],
            "application/json"
        );
        let request = template(
            Protocol::NewConnections,
            Some(b"{}"),
            &[("content-type", "text/plain"), ("host", "lab")],
        );
        let types: Vec<_> = request.headers().get_all("content-type").iter().collect();
        assert_eq!(types, ["text/plain"]);
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.headers()["host"], "lab");
        assert_eq!(request.headers()["connection"], "close");
    }

    #[test]
    fn http2_has_an_authority_instead_of_a_host() {
        let request = template(Protocol::Http2, None, &[("host", "lab")]);
        assert_eq!(request.uri().to_string(), "http://lab/predict?x=1");
        assert!(!request.headers().contains_key("host"));
        assert_eq!(request.version(), Version::HTTP_2);
    }
}
