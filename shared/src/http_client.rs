//! The HTTP client for control-plane work: it talks to registries and identity providers, and in the
//! end-to-end tests to the services themselves. Requests that are proxied never pass here.
//!
//! TLS is rustls with `ring` and Mozilla's roots inside the binary: the images are built from scratch and
//! have no certificate store.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The size in bytes beyond which a file of authorities is a mistake.
const LARGEST_CA_FILE: u64 = 1 << 20;

/// A client that gives up after `timeout`, connection included, and follows no redirect on its own.
///
/// # Panics
/// When the TLS provider built into this binary lacks the default protocol versions, which no input can cause.
pub fn client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    builder(public_roots()).timeout(timeout).build()
}

/// The builder of every client: it trusts `roots`, follows no redirect and uses no proxy. Timeouts are the caller's to set.
///
/// # Panics
/// As [`client`].
pub fn builder(roots: RootCertStore) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls_config(roots))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

/// Mozilla's root certificates.
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

/// The reason why a file gives no certificate authority.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// The file is larger than any list of authorities.
    #[error("has more than {0} bytes")]
    TooLarge(u64),
    /// The file is no PEM, or has no certificate that can be trusted.
    #[error("holds no certificate")]
    NoCertificate,
}

/// Adds the certificates in the PEM file `path` to those that `roots` trusts. A certificate that cannot be used is passed over beside one
/// that can.
pub fn trust_file(roots: &mut RootCertStore, path: &Path) -> Result<(), CaFileError> {
    let mut pem = Vec::new();
    File::open(path)?.take(LARGEST_CA_FILE + 1).read_to_end(&mut pem)?;
    if pem.len() as u64 > LARGEST_CA_FILE {
        return Err(CaFileError::TooLarge(LARGEST_CA_FILE));
    }
    match roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten()) {
        (0, _) => Err(CaFileError::NoCertificate),
        _ => Ok(()),
    }
}

/// The names of a client's requests, resolved by hickory: a static binary cannot load glibc's resolver.
pub struct Dns {
    resolver: Option<TokioResolver>,
    timeout: Duration,
}

impl Dns {
    /// The system's name servers, read anew for each lookup, which may take up to `timeout`.
    pub fn of_system(timeout: Duration) -> Self {
        Self {
            resolver: None,
            timeout,
        }
    }

    /// The name servers of `resolver`, which have up to `timeout` for each lookup.
    pub fn of(resolver: TokioResolver, timeout: Duration) -> Self {
        Self {
            resolver: Some(resolver),
            timeout,
        }
    }
}

impl Resolve for Dns {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, timeout) = (self.resolver.clone(), self.timeout);
        Box::pin(async move {
            let resolver = match resolver {
                Some(resolver) => resolver,
                None => TokioResolver::builder_tokio()?.build()?,
            };
            let name = name.as_str();
            let found = tokio::time::timeout(timeout, resolver.lookup_ip(name)).await;
            let found = found.map_err(|_| format!("DNS says nothing about {name} in time"))?;
            let found = found.map_err(|error| match error.is_no_records_found() {
                true => format!("DNS knows no address of {name}"),
                false => format!("DNS cannot tell the address of {name}: {error}"),
            })?;
            let addresses: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
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
