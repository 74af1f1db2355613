//! Stories about the real binary: it is started, asked over real sockets, and ended by real signals.

mod bad_input;
mod bodies;
mod control;
mod cors;
mod drain;
mod grpc;
mod load;
mod mlp;
mod observability;
mod paths;
mod protocols;
mod repository;
mod server;
mod settings;
mod vanished;
