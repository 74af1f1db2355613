//! `lab demo rolling-update`: the lab's Step 10, v1 → v2 → undo, of the model server, of the gateway or of both at once.

mod loads;
mod local;
mod network;
mod on_cluster;
mod options;
mod service;

use std::ffi::OsString;

use crate::binaries::load_test;
use crate::demo::{Ended, perform};
use crate::error::Error;

use local::Local;
use on_cluster::OnCluster;
use options::Options;

pub(crate) const USAGE: &str = include_str!("../../usage/rolling-update.txt");

pub(crate) async fn run(arguments: Vec<OsString>) -> Result<Ended, Error> {
    let Some(options) = Options::parse(arguments.clone())? else {
        return Ok(Ended::Help);
    };
    let load_test = load_test()?;
    if !options.common.local {
        return perform(OnCluster::new(options), load_test).await;
    }
    if options.what.includes_gateway() && !network::is_inside() {
        // What has to be built cannot be in there, without the machine's network.
        let services = options.common.services()?;
        return Err(network::enter(&arguments, &services, &load_test).into());
    }
    let pair = options.common.pair()?;
    perform(Local::new(options, pair), load_test).await
}
