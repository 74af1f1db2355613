//! `lab up`: the pair until Ctrl-C, or until the gateway or the last replica dies.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use crate::arguments::{Arguments, UsageError};
use crate::binaries::{build_services, given_services};
use crate::error::Error;
use crate::interrupts::Interrupts;
use crate::pair::{Gateway, HIGHEST_GATEWAY_PORT, Output, Pair, PairError, Ports};
use crate::terminal::{note, say};

pub const USAGE: &str = include_str!("../usage/up.txt");

const MOST_REPLICAS: u32 = 100;
/// Between two looks whether every process lives.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Options {
    replicas: u16,
    release: bool,
    version: String,
    ports: Ports,
    binaries: Option<PathBuf>,
}

impl Options {
    /// `None` when --help was asked for.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, Error> {
        let mut arguments = Arguments::new(arguments);
        let mut replicas = 2;
        let mut options = Self {
            replicas: 0,
            release: false,
            version: std::env::var("MODEL_VERSION")
                .ok()
                .filter(|version| !version.is_empty())
                .unwrap_or_else(|| "1.0".to_owned()),
            ports: Ports::default(),
            binaries: None,
        };
        while let Some(option) = arguments.option()? {
            match option.as_str() {
                "--release" => options.release = true,
                "--replicas" => replicas = arguments.number(&option)?,
                "--port" => options.ports.gateway = arguments.port(&option, HIGHEST_GATEWAY_PORT)?,
                "--ml-port" => options.ports.first_replica = arguments.port(&option, u16::MAX)?,
                "--model-version" => options.version = arguments.value(&option)?,
                "--bin-dir" => options.binaries = Some(given_services(&arguments.value(&option)?)?),
                "--help" | "-h" => return Ok(None),
                _ => return Err(UsageError::Unknown(option).into()),
            }
        }
        options.replicas = options.ports_for(replicas)?;
        Ok(Some(options))
    }

    /// The number of replicas, when there are ports for them that nobody else takes.
    fn ports_for(&self, replicas: u32) -> Result<u16, UsageError> {
        let wrong = |text| Err(UsageError::Together(text));
        if !(1..=MOST_REPLICAS).contains(&replicas) {
            return wrong(format!("--replicas needs a number from 1 to {MOST_REPLICAS}"));
        }
        let first = u32::from(self.ports.first_replica);
        let last = first + replicas - 1;
        if last > u32::from(u16::MAX) {
            return wrong(format!(
                "the replicas would need ports up to {last}: choose a lower --ml-port"
            ));
        }
        for port in [self.ports.gateway, self.ports.admin()] {
            if (first..=last).contains(&u32::from(port)) {
                return wrong(format!(
                    "port {port} is the gateway's and one of the replicas' ({first} to {last}): choose another --ml-port"
                ));
            }
        }
        Ok(u16::try_from(replicas).unwrap_or(u16::MAX))
    }
}

/// Runs the pair to its end. Ctrl-C, SIGTERM and SIGHUP are ends in order.
pub async fn run(options: &Options) -> Result<(), Error> {
    let binaries = match &options.binaries {
        Some(given) => given.clone(),
        None => build_services(options.release)?,
    };
    let mut interrupts = Interrupts::install().map_err(|error| Error::System {
        what: "handle signals",
        error,
    })?;
    let mut pair = Pair::new(options.ports, binaries, Output::Terminal)?;
    pair.set_default("LOG_FORMAT", "text");
    pair.need_free_ports(options.replicas)?;
    let ran = tokio::select! {
        ran = run_until_one_dies(&mut pair, options) => ran,
        () = interrupts.next() => Ok(()),
    };
    if let Err(error) = &ran {
        error.report();
    }
    say("stopping (once more to end at once)");
    let in_order = pair.stop(async || interrupts.next().await).await;
    match ran.is_ok() && in_order {
        true => Ok(()),
        false => Err(Error::Reported),
    }
}

async fn run_until_one_dies(pair: &mut Pair, options: &Options) -> Result<(), PairError> {
    let Options { replicas, version, .. } = options;
    say(format_args!(
        "starting {replicas} x ml-inference (version {version}) and the gateway"
    ));
    let ports = pair.ports;
    for number in 1..=*replicas {
        pair.start_replica(number, version)?;
    }
    pair.write_endpoints(1..=*replicas)?;
    let gateway = Gateway {
        number: 1,
        name: "gateway".to_owned(),
        listen: format!("127.0.0.1:{}", ports.gateway),
        admin: format!("127.0.0.1:{}", ports.admin()),
        settings: Vec::new(),
    };
    pair.start_gateway(&gateway)?;
    pair.replicas_ready(1..=*replicas).await?;
    pair.gateway_ready(&gateway).await?;
    say_what_to_try(ports);
    loop {
        pair.still_runs()?;
        sleep(LOOK_EVERY).await;
    }
}

fn say_what_to_try(ports: Ports) {
    let url = format!("http://127.0.0.1:{}", ports.gateway);
    say("ready; try, in another terminal:");
    note(format_args!("curl {url}/predict"));
    note(format_args!(
        "curl -d '{{\"instances\": [1.0, 2.0, 5.0]}}' {url}/predict"
    ));
    note(format_args!(
        "curl -d '{{\"features\": [1, 2, 3, 4, 5]}}' {url}/predict"
    ));
    note(format_args!("curl {url}/health"));
    note(format_args!("curl {url}/status"));
    note(format_args!("curl http://127.0.0.1:{}/metrics", ports.admin()));
    note(format_args!("scripts/load-test.sh --url {url}/predict"));
    say("Ctrl-C ends it");
}
