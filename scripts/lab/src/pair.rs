//! The pair as processes: gateways in front of replicas of ml-inference, all on 127.0.0.1.
//!
//! ```text
//! client → gateway 127.0.0.1:30080 → ml-inference 127.0.0.1:5001, :5002, …
//! ```

mod error;
mod ports;
mod service;
mod status;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use shared::test_util::Signal;

use crate::environment::given;
use crate::probe::Probe;
use crate::terminal::warn;
use crate::wait::within;
use crate::workspace::Workspace;

pub use error::PairError;
pub use ports::{HIGHEST_GATEWAY_PORT, Ports};
pub use service::{Output, Service, ServiceError};
use service::{Program, drain_settings};
pub use status::Status;

/// The gateway's file; gateway/tests/schema/files.rs validates it against the schema.
const GATEWAY_YAML: &str = include_str!("pair/gateway.yaml.template");

const TAKEN_UP_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Pair {
    pub ports: Ports,
    pub workspace: Workspace,
    pub probe: Probe,
    binaries: PathBuf,
    output: Output,
    /// Variables of every process.
    environment: Vec<(String, OsString)>,
    replicas: BTreeMap<u16, Service>,
    gateways: BTreeMap<u16, Service>,
}

/// A gateway that is to be started.
#[derive(Debug)]
pub struct Gateway {
    pub number: u16,
    pub name: String,
    pub listen: String,
    pub admin: String,
    /// Settings beside its file and its addresses.
    pub settings: Vec<(String, OsString)>,
}

impl Pair {
    pub fn new(ports: Ports, binaries: PathBuf, output: Output) -> Result<Self, PairError> {
        Ok(Self {
            ports,
            workspace: Workspace::create()?,
            probe: Probe::new().map_err(PairError::Client)?,
            binaries,
            output,
            environment: drain_settings(),
            replicas: BTreeMap::new(),
            gateways: BTreeMap::new(),
        })
    }

    /// A setting that every process gets, unless this program's environment has it.
    pub fn set_default(&mut self, name: &str, value: &str) {
        let value = given(name).unwrap_or_else(|| value.into());
        self.environment.push((name.to_owned(), value));
    }

    pub fn need_free_ports(&self, replicas: u16) -> Result<(), PairError> {
        match self.ports.of_pair(replicas).find(|(port, _)| ports::is_in_use(*port)) {
            Some((port, user)) => Err(PairError::PortInUse { port, user }),
            None => Ok(()),
        }
    }

    /// Starts replicas, which get requests when the gateway knows them, and waits until they are ready.
    pub async fn start_replicas(&mut self, numbers: RangeInclusive<u16>, version: &str) -> Result<(), ServiceError> {
        for number in numbers.clone() {
            self.start_replica(number, version)?;
        }
        self.replicas_ready(numbers).await
    }

    pub fn start_replica(&mut self, number: u16, version: &str) -> Result<(), ServiceError> {
        let name = format!("ml-inference-{number}");
        let own = [
            ("BIND_ADDRESS", "127.0.0.1".to_owned()),
            ("SERVICE_PORT", self.ports.replica(number).to_string()),
            ("ADMIN_ADDRESS", "127.0.0.1:0".to_owned()),
            ("POD_NAME", name.clone()),
            ("MODEL_VERSION", version.to_owned()),
        ];
        let mut environment = self.environment.clone();
        environment.extend(own.map(|(name, value)| (name.to_owned(), value.into())));
        let program = Program {
            binary: self.binaries.join("ml-inference"),
            environment,
            // It names the gateway's file.
            without: &["CONFIG_FILE"],
        };
        let replica = Service::start(name, program, self.output)?;
        self.replicas.insert(number, replica);
        Ok(())
    }

    pub async fn replicas_ready(&mut self, numbers: RangeInclusive<u16>) -> Result<(), ServiceError> {
        for (number, replica) in self.replicas.range_mut(numbers) {
            let url = format!("http://127.0.0.1:{}/readyz", self.ports.replica(*number));
            replica.ready(&self.probe, &url).await?;
        }
        Ok(())
    }

    pub fn start_gateway(&mut self, gateway: &Gateway) -> Result<(), ServiceError> {
        let own = [
            ("CONFIG_FILE", self.workspace.path("gateway.yaml").into_os_string()),
            ("POD_NAME", format!("api-gateway-{}", gateway.number).into()),
            ("LISTEN_ADDRESS", gateway.listen.clone().into()),
            ("ADMIN_ADDRESS", gateway.admin.clone().into()),
        ];
        let mut environment = self.environment.clone();
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        environment.extend(gateway.settings.iter().cloned());
        let program = Program {
            binary: self.binaries.join("gateway"),
            environment,
            without: &[],
        };
        let service = Service::start(gateway.name.clone(), program, self.output)?;
        self.gateways.insert(gateway.number, service);
        Ok(())
    }

