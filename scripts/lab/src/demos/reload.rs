//! `lab demo reload`: settings of the running pair are changed.

mod local;
mod on_cluster;

use std::ffi::OsString;

use crate::binaries::load_test;
use crate::demo::{Ended, Options, perform};
use crate::error::Error;

use local::Local;
use on_cluster::OnCluster;

pub(crate) const USAGE: &str = include_str!("../../usage/reload.txt");

pub(crate) async fn run(arguments: Vec<OsString>) -> Result<Ended, Error> {
    let Some(options) = Options::parse(arguments, |_, _| Ok(false))? else {
        return Ok(Ended::Help);
    };
    let load_test = load_test()?;
    if options.local {
        let pair = options.pair()?;
        return perform(Local { options, pair }, load_test).await;
    }
    perform(OnCluster::new(options)?, load_test).await
}
