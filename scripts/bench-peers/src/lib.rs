//! What the programs of the benchmark share: arguments and the single-threaded runtime.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::str::FromStr;

use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// The command line's argument number `position`, parsed.
pub fn argument<T>(position: usize, name: &str) -> io::Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, format!("{name} {what}"));
    let text = std::env::args()
        .nth(position)
        .ok_or_else(|| invalid("is missing".to_owned()))?;
    text.parse().map_err(|error| invalid(format!("{text:?}: {error}")))
}

/// Runs on this one thread until `main` ends.
pub fn run_local(main: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, main)
}