    pub async fn gateway_ready(&mut self, gateway: &Gateway) -> Result<(), ServiceError> {
        let Some(service) = self.gateways.get_mut(&gateway.number) else {
            return Ok(());
        };
        service
            .ready(&self.probe, &format!("http://{}/readyz", gateway.admin))
            .await
    }

    /// Writes gateway.yaml: only `clusters` is given, so the routes stay the lab's defaults unless `more` says otherwise.
    pub fn write_gateway_yaml(&self, endpoints: &str, more: &str) -> io::Result<()> {
        let text = GATEWAY_YAML.replace("ENDPOINTS", endpoints).replace("MORE", more);
        self.workspace.write("gateway.yaml", &text)?;
        Ok(())
    }

    /// Has the gateway know these replicas, with the default routes.
    pub fn write_endpoints(&self, replicas: RangeInclusive<u16>) -> io::Result<()> {
        self.write_gateway_yaml(&self.ports.endpoints(replicas), "")
    }

    pub async fn status(&self) -> Status {
        Status::read(&self.probe, self.ports.admin()).await
    }

    /// Makes a change to the pair's files, and waits until the gateway has taken it up.
    pub async fn taken_up(&self, change: impl FnOnce(&Self) -> io::Result<()>) -> Result<(), PairError> {
        let before = self.status().await.generation();
        change(self)?;
        if within(TAKEN_UP_WITHIN, async || self.status().await.generation() > before).await {
            return Ok(());
        }
        let status = self.status().await.head();
        Err(PairError::NotTakenUp { status })
    }

    /// Sends a replica a signal.
    pub fn signal_replica(&mut self, number: u16, signal: Signal) {
        if let Some(replica) = self.replicas.get_mut(&number) {
            replica.signal(signal);
        }
    }

    pub fn signal_gateway(&mut self, number: u16, signal: Signal) {
        if let Some(gateway) = self.gateways.get_mut(&number) {
            gateway.signal(signal);
        }
    }

    /// Waits until a replica that was killed is gone.
    pub async fn replica_gone(&mut self, number: u16) {
        if let Some(replica) = self.replicas.get_mut(&number) {
            replica.stopped().await;
            self.replicas.remove(&number);
        }
    }

    /// Waits for the end of a replica that got SIGTERM.
    pub async fn replica_stopped(&mut self, number: u16) {
        stopped_in_order(&mut self.replicas, number).await;
    }

    /// Waits for the end of a gateway that got SIGTERM.
    pub async fn gateway_stopped(&mut self, number: u16) {
        stopped_in_order(&mut self.gateways, number).await;
    }

    /// Ends a replica as a deleted pod, in order.
    pub async fn stop_replica(&mut self, number: u16) {
        self.signal_replica(number, Signal::TERM);
        self.replica_stopped(number).await;
    }

    /// Fails when the gateway or the last replica has ended. A replica that dies leaves the others to the gateway, as in a cluster;
    /// here nobody starts it anew.
    pub fn still_runs(&mut self) -> Result<(), ServiceError> {
        for gateway in self.gateways.values_mut() {
            gateway.still_runs()?;
        }
        self.replicas.retain(|_, replica| match replica.still_runs() {
            Ok(()) => true,
            Err(ended) => {
                ended.report();
                false
            }
        });
        match self.replicas.is_empty() {
            true => Err(ServiceError::NoReplica),
            false => Ok(()),
        }
    }

    /// Ends all of it: the gateways first, because while they finish what they have their replicas are still needed. Whenever `hurry`
    /// is ready, each process gets one more signal, which ends it at once. Gives whether all ended with status 0.
    pub async fn stop(&mut self, mut hurry: impl AsyncFnMut()) -> bool {
        let mut in_order = true;
        for gateway in self.gateways.values_mut() {
            gateway.signal(Signal::TERM);
        }
        while let Some(mut gateway) = self.gateways.first_entry() {
            tokio::select! {
                status = gateway.get_mut().stopped() => {
                    in_order &= status == 0;
                    gateway.remove();
                }
                () = hurry() => self.signal_all(Signal::TERM),
            }
        }
        // A frozen one would not hear the other signal.
        self.signal_all(Signal::CONT);
        self.signal_all(Signal::TERM);
        while let Some(mut replica) = self.replicas.first_entry() {
            tokio::select! {
                status = replica.get_mut().stopped() => {
                    in_order &= status == 0;
                    replica.remove();
                }
                () = hurry() => self.signal_all(Signal::TERM),
            }
        }
        in_order
    }

    fn signal_all(&mut self, signal: Signal) {
        for service in self.gateways.values_mut().chain(self.replicas.values_mut()) {
            service.signal(signal);
        }
    }
}

async fn stopped_in_order(services: &mut BTreeMap<u16, Service>, number: u16) {
    let Some(service) = services.get_mut(&number) else {
        return;
    };
    let status = service.stopped().await;
    if status != 0 {
        let name = service.name();
        warn(format_args!(
            "{name} ended with status {status} instead of 0 after SIGTERM"
        ));
    }
    services.remove(&number);
}
