//! The options that every demonstration has.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::arguments::{Arguments, UsageError, whole};
use crate::binaries::{build_services, given_services};
use crate::cluster::Place;
use crate::error::Error;
use crate::load::Requests;
use crate::pair::{HIGHEST_GATEWAY_PORT, Output, Pair, Ports};

const DEFAULT_RATE: u32 = 100;
/// A lower bound than the highest port: more replicas follow.
const HIGHEST_REPLICA_PORT: u16 = 65500;

#[derive(Debug)]
pub(crate) struct Options {
    /// Processes of this machine instead of a cluster.
    pub local: bool,
    /// Requests a second, when they were given.
    pub rate: Option<u32>,
    pub connections: u32,
    pub place: Place,
    pub ports: Ports,
    /// The directory of services that were built before.
    pub binaries: Option<PathBuf>,
    release: bool,
}

impl Options {
    /// Reads the command line; `own` takes the options that are the demonstration's own, and gives whether it was one of them.
    /// `None` when --help was asked for.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        mut own: impl FnMut(&str, &mut Arguments) -> Result<bool, UsageError>,
    ) -> Result<Option<Self>, Error> {
        let mut arguments = Arguments::new(arguments);
        let mut options = Self {
            local: false,
            rate: None,
            connections: 16,
            place: Place::default(),
            ports: Ports::default(),
            binaries: None,
            release: false,
        };
        while let Some(option) = arguments.option()? {
            if own(&option, &mut arguments)? {
                continue;
            }
            match option.as_str() {
                "--help" | "-h" => return Ok(None),
                "--local" => options.local = true,
                "--release" => options.release = true,
                "--rate" => options.rate = Some(arguments.number(&option)?),
                "--connections" => options.connections = arguments.number(&option)?,
                "--port" => options.ports.gateway = arguments.port(&option, HIGHEST_GATEWAY_PORT)?,
                "--ml-port" => options.ports.first_replica = arguments.port(&option, HIGHEST_REPLICA_PORT)?,
                "--url" => options.place.url = Some(arguments.value(&option)?).filter(|url| !url.is_empty()),
                "--overlay" => options.place.overlay = arguments.value(&option)?,
                "--context" => options.place.context = Some(arguments.value(&option)?).filter(|name| !name.is_empty()),
                "--timeout" => options.place.timeout = timeout(&option, &arguments.value(&option)?)?,
                "--bin-dir" => options.binaries = Some(given_services(&arguments.value(&option)?)?),
                _ => return Err(UsageError::Unknown(option).into()),
            }
        }
        Ok(Some(options))
    }

    pub(crate) fn requests(&self, url: &str) -> Requests {
        Requests {
            url: url.to_owned(),
            rate: self.rate.unwrap_or(DEFAULT_RATE),
            connections: self.connections,
            more: Vec::new(),
        }
    }

    /// The directory of the services, which are built unless they were given.
    pub(crate) fn services(&self) -> Result<PathBuf, Error> {
        match &self.binaries {
            Some(given) => Ok(given.clone()),
            None => Ok(build_services(self.release)?),
        }
    }

    /// A pair without processes yet.
    pub(crate) fn pair(&self) -> Result<Pair, Error> {
        Ok(Pair::new(self.ports, self.services()?, Output::Kept)?)
    }
}

/// Seconds, with their unit or without.
fn timeout(option: &str, given: &str) -> Result<Duration, UsageError> {
    let seconds = whole(option, given.strip_suffix('s').unwrap_or(given))?;
    Ok(Duration::from_secs(seconds.into()))
}
