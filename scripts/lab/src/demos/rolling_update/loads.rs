//! The loads beside a rolling update.

use super::options::Options;
use crate::demo::begin_load;
use crate::error::Error;
use crate::load::Loads;
use crate::terminal::say;

/// Starts the load, and for a gateway's update another one, of new clients.
pub(super) fn begin(loads: &mut Loads, options: &Options, url: &str) -> Result<(), Error> {
    let name = options.name();
    let mut requests = options.common.requests(url);
    begin_load(loads, &name, &requests)?;
    if options.what.includes_gateway() {
        say("and as much from new clients, a connection for each request");
        requests.more.push("--new-connections".to_owned());
        loads.start(&format!("{name}-new-connections"), &requests)?;
    }
    Ok(())
}
