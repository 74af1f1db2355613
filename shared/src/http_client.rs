//! The HTTP client for control-plane work: it talks to registries and identity providers, and in the
//! end-to-end tests to the services themselves. Requests that are proxied never pass here.
//!
//! TLS is rustls with `ring` and Mozilla's roots inside the binary: the images are built from scratch and
//! have no certificate store.

use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};

/// A client that gives up after `timeout`, connection included, and follows no redirect on its own.
///
/// # Panics
/// When the TLS provider built into this binary lacks the default protocol versions, which no input can cause.
pub fn client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    builder(public_roots()).timeout(timeout).build()
}

/// What every client starts with: it trusts `roots`, follows no redirect and asks no proxy. The time it may take is still to be set.
///
/// # Panics
/// As [`client`].
pub fn builder(roots: RootCertStore) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls_config(roots))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

/// Mozilla's.
pub fn public_roots() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

/// TLS for a client that trusts `roots`, by the one provider.
///
/// # Panics
/// As [`client`].
pub fn tls_config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_with_the_one_provider_and_bundled_roots() {
        assert!(webpki_roots::TLS_SERVER_ROOTS.len() > 50);
        client(Duration::from_secs(1)).expect("the client builds without a platform certificate store");
    }
}
