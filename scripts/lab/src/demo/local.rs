//! The pair of a demonstration on this machine.

use std::ffi::OsString;

use crate::error::Error;
use crate::pair::{Gateway, Pair, PairError};
use crate::terminal::say;

/// The gateway of a local demonstration looks at its files this often; a pod's does every second.
const RELOAD_SECONDS: &str = "0.1";

/// Starts so many replicas and one gateway, whose file may be there already, and gives the URL of the model. `most` is how many
/// replicas there will be at a time.
pub(crate) async fn start_pair(
    pair: &mut Pair,
    replicas: u16,
    most: u16,
    settings: Vec<(String, OsString)>,
) -> Result<String, Error> {
    pair.need_free_ports(most)?;
    say(format_args!(
        "starting {replicas} x ml-inference (version 1.0) and the gateway"
    ));
    pair.start_replicas(1..=replicas, "1.0").await?;
    if !pair.workspace.path("gateway.yaml").is_file() {
        pair.write_endpoints(1..=replicas).map_err(PairError::Files)?;
    }
    let ports = pair.ports;
    let (listen, admin) = (ports.gateway, ports.admin());
    let mut gateway = gateway_at(1, format!("127.0.0.1:{listen}"), format!("127.0.0.1:{admin}"));
    gateway.settings.extend(settings);
    pair.start_gateway(&gateway)?;
    pair.gateway_ready(&gateway).await?;
    Ok(format!("http://127.0.0.1:{listen}/predict"))
}

/// A gateway that follows its file.
pub(crate) fn gateway_at(number: u16, listen: String, admin: String) -> Gateway {
    Gateway {
        number,
        name: format!("api-gateway-{number}"),
        listen,
        admin,
        settings: vec![("RELOAD_INTERVAL".to_owned(), RELOAD_SECONDS.into())],
    }
}
