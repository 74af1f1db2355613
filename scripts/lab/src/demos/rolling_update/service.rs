//! The gateway's Service without a cluster: gateways with addresses of their own, and what kube-proxy does in front of them. Linux.
//!
//! ```text
//! client → 127.0.0.1:PORT → translated, per connection, to one of → 127.0.1.1:8080, 127.0.1.2:8080, …
//! ```

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use shared::test_util::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::sleep;

use crate::demo::gateway_at;
use crate::error::{Error, NetworkError};
use crate::pair::Pair;
use crate::terminal::note;
use crate::workspace::Workspace;

/// The time that a rule outlives its pod's SIGTERM: the kubelet ends the pod and the EndpointSlice changes at the same time, and kube-proxy
/// writes its rules when the news has reached it.
const PROXY_TAKES: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Service {
    port: u16,
    /// Numbers of the gateways that get new connections.
    serving: Vec<u16>,
    next: u16,
    lock_file: OsString,
}

impl Service {
    pub(super) fn new(port: u16) -> Self {
        Self {
            port,
            serving: Vec::new(),
            next: 1,
            lock_file: OsString::new(),
        }
    }

    pub(super) async fn open(&mut self, workspace: &Workspace) -> Result<(), NetworkError> {
        // An ordinary user is root in here only, and may not write where iptables keeps its lock.
        self.lock_file = workspace.path("xtables.lock").into_os_string();
        let port = self.port.to_string();
        let destination = ["-d", "127.0.0.1", "-p", "tcp", "--dport", port.as_str()];
        let translate = [&["-t", "nat", "-A", "OUTPUT"][..], &destination, &["-j", "SERVICE"]].concat();
        self.run("ip", &["link", "set", "lo", "up"]).await?;
        self.run("iptables", &["-t", "nat", "-N", "SERVICE"]).await?;
        self.run("iptables", &translate).await
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Result<(), NetworkError> {
        let status = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .status()
            .await;
        match status.map_err(cannot_run(program))?.success() {
            true => Ok(()),
            false => Err(NetworkError::NoTranslation),
        }
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("XTABLES_LOCKFILE", &self.lock_file).kill_on_drop(true);
        command
    }

    /// The oldest gateway that gets connections.
    pub(super) fn oldest(&self) -> Option<u16> {
        self.serving.first().copied()
    }

    /// Starts one more, which gets connections as soon as it is ready, and gives its number.
    pub(super) async fn add_gateway(&mut self, pair: &mut Pair) -> Result<u16, Error> {
        let number = self.next;
        self.next += 1;
        let gateway = gateway_at(
            number,
            format!("127.0.1.{number}:8080"),
            format!("127.0.1.{number}:9090"),
        );
        pair.start_gateway(&gateway)?;
        pair.gateway_ready(&gateway).await?;
        self.serving.push(number);
        self.route().await?;
        Ok(number)
    }

    /// Replaces one as a Deployment does with maxSurge 1 and maxUnavailable 0.
    pub(super) async fn replace_gateway(&mut self, pair: &mut Pair, old: u16) -> Result<(), Error> {
        let added = self.add_gateway(pair).await?;
        pair.signal_gateway(old, Signal::TERM);
        sleep(PROXY_TAKES).await;
        self.serving.retain(|number| *number != old);
        self.route().await?;
        pair.gateway_stopped(old).await;
        note(format_args!(
            "api-gateway-{added} has taken the place of api-gateway-{old}"
        ));
        Ok(())
    }

    /// New connections go to each of `serving` with the same chance; all rules are exchanged in one step. Connections that are open
    /// stay where they are.
    async fn route(&self) -> Result<(), NetworkError> {
        let program = "iptables-restore";
        let mut command = self.command(program);
        let mut child = command
            .arg("--noflush")
            .stdin(Stdio::piped())
            .spawn()
            .map_err(cannot_run(program))?;
        if let Some(mut stdin) = child.stdin.take() {
            let written = stdin.write_all(rules(&self.serving).as_bytes()).await;
            written.map_err(cannot_run(program))?;
        }
        match child.wait().await.map_err(cannot_run(program))?.success() {
            true => Ok(()),
            false => Err(NetworkError::NoRoute),
        }
    }
}

fn cannot_run(program: &str) -> impl FnOnce(io::Error) -> NetworkError {
    let program = program.to_owned();
    move |error| NetworkError::Run { program, error }
}

/// Rules as kube-proxy writes them: each is tried with a chance of one in those that are left.
fn rules(serving: &[u16]) -> String {
    let mut text = "*nat\n:SERVICE - [0:0]\n".to_owned();
    for (place, number) in serving.iter().enumerate() {
        let left = u32::try_from(serving.len() - place).unwrap_or(u32::MAX);
        let chance = 1.0 / f64::from(left);
        text.push_str(&format!(
            "-A SERVICE -p tcp -m statistic --mode random --probability {chance:.10} -j DNAT --to-destination 127.0.1.{number}:8080\n"
        ));
    }
    text.push_str("COMMIT\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gateway_has_the_same_chance() {
        let rules = rules(&[2, 3]);
        let lines: Vec<&str> = rules.lines().collect();
        assert_eq!(lines[..2], ["*nat", ":SERVICE - [0:0]"]);
        assert!(
            lines[2].contains("--probability 0.5000000000 ") && lines[2].ends_with("127.0.1.2:8080"),
            "{rules}"
        );
        assert!(
            lines[3].contains("--probability 1.0000000000 ") && lines[3].ends_with("127.0.1.3:8080"),
            "{rules}"
        );
        assert_eq!(lines[4..], ["COMMIT"]);
    }
}
