//! The HTTP client of one pull: made anew each time, so that the authorities and the name server are those of now.

use reqwest::redirect::{Attempt, Policy};
use shared::http_client::{self, Dns};

use super::error::{RegistryError, root_cause};
use super::settings::RegistrySettings;

/// More is a loop.
const MOST_REDIRECTS: usize = 5;

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
        http_client::trust_file(&mut roots, path).map_err(|error| RegistryError::Authority {
            path: path.clone(),
            problem: error.to_string(),
        })?;
    }
    let client = http_client::builder(roots)
        .redirect(redirects)
        .connect_timeout(settings.timeout)
        .read_timeout(settings.timeout)
        .user_agent(concat!("ml-inference/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Dns::of_system(settings.timeout));
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
