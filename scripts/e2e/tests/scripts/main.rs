//! The scripts without a cluster: kubectl, the load test and the container engines are recording stand-ins, first in PATH, the
//! address that kubectl names is a server of the test, and the exact sequence of calls is compared.

mod calls;
mod cleanup;
mod deploy;
mod hpa;
mod images;
mod kill;
mod load_test;
mod no_cluster;
mod options;
mod pipes;
mod reload;
mod rolling_update;
mod scale;
mod secrets;
mod server;
mod shell;
mod stage;
