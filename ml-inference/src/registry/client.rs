//! The HTTP client of one pull: made anew each time, so that the authorities and the name server are those of now.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use shared::http_client;

use super::error::{RegistryError, root_cause};
use super::settings::RegistrySettings;

/// More is a loop.
const MOST_REDIRECTS: usize = 5;
const LARGEST_CA_FILE: u64 = 1 << 20;

/// A client that follows redirects to encrypted places, where it does not take the credentials along.
pub(super) fn following(settings: &RegistrySettings) -> Result<reqwest::Client, RegistryError> {
    build(settings, Policy::custom(redirect))
}

/// A client that follows none: another host would not accept a signature made for this one.
pub(super) fn staying(settings: &RegistrySettings) -> Result<reqwest::Client, RegistryError> {
    build(settings, Policy::none())
}

fn build(settings: &RegistrySettings, redirects: Policy) -> Result<reqwest::Client, RegistryError> {
    let mut roots = http_client::public_roots();
    if let Some(path) = &settings.ca_file {
        let unusable = |problem: String| RegistryError::Authority {
            path: path.clone(),
            problem,
        };
        let size = std::fs::metadata(path)
            .map_err(|error| unusable(error.to_string()))?
            .len();
        if size > LARGEST_CA_FILE {
            return Err(unusable(format!("has more than {LARGEST_CA_FILE} bytes")));
        }
        let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let (added, _unusable) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        if added == 0 {
            return Err(unusable("holds no certificate".to_owned()));
        }
    }
    let client = http_client::builder(roots)
        .redirect(redirects)
        .connect_timeout(settings.timeout)
        .read_timeout(settings.timeout)
        .user_agent(concat!("ml-inference/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Dns {
            patience: settings.timeout,
        });
    client
        .build()
        .map_err(|error| RegistryError::Client(root_cause(&error)))
}

fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let came_encrypted = attempt.previous().last().is_some_and(|from| from.scheme() == "https");
    if attempt.previous().len() > MOST_REDIRECTS || (came_encrypted && attempt.url().scheme() != "https") {
        return attempt.stop();
    }
    attempt.follow()
}

/// Names are looked up by hickory, because a static binary cannot load glibc's resolver.
struct Dns {
    patience: Duration,
}

impl Resolve for Dns {
    fn resolve(&self, name: Name) -> Resolving {
        let patience = self.patience;
        Box::pin(async move {
            let resolver = TokioResolver::builder_tokio()?.build()?;
            let name = name.as_str();
            let found = tokio::time::timeout(patience, resolver.lookup_ip(name)).await;
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
