//! The model server: the lab's `ml-inference`, really computing.
//!
//! ```text
//! listener → connection → stack (THE ordered list of middleware) → router
//!                                                                    ├─ probes: /health /livez /readyz /metrics
//!                                                                    └─ body → protocol → tensor → engine → runtime
//!                                                                                                     │
//!            access log + metrics at the body's end ◄── answer ◄── protocol ◄── tensor ◄──────────────┘
//! ```
//!
//! The admin listener has the same stack and a router of its own: it loads and unloads models, and shows what is served.
//! A protocol turns bytes into validated tensors and back, and knows no model. The engine runs a model on a
//! tensor, in batches, and knows no protocol. A runtime does the arithmetic and knows neither: tensors, ONNX files and runtimes
//! are the crate `model-runtime` (`ml-inference/runtime`), which every room may import, as it may `shared`.
//!
//! # Floors
//!
//! | Room | Owns | May import |
//! | --- | --- | --- |
//! | `app` | start-up, every task, shutdown | everything below |
//! | `stack` | the ordered list of middleware | `middleware`, `http` |
//! | `middleware` | the layers around every request | `http`, `config`, `route` |
//! | `http` | paths, bodies, answers and errors at both listeners | `config`, `repository`, `registry`, `protocol`, `catalog`, `engine`, `metrics`, `model`, `route` |
//! | `config` | validated settings | `repository`, `registry`, `engine`, `model` |
//! | `repository` | MODELS_DIR: scan, versions to load, loading, publishing | `registry`, `protocol`, `catalog`, `engine`, `metrics`, `model`, `background` |
//! | `registry` | MODEL_URI: index, downloads, the model's directory | `metrics`, `background` |
//! | `protocol` | requests into tensors, tensors into answers | `catalog`, `engine`, `model` |
//! | `catalog` | the snapshot of models and versions that requests read | `engine` |
//! | `engine` | runs of models, their queue and statistics | `metrics`, `model` |
//! | `metrics` | the names of all metrics | `model`, `route` |
//! | `model` | a model's name, version, runtime and example | nothing |
//! | `route` | the labels of paths | nothing |
//! | `background` | work of low priority beside requests | nothing |

pub mod app;
mod background;
pub mod catalog;
pub mod config;
pub mod engine;
pub mod http;
pub mod metrics;
pub mod middleware;
pub mod model;
pub mod protocol;
pub mod registry;
pub mod repository;
pub mod route;
pub mod stack;
