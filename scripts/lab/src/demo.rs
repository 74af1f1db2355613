//! A demonstration: something is done to the pair while load runs through the gateway, and no request may fail.
//!
//! ```text
//! Options ─► Demonstration::run ─► steps, each marked in the load's reports ─► "failed requests: N of M"
//!                  └─ always, also after Ctrl-C ─► undo ─► stop
//! ```

mod answers;
mod local;
mod options;

use std::path::PathBuf;

use crate::binaries::reports;
use crate::error::Error;
use crate::interrupts::Interrupts;
use crate::load::{LoadError, Loads, Requests};
use crate::terminal::say;

pub(crate) use answers::{everyone_answers, expect_version, versions_now};
pub(crate) use local::{gateway_at, start_pair};
pub(crate) use options::Options;

/// The end of a demonstration that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    /// The options were asked for instead.
    Help,
}

pub(crate) trait Demonstration {
    async fn run(&mut self, loads: &mut Loads) -> Result<(), Error>;

    /// Puts right what an end in the middle leaves behind.
    async fn undo(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Ends the processes that it has started.
    async fn stop(&mut self) {}
}

/// Runs a demonstration to its end, whatever that is.
pub(crate) async fn perform(mut demo: impl Demonstration, load_test: PathBuf) -> Result<Ended, Error> {
    let mut interrupts = Interrupts::install().map_err(|error| Error::System {
        what: "handle signals",
        error,
    })?;
    let mut loads = Loads::new(load_test, reports());
    let ran = tokio::select! {
        ran = run_and_conclude(&mut demo, &mut loads) => ran,
        () = interrupts.next() => Err(Error::Interrupted),
    };
    // More signals change nothing: what follows is how it ends.
    loads.drop_all();
    let undone = demo.undo().await;
    demo.stop().await;
    if let Err(error) = undone {
        error.report();
        return Err(Error::Reported);
    }
    ran.map(|()| Ended::Done)
}

async fn run_and_conclude(demo: &mut impl Demonstration, loads: &mut Loads) -> Result<(), Error> {
    let ran = demo.run(loads).await;
    if let Err(error) = ran {
        if !loads.have_begun() {
            return Err(error);
        }
        error.report();
        conclude(loads).await?;
        return Err(Error::Reported);
    }
    conclude(loads).await
}

async fn conclude(loads: &mut Loads) -> Result<(), Error> {
    let status = loads.end_all().await?;
    say("what the load saw");
    loads.show()?;
    match status {
        0 => Ok(()),
        status => Err(Error::Requests { status }),
    }
}

pub(crate) fn begin_load(loads: &mut Loads, name: &str, requests: &Requests) -> Result<(), LoadError> {
    let Requests {
        url, rate, connections, ..
    } = requests;
    say(format_args!(
        "load on {url}: {rate} requests a second, {connections} connections"
    ));
    loads.start(name, requests)?;
    Ok(())
}

/// Says what begins now, here and in the load's reports.
pub(crate) fn step(loads: &Loads, title: &str) -> Result<(), LoadError> {
    say(title);
    loads.mark(title)
}
