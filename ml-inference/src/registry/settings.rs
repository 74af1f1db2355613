//! The settings of the registry. All but the place itself and the largest file may change while the service runs.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use shared::config::scalar::{NAME, SECONDS, SECONDS_OR_ZERO};
use shared::config::{self, Scalar, Secret, Setting, units};
use tokio::sync::watch;

use super::error::RegistryError;
use super::location::Location;

pub const MODEL_URI: Setting = Setting::new(
    "MODEL_URI",
    "",
    Scalar::quoted_text(Location::EXPECTS, ""),
    "directory of the model MODEL_NAME at a registry, with SHA256SUMS in it; pulled into MODELS_DIR. Empty: no registry",
);
pub const REGISTRY_INTERVAL: Setting = Setting::new(
    "REGISTRY_INTERVAL",
    "30",
    SECONDS_OR_ZERO,
    "time between two polls of the registry, and the longest pause after a failure; 0: no poll after the first success",
)
.live();
pub const REGISTRY_TIMEOUT: Setting = Setting::new(
    "REGISTRY_TIMEOUT",
    "10",
    SECONDS,
    "longest wait for a connection to the registry, for a response, and between the bytes of one",
)
.live();
pub const REGISTRY_KEEP_VERSIONS: Setting = Setting::new(
    "REGISTRY_KEEP_VERSIONS",
    "1",
    Scalar::Whole(0, 1024),
    "how many versions that are no longer wanted, the highest, stay in MODELS_DIR while the registry has them; other pulled versions are \
     removed once no request uses them",
)
.live();
pub const REGISTRY_CA_FILE: Setting = Setting::new(
    "REGISTRY_CA_FILE",
    "",
    Scalar::quoted_text("a path, or nothing", ""),
    "PEM file of certificate authorities to trust besides the public ones; read at each pull",
)
.live();
pub const AWS_ENDPOINT_URL: Setting = Setting::new(
    "AWS_ENDPOINT_URL",
    "",
    Scalar::quoted_text("https://HOST or http://HOST, or nothing", ""),
    "endpoint of s3:// other than AWS: MinIO, Ceph, R2 and the like",
)
.live();
pub const AWS_REGION: Setting = Setting::new("AWS_REGION", "us-east-1", NAME, "region of the bucket of s3://").live();
pub const REGISTRY_USER: Setting = Setting::secret(
    "REGISTRY_USER",
    "user name at the model registry; the access key id for s3://",
)
.live();
pub const REGISTRY_PASSWORD: Setting = Setting::secret(
    "REGISTRY_PASSWORD",
    "password at the model registry; the secret access key for s3://",
)
.live();

const LONGEST_REGION: usize = 63;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    pub location: Location,
    /// Zero: not again after the first success.
    pub interval: Duration,
    pub timeout: Duration,
    pub largest_file: u64,
    /// Versions that were pulled, are not wanted and stay.
    pub keep_versions: usize,
    pub ca_file: Option<PathBuf>,
    pub s3_endpoint: Option<Url>,
    pub s3_region: String,
    pub user: Option<Secret>,
    pub password: Option<Secret>,
}

impl RegistrySettings {
    /// `None` without a MODEL_URI. The rest is checked all the same.
    pub fn from_settings(settings: &mut config::Settings, largest_file: u64) -> Option<Self> {
        let uri = settings.get(&MODEL_URI, |text| Some(text.to_owned()));
        let location = match uri.as_str() {
            "" => None,
            uri => Location::parse(uri)
                .map_err(|problem| settings.refuse_value(&MODEL_URI, problem))
                .ok(),
        };
        let interval = settings.get(&REGISTRY_INTERVAL, units::seconds);
        let timeout = settings.get(&REGISTRY_TIMEOUT, units::seconds);
        let keep_versions = settings.get(&REGISTRY_KEEP_VERSIONS, units::number);
        let ca_file = settings.get(&REGISTRY_CA_FILE, |text| Some(PathBuf::from(text)));
        let s3_endpoint = settings.get(&AWS_ENDPOINT_URL, endpoint);
        let s3_region = settings.get(&AWS_REGION, |text| units::name(text, LONGEST_REGION));
        let user = settings.get_secret(&REGISTRY_USER);
        let password = settings.get_secret(&REGISTRY_PASSWORD);
        Some(Self {
            location: location?,
            interval,
            timeout,
            largest_file,
            keep_versions,
            ca_file: Some(ca_file).filter(|path| !path.as_os_str().is_empty()),
            s3_endpoint,
            s3_region,
            user,
            password,
        })
    }

    /// Sends the follower of the registry those settings of `new` that may change while the service runs.
    pub fn renew(held: &watch::Sender<Self>, new: Self) {
        held.send_if_modified(|held| {
            let new = Self {
                location: held.location.clone(),
                largest_file: held.largest_file,
                ..new
            };
            let is_other = *held != new;
            *held = new;
            is_other
        });
    }

    /// User and password. One alone is a Secret that is not whole, which the registry need not tell us.
    pub(super) fn credentials(&self) -> Result<Option<(&Secret, &Secret)>, RegistryError> {
        let half = |given: Setting, missing: Setting| RegistryError::HalfCredentials {
            given: given.name,
            missing: missing.name,
        };
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => Ok(Some((user, password))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(half(REGISTRY_USER, REGISTRY_PASSWORD)),
            (None, Some(_)) => Err(half(REGISTRY_PASSWORD, REGISTRY_USER)),
        }
    }

    /// True if the password itself is sent unencrypted. (S3 sends a signature.)
    pub(super) fn shows_password(&self) -> bool {
        let unencrypted = matches!(&self.location, Location::Http(url) if url.scheme() == "http");
        unencrypted && self.password.is_some()
    }
}

fn endpoint(text: &str) -> Option<Option<Url>> {
    if text.is_empty() {
        return Some(None);
    }
    let url = Url::parse(text).ok()?;
    let is_http = matches!(url.scheme(), "http" | "https");
    let has_more = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    (is_http && !has_more).then_some(Some(url))
}
