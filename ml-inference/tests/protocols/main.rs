//! Stories about the protocols: requests go through the whole service but for the sockets, to models made for the test.

mod fuzz;
mod metadata;
mod mlflow;
mod models;
mod open_inference;
mod service;
mod tf_serving;
