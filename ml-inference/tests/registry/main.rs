//! Stories about models that come from a registry: the servers are real, and so are their failures.

mod by_http;
mod by_s3;
mod directory;
mod follower;
mod process;
mod server;
mod signature;
