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
//! tensor, in batches, and knows no protocol. A runtime does the arithmetic and knows neither.

pub mod app;
pub mod compute;
pub mod config;
pub mod engine;
pub mod error;
pub mod http;
pub mod metrics;
pub mod middleware;
pub mod model;
pub mod onnx;
pub mod protocol;
pub mod repository;
pub mod runtime;
pub mod stack;
pub mod tensor;
pub mod version;
